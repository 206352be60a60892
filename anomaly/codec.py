"""The compact form: MessagePack with the layer × signal matrix as one raw little-endian float32 blob.

A message is a MessagePack array whose first element is its type (1 = layout, 2 = steps) and whose second is the
format's version. **Evolution**: a new field is appended at the end with a default, and the version stays: an older
reader ignores what it does not know, a newer one fills in the default. Only a change that an older reader would
misread raises `VERSION`; such a message is refused with ``unsupported_version`` and waits in the dead letters.

A payload whose first byte is ``{`` or white space is JSON (`anomaly.json_records`); no MessagePack array starts so.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np

from anomaly import json_records
from anomaly.errors import Reason, RecordError
from anomaly.records import (
    MAX_RANK,
    MAX_RECORDS_A_MESSAGE,
    MAX_SEQUENCE,
    MAX_STEP,
    MAX_TAG,
    MAX_TAGS,
    MILLIONTHS,
    Event,
    Fork,
    Layout,
    LayoutMessage,
    Place,
    StepMessage,
    check_name,
    shared,
)

VERSION = 1

_Session = Annotated[int, msgspec.Meta(ge=0)]  # MessagePack has no integers beyond 64 bits
_Sequence = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQUENCE)]
_Tag = Annotated[str, msgspec.Meta(max_length=MAX_TAG)]


class _LayoutWire(msgspec.Struct, frozen=True, array_like=True, tag=1):
    version: int
    run: str
    layout: Layout
    fork: Fork | None = None


class _StepWire(msgspec.Struct, array_like=True, tag=2, gc=False):
    version: int
    run: str
    rank: Annotated[int, msgspec.Meta(ge=0, le=MAX_RANK)]
    session: _Session | None
    sequence: _Sequence | None
    layout_hash: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    steps: Annotated[list[int], msgspec.Meta(min_length=1, max_length=MAX_RECORDS_A_MESSAGE)]
    times: list[float | None]
    blob: bytes
    events: list[list[Event]] | None = None
    tags: Annotated[dict[str, _Tag], msgspec.Meta(max_length=MAX_TAGS)] | None = None
    fork: Fork | None = None
    place: Place | None = None


class _Head(msgspec.Struct, array_like=True):
    """The start that every version shares, to tell a newer format from a broken message."""

    type: int
    version: int


_JSON_STARTS = frozenset(b"{ \t\r\n")
_FLOAT32 = np.dtype("<f4")
_MAX_MILLIONTHS = MAX_STEP * MILLIONTHS
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_LayoutWire | _StepWire)
_head_decoder = msgspec.msgpack.Decoder(_Head)


def encode_layout(message: LayoutMessage) -> bytes:
    """The compact form of a layout."""
    return _encoder.encode(_LayoutWire(VERSION, message.run, message.layout, message.fork))


def encode_steps(message: StepMessage) -> bytes:
    """The compact form of step records. ``message.values`` must be float32, C-contiguous."""
    events = None if message.events is None else [list(of_record) for of_record in message.events]
    return _encoder.encode(
        _StepWire(
            VERSION,
            message.run,
            message.rank,
            message.session,
            message.sequence,
            message.layout_hash,
            message.steps,
            message.times,
            message.values.astype("<f4", copy=False).tobytes(),
            events,
            message.tags,
            message.fork,
            message.place,
        )
    )


def decode(payload: bytes, kafka_seconds: float | None = None) -> StepMessage | LayoutMessage:
    """Read one message, compact or JSON.

    `kafka_seconds` is the Kafka timestamp, the default of a record's time. Raises `RecordError`.
    """
    if not payload:
        raise RecordError(
            Reason.UNDECODABLE, "the message is empty; send a record as JSON or in the compact form"
        )
    if payload[0] in _JSON_STARTS:
        return json_records.decode(payload, kafka_seconds)
    try:
        wire = _decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise _refusal(payload, error) from None
    if wire.version > VERSION:
        raise _newer(wire.version)
    check_name("run", wire.run)
    if isinstance(wire, _LayoutWire):
        wire.layout.check()
        if wire.fork is not None:
            _check_fork(wire.fork)
        return LayoutMessage(wire.run, shared(wire.layout), wire.fork)
    return _steps(wire, kafka_seconds)


def _steps(wire: _StepWire, kafka_seconds: float | None) -> StepMessage:
    records = len(wire.steps)
    _check_steps(wire, records)
    if len(wire.blob) % (4 * records):
        raise RecordError(
            Reason.LAYOUT_CONTRADICTION,
            f"the blob has {len(wire.blob)} bytes, which {records} records of float32 cannot fill evenly",
        )
    values = np.frombuffer(wire.blob, _FLOAT32).reshape(records, -1)
    times = wire.times
    if None in times:
        times = [kafka_seconds if time is None else time for time in times]
    events = None if wire.events is None else [tuple(of_record) for of_record in wire.events]
    return StepMessage(
        run=wire.run,
        rank=wire.rank,
        steps=wire.steps,
        times=times,
        values=values,
        layout_hash=wire.layout_hash,
        session=wire.session,
        sequence=wire.sequence,
        events=events,
        tags=wire.tags,
        fork=wire.fork,
        place=wire.place,
    )


def _check_steps(wire: _StepWire, records: int) -> None:
    if len(wire.times) != records:
        raise RecordError(
            Reason.INVALID_RECORD, f"times: got {len(wire.times)} for {records} steps; send one a step"
        )
    for step in wire.steps:
        if not -_MAX_MILLIONTHS <= step <= _MAX_MILLIONTHS:
            raise RecordError(Reason.INVALID_RECORD, "steps: got one outside -2**43 to 2**43")
    for time in wire.times:
        if time is not None and not abs(time) < json_records.MAX_TIME:
            raise RecordError(Reason.INVALID_RECORD, f"times: got {time}, unix seconds are needed")
    if (wire.session is None) != (wire.sequence is None):
        raise RecordError(
            Reason.INVALID_RECORD, "session and sequence: got only one of them; send both or neither"
        )
    if wire.fork is not None:
        _check_fork(wire.fork)
    if wire.place is not None:
        _check_place(wire.place)
    if wire.tags is not None:
        json_records.tags_of(wire.tags)
    if wire.events is not None:
        if len(wire.events) != records:
            raise RecordError(
                Reason.INVALID_RECORD, f"events: got {len(wire.events)} lists for {records} steps"
            )
        for of_record in wire.events:
            json_records.check_events(of_record)


def _check_fork(fork: Fork) -> None:
    check_name("fork.root", fork.root)
    check_name("fork.parent", fork.parent)
    if abs(fork.step) > MAX_STEP * MILLIONTHS:
        raise RecordError(Reason.INVALID_RECORD, "fork.step: got one outside -2**43 to 2**43")


def _check_place(place: Place) -> None:
    for name in place.__struct_fields__:
        value = getattr(place, name)
        if value is not None and not 0 <= value <= MAX_RANK:
            raise RecordError(Reason.INVALID_RECORD, f"place.{name}: got {value}, 0 to {MAX_RANK} is allowed")


def _refusal(payload: bytes, error: Exception) -> RecordError:
    try:
        head = _head_decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, ValueError):
        return RecordError(Reason.UNDECODABLE, f"neither JSON nor the compact form: {error}")
    if head.version > VERSION:
        return _newer(head.version)
    return RecordError(Reason.UNDECODABLE, f"not a message of the compact form: {error}")


def _newer(version: int) -> RecordError:
    return RecordError(
        Reason.UNSUPPORTED_VERSION,
        f"version: got {version}, this worker reads up to {VERSION}; upgrade the worker, then requeue the dead letter",
    )
