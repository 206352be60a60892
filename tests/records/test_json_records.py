"""The JSON form, as people without Python write it."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly import codec
from anomaly.errors import Reason, RecordError
from anomaly.records import NOT_MEASURED_BITS, Fork, Place, StepMessage
from tests.hook.recording import named
from tests.records.strategies import json_records


def decode(text: str | bytes, kafka_seconds: float | None = None) -> StepMessage:
    found = codec.decode(text if isinstance(text, bytes) else text.encode(), kafka_seconds)
    assert isinstance(found, StepMessage)
    return found


def refused(text: str) -> str:
    with pytest.raises(RecordError) as caught:
        decode(text)
    assert caught.value.reason in (Reason.INVALID_RECORD, Reason.INVALID_LAYOUT, Reason.UNDECODABLE)
    return caught.value.detail


def values(text: str) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    found = decode(text)
    assert found.layout is not None
    return named(found.layout, found.values[0])


def test_the_documented_example_is_read() -> None:
    found = decode(
        '{"run":"r1","rank":0,"step":12,"time":1790000000.25,"loss":2.31,"lr":0.001,"grad_norm_total":1.2,'
        '"step_seconds":0.21,"layers":{"h.0.attn":{"grad_norm":0.1,"act_rms":0.9}},"events":[{"kind":"resume"}]}'
    )
    assert (found.run, found.rank, found.steps, found.times) == ("r1", 0, [12_000_000], [1790000000.25])
    assert found.events == [({"kind": "resume"},)]
    assert found.layout is not None
    assert found.layout.layers == ("h.0.attn",)
    assert found.layout.model_signals == ("loss", "lr", "grad_norm_total", "step_seconds")
    assert found.values.dtype == np.float32
    assert found.values.tolist() == [[np.float32(v) for v in (2.31, 0.001, 1.2, 0.21, 0.1, 0.9)]]


def test_only_run_and_step_are_required() -> None:
    found = decode(' \n{"run":"r1","step":0}', 12.5)
    assert (found.rank, found.times, found.session, found.sequence) == (0, [12.5], None, None)
    assert (found.events, found.tags, found.fork, found.place) == (None, None, None, None)
    assert found.values.shape == (1, 0)


@pytest.mark.parametrize("token", ["NaN", '"NaN"'])
def test_nan_may_be_a_token_or_a_string(token: str) -> None:
    model, layers = values(f'{{"run":"r1","step":0,"loss":{token},"layers":{{"a":{{"x":{token}}}}}}}')
    assert math.isnan(model["loss"])
    assert math.isnan(layers["a"]["x"])


@pytest.mark.parametrize(
    ("token", "value"),
    [
        ("Infinity", math.inf),
        ('"-Infinity"', -math.inf),
        ("1e999", math.inf),
        ("1e39", math.inf),
        ("-1e39", -math.inf),
        ("1" + "0" * 400, math.inf),
        ("true", 1.0),
        ("0", 0.0),
        ("1e-46", 0.0),
    ],
)
def test_numbers_become_float32(token: str, value: float) -> None:
    assert values(f'{{"run":"r1","step":0,"loss":{token}}}')[0] == {"loss": value}


def test_null_and_absent_are_not_measured() -> None:
    model, layers = values(
        '{"run":"r1","step":0,"loss":null,"lr":1,"layers":{"a":{"x":null,"y":1},"b":{"x":2}}}'
    )
    assert model == {"lr": 1.0}
    assert layers == {"a": {"y": 1.0}, "b": {"x": 2.0}}


def test_a_number_under_any_other_name_is_a_series_and_all_else_is_ignored() -> None:
    model, _ = values('{"run":"r1","step":0,"reward":3,"comment":"a run","later":{"x":1},"list":[1]}')
    assert model == {"reward": 3.0}


def test_the_rest_of_a_record_is_read() -> None:
    found = decode(
        '{"run":"r2","step":0.5,"rank":3,"session":18446744073709551615,"sequence":4,"tags":{"team":"x"},'
        '"fork":{"root":"r0","parent":"r1","step":7},"place":{"world_size":8,"data":3,"later":1}}'
    )
    assert (found.steps, found.rank, found.session, found.sequence) == ([500_000], 3, 2**64 - 1, 4)
    assert found.tags == {"team": "x"}
    assert found.fork == Fork("r0", "r1", 7_000_000)
    assert found.place == Place(8, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        (" [1]", "got a JSON list, one object per record is needed"),
        ('{"step":0}', "run: got None, a string is needed"),
        ('{"run":"","step":0}', "run: got a name of 0 characters"),
        ('{"run":"\\ud800","step":0}', "lone surrogate"),
        ('{"run":"r1"}', "step: got None, a number is needed"),
        ('{"run":"r1","step":true}', "step: got True"),
        ('{"run":"r1","step":NaN}', "a finite number is needed"),
        ('{"run":"r1","step":1e30}', "-2**43 to 2**43 is allowed"),
        ('{"run":"r1","step":4294967296.5}', "fractions are allowed below 2**32"),
        ('{"run":"r1","step":0,"rank":1.5}', "rank: got 1.5, an integer is needed"),
        ('{"run":"r1","step":0,"rank":Infinity}', "an integer is needed"),
        ('{"run":"r1","step":0,"rank":-1}', "rank: got -1"),
        ('{"run":"r1","step":0,"time":"now"}', "time: got 'now', unix seconds is needed"),
        ('{"run":"r1","step":0,"time":NaN}', "unix seconds is needed"),
        ('{"run":"r1","step":0,"loss":"high"}', "loss: got 'high'"),
        ('{"run":"r1","step":0,"layers":[]}', "layers: got [], an object is needed"),
        ('{"run":"r1","step":0,"layers":{"a":1}}', "layers.a: got 1, an object is needed"),
        ('{"run":"r1","step":0,"layers":{"a":{"x":[]}}}', "layers.a.x: got []"),
        ('{"run":"r1","step":0,"layers":{"":{}}}', "layers: got a name of 0 characters"),
        ('{"run":"r1","step":0,"events":{}}', "events: got {}"),
        ('{"run":"r1","step":0,"events":[1]}', 'events: got 1, {"kind": …} is needed'),
        ('{"run":"r1","step":0,"events":[{"kind":"x","name":"\\ud800"}]}', "events: cannot be written again"),
        (
            '{"run":"r1","step":0,"events":[{"kind":"x","n":' + "9" * 30 + "}]}",
            "events: cannot be written again",
        ),
        ('{"run":"r1","step":0,"tags":{"a":1}}', "tags.a: got 1"),
        ('{"run":"r1","step":0,"tags":{"a":"\\ud800"}}', "valid Unicode is needed"),
        ('{"run":"r1","step":0,"session":1}', "send both or neither"),
        (
            '{"run":"r1","step":0,"session":1,"sequence":9223372036854775807}',
            "sequence: got 9223372036854775807",
        ),
        ('{"run":"r1","step":0,"fork":{"root":"r"}}', "fork.step: got None"),
        ('{"run":"r1","step":0,"place":{"world_size":-1}}', "place.world_size: got -1"),
        ("{" + '"a":{' * 100_000, "not JSON"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_says_what_is_needed(text: str, said: str) -> None:
    assert said in refused(text)


@given(json_records)
def test_every_record_that_follows_the_rules_is_read_and_can_be_written_in_the_compact_form(
    record: dict[str, Any],
) -> None:
    found = decode(json.dumps(record))
    assert found.layout is not None
    again = codec.decode(codec.encode_steps(found))
    assert isinstance(again, StepMessage)
    assert np.array_equal(again.values.view(np.uint32), found.values.view(np.uint32))
    model, layers = named(found.layout, found.values[0])
    measured = {name for name in ("loss", "my_own") if record.get(name) is not None}
    assert measured <= set(model)
    for layer, signals in record.get("layers", {}).items():
        assert set(layers.get(layer, {})) == {name for name, value in signals.items() if value is not None}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    ),
    st.sampled_from(
        [
            "run",
            "step",
            "rank",
            "time",
            "session",
            "sequence",
            "loss",
            "layers",
            "events",
            "tags",
            "fork",
            "place",
        ]
    ),
)
def test_no_value_anywhere_does_anything_but_be_read_or_refused(value: Any, field: str) -> None:
    record = {"run": "r1", "step": 0, "session": 1, "sequence": 1} | {field: value}
    try:
        found = decode(json.dumps(record))
    except RecordError:
        return
    codec.encode_steps(found)


@given(st.text() | st.binary())
def test_no_text_does_anything_but_be_read_or_refused(text: str | bytes) -> None:
    payload = b"{" + (text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
    with contextlib.suppress(RecordError):
        decode(payload)


def test_not_measured_has_its_own_bits() -> None:
    found = decode('{"run":"r1","step":0,"layers":{"a":{"x":1},"b":{"y":NaN}}}')
    assert found.values.view(np.uint32)[0, 1:3].tolist() == [NOT_MEASURED_BITS, NOT_MEASURED_BITS]
    assert found.values.view(np.uint32)[0, 3] != NOT_MEASURED_BITS
