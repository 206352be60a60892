"""Hypothesis strategies for everything that travels."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from anomaly.records import (
    MAX_RANK,
    MAX_SEQUENCE,
    MAX_SESSION,
    MAX_STEP,
    MILLIONTHS,
    Fork,
    Layout,
    LayoutMessage,
    Place,
    StepMessage,
)
from tests.fuzz.names import HOSTILE, SCRIPTS

unicode_text = st.text(st.characters(exclude_categories=["Cs"]))
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.sampled_from(
    (*HOSTILE, *SCRIPTS)
)
steps = st.integers(-MAX_STEP * MILLIONTHS, MAX_STEP * MILLIONTHS)
times = st.none() | st.floats(-1e11, 1e11)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | unicode_text,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(unicode_text, children, max_size=3),
    max_leaves=5,
)
events = st.builds(
    lambda kind, fields: {**fields, "kind": kind}, names, st.dictionaries(names, plain, max_size=3)
)
tags = st.dictionaries(names, unicode_text, max_size=5)
forks = st.builds(Fork, names, names, steps)
coordinates = st.none() | st.integers(0, MAX_RANK)
places = st.builds(Place, coordinates, coordinates, coordinates, coordinates)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    layers = draw(st.lists(names, unique=True, max_size=5))

    def each(of: st.SearchStrategy[Any]) -> tuple[Any, ...] | None:
        return draw(st.none() | st.lists(of, min_size=len(layers), max_size=len(layers)).map(tuple))

    return Layout(
        tuple(layers),
        tuple(draw(st.lists(names, unique=True, max_size=4))),
        tuple(draw(st.lists(names, unique=True, max_size=4))),
        each(st.booleans()),
        each(st.integers(0, 2**62)),
        each(st.sampled_from(["float32", "bfloat16", ""])),
    )


layout_messages = st.builds(LayoutMessage, names, layouts(), st.none() | forks)


@st.composite
def step_messages(draw: st.DrawFn) -> StepMessage:
    layout = draw(layouts())
    records = draw(st.integers(1, 4))
    bits = draw(npst.arrays(np.uint32, (records, layout.width)))
    has_session = draw(st.booleans())
    return StepMessage(
        run=draw(names),
        rank=draw(st.integers(0, MAX_RANK)),
        steps=draw(st.lists(steps, min_size=records, max_size=records)),
        times=draw(st.lists(times, min_size=records, max_size=records)),
        values=bits.view(np.float32),
        layout_hash=layout.hash,
        session=draw(st.integers(0, MAX_SESSION)) if has_session else None,
        sequence=draw(st.integers(0, MAX_SEQUENCE)) if has_session else None,
        events=draw(
            st.none() | st.lists(st.lists(events, max_size=2).map(tuple), min_size=records, max_size=records)
        ),
        tags=draw(st.none() | tags),
        fork=draw(st.none() | forks),
        place=draw(st.none() | places),
    )


numbers = (
    st.none()
    | st.floats()
    | st.integers(-(10**400), 10**400)
    | st.sampled_from(["NaN", "Infinity", "-Infinity"])
)
json_records = st.fixed_dictionaries(
    {"run": names, "step": st.integers(-MAX_STEP, MAX_STEP) | st.floats(-1e6, 1e6)},
    optional={
        "rank": st.integers(0, MAX_RANK),
        "time": st.none() | st.floats(-1e11, 1e11),
        "loss": numbers,
        "my_own": numbers,
        "layers": st.dictionaries(names, st.dictionaries(names, numbers, max_size=3), max_size=4),
        "events": st.none() | st.lists(events, max_size=3),
        "tags": st.none() | tags,
        "place": st.none()
        | st.fixed_dictionaries({}, optional={"world_size": coordinates, "data": coordinates}),
        "later_field": plain,
    },
)
