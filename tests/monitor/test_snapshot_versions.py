"""A rolling upgrade and the way back: what another release writes into a snapshot changes no bit of what follows."""

from __future__ import annotations

from typing import Any

import msgspec

from anomaly.monitor import PartitionMonitor, RunState, snapshot
from tests.monitor.logs import Record, log_of, states, training

CUT = 60


def spoiled(step: int, record: dict[str, Any]) -> None:
    if step in (40, 110):
        record["loss"] = float("nan")


LOG = log_of(training(range(120), spoiled)).records


def continued(payload: bytes) -> tuple[dict[str, bytes], list[bytes]]:
    """States and transitions after `CUT`, begun with a snapshot taken there."""
    monitor = PartitionMonitor(0, 1, runs={"r1": snapshot.load(payload)})
    return after(monitor, LOG[CUT:])


def after(monitor: PartitionMonitor, log: list[Record]) -> tuple[dict[str, bytes], list[bytes]]:
    outcome = monitor.process(log)
    return states(monitor), [each.encode() for _, each in outcome.transitions]


def at_the_cut() -> RunState:
    monitor = PartitionMonitor(0, 1)
    monitor.process(LOG[:CUT])
    return monitor.runs["r1"]


def never_stopped() -> tuple[dict[str, bytes], list[bytes]]:
    monitor = PartitionMonitor(0, 1)
    monitor.process(LOG[:CUT])
    return after(monitor, LOG[CUT:])


def with_later_fields() -> bytes:
    """The snapshot at the cut as a later release might write it: with fields that this one does not know."""
    found = msgspec.msgpack.decode(snapshot.dump(at_the_cut()), strict=False)
    for part in (found, found["marks"], found["context"], found["book"], *found["ranks"].values()):
        part["of_a_later_release"] = {"deep": [1, None, b"x"]}
    return msgspec.msgpack.encode(found)


def test_a_snapshot_with_fields_of_a_later_release_continues_exactly() -> None:
    expected = never_stopped()
    assert expected[1]
    assert continued(with_later_fields()) == expected


def test_what_an_older_release_writes_after_a_newer_one_is_what_it_would_have_written_alone() -> None:
    assert snapshot.dump(snapshot.load(with_later_fields())) == snapshot.dump(at_the_cut())
