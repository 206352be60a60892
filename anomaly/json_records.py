"""The JSON form: one record an object, no layout needed, for anyone without Python.

    {"run":"r1","rank":0,"step":12,"time":1790000000.25,"loss":2.31,"lr":0.001,
     "layers":{"h.0.attn":{"grad_norm":0.1,"act_rms":0.9}},"events":[{"kind":"resume"}]}

Only ``run`` and ``step`` are required. ``NaN``, ``Infinity`` and ``-Infinity`` are accepted as the bare tokens that
Python and JavaScript write and as strings; ``null`` or absent means not measured. A number under any other name is a
generic whole-model series; anything else under an unknown name is ignored, so that newer producers can be read.
"""

from __future__ import annotations

import json
import math
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.errors import Reason, RecordError
from anomaly.records import (
    MAX_EVENTS,
    MAX_RANK,
    MAX_SEQUENCE,
    MAX_SESSION,
    MAX_TAG,
    MAX_TAGS,
    NOT_MEASURED,
    Event,
    Fork,
    Layout,
    Place,
    StepMessage,
    check_name,
    is_unicode,
    step_millionths,
)
from anomaly.signals import MODEL_SIGNALS

MAX_TIME = 1e12
MAX_EVENTS_BYTES = 1 << 16
_TOKENS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_RESERVED = frozenset(
    ("run", "rank", "step", "time", "session", "sequence", "layers", "events", "tags", "fork", "place")
)


def decode(payload: bytes, kafka_seconds: float | None = None) -> StepMessage:
    """Read one JSON record. Raises `RecordError`."""
    try:
        record = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise RecordError(Reason.UNDECODABLE, f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise RecordError(
            Reason.UNDECODABLE, f"got a JSON {type(record).__name__}, one object per record is needed"
        )
    return from_object(record, kafka_seconds)


def from_object(record: dict[str, Any], kafka_seconds: float | None = None) -> StepMessage:
    """A parsed JSON object as a message of one record. Raises `RecordError`."""
    run, step = _text("run", record.get("run")), record.get("step")
    if isinstance(step, bool) or not isinstance(step, int | float):
        raise _wrong("step", step, "a number")
    model = {name: number for name, value in record.items() if (number := _generic(name, value)) is not None}
    layout, values = _matrix(model, _object("layers", record.get("layers")))
    session = _integer("session", record.get("session"), MAX_SESSION)
    sequence = _integer("sequence", record.get("sequence"), MAX_SEQUENCE)
    if (session is None) != (sequence is None):
        raise RecordError(
            Reason.INVALID_RECORD, "session and sequence: got only one of them; send both or neither"
        )
    events = record.get("events")
    return StepMessage(
        run=run,
        rank=_integer("rank", record.get("rank"), MAX_RANK) or 0,
        steps=[step_millionths(step)],
        times=[_time(record.get("time"), kafka_seconds)],
        values=values,
        layout_hash=layout.hash,
        layout=layout,
        session=session,
        sequence=sequence,
        events=None if events is None or events == [] else [tuple(check_events(events))],
        tags=tags_of(record.get("tags")),
        fork=fork_of(record.get("fork")),
        place=place_of(record.get("place")),
    )


def number_of(what: str, value: Any) -> float | None:
    """A measured number (NaN and infinities included), or None for not measured. Raises `RecordError`."""
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int):  # bool too: people write "skipped": true
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if isinstance(value, str) and value in _TOKENS:
        return _TOKENS[value]
    raise _wrong(what, value, "a number, NaN, Infinity, -Infinity or null")


def check_events(events: Any) -> list[Event]:
    """`events`, or `RecordError` when they are not a list of up to `MAX_EVENTS` objects with a ``kind``."""
    if not isinstance(events, list):
        raise _wrong("events", events, 'a list of {"kind": …}')
    if len(events) > MAX_EVENTS:
        raise RecordError(Reason.EVENT_LIMIT, f"events: got {len(events)}, at most {MAX_EVENTS} a record")
    for event in events:
        if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
            raise _wrong("events", event, '{"kind": …}')
    try:  # they go into snapshots and incidents
        size = len(msgspec.msgpack.encode(events))
        msgspec.json.encode(events)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RecordError(Reason.INVALID_RECORD, f"events: cannot be written again: {error}") from None
    if size > MAX_EVENTS_BYTES:
        raise RecordError(
            Reason.INVALID_RECORD,
            f"events: got {size} bytes, at most {MAX_EVENTS_BYTES} a record are allowed",
        )
    return cast("list[Event]", events)


def tags_of(tags: Any) -> dict[str, str] | None:
    """A run's tags, or `RecordError`."""
    if tags is None:
        return None
    fields = _object("tags", tags)
    if len(fields) > MAX_TAGS:
        raise RecordError(Reason.INVALID_RECORD, f"tags: got {len(fields)}, at most {MAX_TAGS}")
    for name, value in fields.items():
        if not isinstance(value, str) or len(value) > MAX_TAG:
            raise _wrong(f"tags.{name}", value, f"a string of at most {MAX_TAG} characters")
        check_name("tags", name)
        if not is_unicode(value):
            raise _wrong(f"tags.{name}", value, "valid Unicode")
    return fields


def fork_of(fork: Any) -> Fork | None:
    """A run's fork, or `RecordError`."""
    if fork is None:
        return None
    fields = _object("fork", fork)
    step = fields.get("step")
    if isinstance(step, bool) or not isinstance(step, int | float):
        raise _wrong("fork.step", step, "a number")
    root = _text("fork.root", fields.get("root"))
    return Fork(root, _text("fork.parent", fields.get("parent")), step_millionths(step))


def place_of(place: Any) -> Place | None:
    """A rank's place, or `RecordError`."""
    if place is None:
        return None
    fields = _object("place", place)
    world_size, data, tensor, pipeline = (
        _integer(f"place.{name}", fields.get(name), MAX_RANK)
        for name in ("world_size", "data", "tensor", "pipeline")
    )
    return Place(world_size, data, tensor, pipeline)


def _matrix(model: dict[str, float], layers: dict[str, Any]) -> tuple[Layout, NDArray[np.float32]]:
    """The layout of one record and its values, float32 of shape (1, width)."""
    signals: dict[str, int] = {}
    objects = {name: _object(f"layers.{name}", of_layer) for name, of_layer in layers.items()}
    for of_layer in objects.values():
        for signal in of_layer:
            signals.setdefault(signal, len(signals))
    layout = Layout(tuple(layers), tuple(signals), tuple(model))
    layout.check()
    values = np.repeat(NOT_MEASURED, layout.width)[None, :]
    with np.errstate(over="ignore"):  # beyond float32 is infinity on every path
        values[0, : len(model)] = list(model.values())
        at = len(model)
        for name, of_layer in objects.items():
            for signal, value in of_layer.items():
                number = number_of(f"layers.{name}.{signal}", value)
                if number is not None:
                    values[0, at + signals[signal]] = number
            at += len(signals)
    return layout, values


def _generic(name: str, value: Any) -> float | None:
    """A whole-model number under any name but ours; None for what is ours, absent or of a later format."""
    if name in _RESERVED:
        return None
    later_format = isinstance(value, list | dict) or (isinstance(value, str) and value not in _TOKENS)
    return None if later_format and name not in MODEL_SIGNALS else number_of(name, value)


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(what, value, "a string")
    return check_name(what, value)


def _object(what: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(what, value, "an object")
    return value


def _integer(what: str, value: Any, largest: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise _wrong(what, value, "an integer")
    if not 0 <= value <= largest:
        raise RecordError(Reason.INVALID_RECORD, f"{what}: got {value}, 0 to {largest} is allowed")
    return int(value)


def _time(value: Any, kafka_seconds: float | None) -> float | None:
    if value is None:
        return kafka_seconds
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_TIME:
        raise _wrong("time", value, "unix seconds")
    return float(value)


def _wrong(what: str, value: Any, needed: str) -> RecordError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return RecordError(Reason.INVALID_RECORD, f"{what}: got {shown}, {needed} is needed")
