"""The compact form: nothing is lost, releases read each other, and no bytes do harm."""

from __future__ import annotations

import contextlib
import datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly import codec
from anomaly.errors import Reason, RecordError
from anomaly.records import (
    MAX_RECORDS_A_MESSAGE,
    NOT_MEASURED_BITS,
    Fork,
    Layout,
    LayoutMessage,
    Place,
    StepMessage,
)
from tests.records.strategies import layout_messages, step_messages

LAYOUT = Layout(("a", "b"), ("x",), ("loss",), (True, False), (3, 4), ("float32", "bfloat16"))


def message(**changes: Any) -> StepMessage:
    fields: dict[str, Any] = {
        "run": "r1",
        "rank": 0,
        "steps": [1_000_000],
        "times": [1.5],
        "values": np.array([[1.0, 2.0, 3.0]], dtype=np.float32),
        "layout_hash": LAYOUT.hash,
        "session": 7,
        "sequence": 0,
    }
    return StepMessage(**(fields | changes))


def steps(payload: bytes) -> StepMessage:
    decoded = codec.decode(payload)
    assert isinstance(decoded, StepMessage)
    return decoded


def raw(payload: bytes) -> list[Any]:
    fields = msgspec.msgpack.decode(payload)
    assert isinstance(fields, list)
    return fields


def refused(payload: bytes) -> Reason:
    with pytest.raises(RecordError) as caught:
        codec.decode(payload)
    assert caught.value.detail
    return caught.value.reason


@given(step_messages())
def test_steps_come_back_bit_for_bit(sent: StepMessage) -> None:
    found = steps(codec.encode_steps(sent))
    assert found.values.dtype == np.dtype("<f4")
    assert np.array_equal(found.values.view(np.uint32), sent.values.view(np.uint32))
    for field in StepMessage.__struct_fields__:
        if field != "values":
            assert getattr(found, field) == getattr(sent, field)


@given(layout_messages)
def test_layouts_come_back_with_their_hash(sent: LayoutMessage) -> None:
    found = codec.decode(codec.encode_layout(sent))
    assert found == sent
    assert isinstance(found, LayoutMessage)
    assert found.layout.hash == sent.layout.hash


def test_a_time_that_was_not_sent_is_kafkas() -> None:
    found = codec.decode(codec.encode_steps(message(times=[None])), 12.5)
    assert isinstance(found, StepMessage)
    assert found.times == [12.5]


def test_not_measured_keeps_its_bits() -> None:
    values = np.array([[NOT_MEASURED_BITS, 0x7FC00000, 0xFFC00001]], dtype=np.uint32).view(np.float32)
    found = steps(codec.encode_steps(message(values=values)))
    assert found.values.view(np.uint32).tolist() == [[NOT_MEASURED_BITS, 0x7FC00000, 0xFFC00001]]


# Evolution: fields are only ever appended, with a default.


@given(step_messages(), st.lists(st.integers() | st.text(max_size=3), min_size=1, max_size=3))
def test_an_older_worker_reads_a_newer_producers_steps(sent: StepMessage, later: list[Any]) -> None:
    payload = codec.encode_steps(sent)
    later = [field if isinstance(field, str) else field % 2**63 for field in later]
    found = steps(msgspec.msgpack.encode(raw(payload) + later))
    assert found.steps == sent.steps
    assert np.array_equal(found.values.view(np.uint32), sent.values.view(np.uint32))


def test_an_older_worker_reads_a_newer_producers_layout_under_the_same_hash() -> None:
    fields = raw(codec.encode_layout(LayoutMessage("r1", LAYOUT)))
    fields[3] = [*fields[3], "a later field of the layout"]
    found = codec.decode(msgspec.msgpack.encode([*fields, "a later field of the message"]))
    assert isinstance(found, LayoutMessage)
    assert found.layout == LAYOUT
    assert found.layout.hash == LAYOUT.hash


def test_older_forks_and_places_may_be_longer_too() -> None:
    fields = raw(codec.encode_steps(message(fork=Fork("r0", "r0", 5), place=Place(4, 1))))
    fields[12], fields[13] = [*fields[12], 1], [*fields[13], 2]
    found = steps(msgspec.msgpack.encode(fields))
    assert found.fork == Fork("r0", "r0", 5)
    assert found.place == Place(4, 1)


@pytest.mark.parametrize("known", [10, 11, 12, 13])
def test_a_newer_worker_reads_an_older_producers_steps(known: int) -> None:
    """Ten fields are as old as the form; what came later has a default."""
    full = raw(codec.encode_steps(message(events=[({"kind": "resume"},)], tags={"a": "b"}, place=Place(2))))
    found = steps(msgspec.msgpack.encode(full[:known]))
    assert found.values.tolist() == [[1.0, 2.0, 3.0]]
    assert found.place is None
    assert (found.tags is None) == (known < 12)


def test_a_newer_worker_reads_an_older_producers_layout() -> None:
    for fields in (["r1", [["a"], ["x"]]], ["r1", [["a"], ["x"], ["loss"]]]):
        found = codec.decode(msgspec.msgpack.encode([1, codec.VERSION, *fields]))
        assert isinstance(found, LayoutMessage)
        assert found.layout.layers == ("a",)
        assert found.fork is None


def test_the_hash_of_a_layout_is_the_same_in_every_release() -> None:
    assert LAYOUT.hash.hex() == "c9b01bdc295bcef3"


def test_a_later_version_is_refused_as_such_whatever_else_it_holds() -> None:
    for kind in (1, 2, 3):
        assert refused(msgspec.msgpack.encode([kind, 2, {"anything": 1}])) == Reason.UNSUPPORTED_VERSION
    later = raw(codec.encode_steps(message()))
    later[1] = 2
    assert refused(msgspec.msgpack.encode(later)) == Reason.UNSUPPORTED_VERSION


# Hostile bytes.


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_decode_or_be_refused(payload: bytes) -> None:
    with contextlib.suppress(RecordError):
        codec.decode(payload, 1.0)


@given(step_messages(), st.data())
def test_no_damaged_message_does_anything_but_decode_or_be_refused(
    sent: StepMessage, data: st.DataObject
) -> None:
    payload = bytearray(codec.encode_steps(sent))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(payload)))
    for damaged in (bytes(payload), bytes(payload[:cut])):
        try:
            found = codec.decode(damaged)
        except RecordError:
            continue
        if isinstance(found, StepMessage):
            codec.encode_steps(found)
            assert len(found.steps) == len(found.times) == len(found.values)


@given(
    step_messages(),
    st.integers(0, 13),
    st.recursive(
        st.none()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats()
        | st.binary(max_size=9)
        | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
)
def test_no_field_of_another_type_does_anything_but_decode_or_be_refused(
    sent: StepMessage, at: int, value: Any
) -> None:
    fields = raw(codec.encode_steps(sent))
    fields[at] = value
    try:
        found = codec.decode(msgspec.msgpack.encode(fields))
    except RecordError:
        return
    if isinstance(found, StepMessage):
        codec.encode_steps(found)


def test_nesting_without_end_is_refused() -> None:
    deep: Any = []
    fields = raw(codec.encode_steps(message()))
    start = msgspec.msgpack.encode(fields[:10])
    payload = (
        bytes([start[0] + 1])
        + start[1:]
        + b"\x91\x91\x81\xa4kind"
        + b"\x91" * 5000
        + msgspec.msgpack.encode(deep)
    )
    assert refused(payload) == Reason.UNDECODABLE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run": ""}, Reason.INVALID_RECORD),
        ({"run": "x" * 201}, Reason.INVALID_RECORD),
        ({"rank": -1}, Reason.UNDECODABLE),
        ({"steps": [], "times": []}, Reason.UNDECODABLE),
        ({"times": []}, Reason.INVALID_RECORD),
        ({"times": [float("nan")]}, Reason.INVALID_RECORD),
        ({"times": [1e300]}, Reason.INVALID_RECORD),
        ({"steps": [2**63]}, Reason.INVALID_RECORD),
        ({"session": None}, Reason.INVALID_RECORD),
        ({"sequence": 2**63}, Reason.UNDECODABLE),
        ({"layout_hash": b"short"}, Reason.UNDECODABLE),
        ({"events": [(), ()]}, Reason.INVALID_RECORD),
        ({"events": [({"no": "kind"},)]}, Reason.INVALID_RECORD),
        ({"events": [({"kind": 3},)]}, Reason.INVALID_RECORD),
        ({"events": [({"kind": "x"},) * 65]}, Reason.EVENT_LIMIT),
        ({"events": [({"kind": "x", "y": msgspec.msgpack.Ext(5, b"")},)]}, Reason.INVALID_RECORD),
        ({"tags": {"": "x"}}, Reason.INVALID_RECORD),
        ({"tags": {"x": "y" * 1001}}, Reason.UNDECODABLE),
        ({"fork": Fork("", "p", 0)}, Reason.INVALID_RECORD),
        ({"fork": Fork("r", "p", 2**63)}, Reason.INVALID_RECORD),
        ({"place": Place(-1)}, Reason.INVALID_RECORD),
        ({"place": Place(2**40)}, Reason.INVALID_RECORD),
    ],
)
def test_what_breaks_a_rule_is_refused_with_the_reason(changes: dict[str, Any], reason: Reason) -> None:
    assert refused(codec.encode_steps(message(**changes))) == reason


def test_a_matrix_that_does_not_fill_its_records_contradicts_the_layout() -> None:
    fields = raw(
        codec.encode_steps(message(steps=[1, 2], times=[None, None], values=np.zeros((2, 3), np.float32)))
    )
    fields[9] = fields[9][:-4]
    assert refused(msgspec.msgpack.encode(fields)) == Reason.LAYOUT_CONTRADICTION


def test_more_records_than_a_message_may_hold_are_refused() -> None:
    count = MAX_RECORDS_A_MESSAGE + 1
    many = message(steps=[0] * count, times=[None] * count, values=np.zeros((count, 1), np.float32))
    assert refused(codec.encode_steps(many)) == Reason.UNDECODABLE


def test_times_in_events_are_kept_as_times() -> None:
    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    found = steps(codec.encode_steps(message(events=[({"kind": "x", "when": when},)])))
    assert found.events is not None
    assert msgspec.json.encode(found.events)


@pytest.mark.parametrize(
    "layout",
    [
        Layout(("a", "a"), ()),
        Layout(("",), ()),
        Layout(("a",), ("x" * 201,)),
        Layout(("a",), (), (), (True, False)),
        Layout(("a",), (), (), None, (1, 2)),
        Layout((), tuple(f"s{n}" for n in range(257))),
    ],
)
def test_a_wrong_layout_is_refused(layout: Layout) -> None:
    assert refused(codec.encode_layout(LayoutMessage("r1", layout))) == Reason.INVALID_LAYOUT


def test_an_empty_message_is_refused() -> None:
    assert refused(b"") == Reason.UNDECODABLE
