"""The comparison behind every scenario finds what is missing, doubled differently, foreign or out of order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anomaly.monitor import PartitionMonitor, snapshot
from tests.chaos.verdict import Log, Reference, compare, reference_of
from tests.monitor.logs import Record
from tests.worker.topic_tools import step


def left_behind() -> tuple[Reference, dict[str, Log]]:
    """An exact outcome: a log of one partition, and what a worker makes of it."""
    values = [step("r", at, loss=float("nan") if at == 9 else 2.0) for at in range(80)] + [b"rubbish"]
    log = [Record(offset, value, b"r") for offset, value in enumerate(values)]
    monitor = PartitionMonitor(0, 1)
    outcome = monitor.process(log)
    early = PartitionMonitor(0, 1)
    early.process(log[:20])
    topics: dict[str, Log] = {
        "log": {0: log},
        "changelog": {
            0: [Record(at, snapshot.dump(each.runs["r"]), b"r") for at, each in enumerate((early, monitor))]
        },
        "incidents": {0: [Record(at, each.encode()) for at, (_, each) in enumerate(outcome.transitions)]},
        "parked": {
            0: [
                Record(0, each.record.value, headers=_headers(each.record.offset, each.reason))
                for each in outcome.dead_letters
            ]
        },
    }
    return reference_of({0: log}, 1), topics


def _headers(offset: int, reason: str) -> list[tuple[str, bytes]]:
    return [("partition", b"0"), ("offset", b"%d" % offset), ("reason", reason.encode())]


def problems(topic: str, change: str) -> str:
    reference, topics = left_behind()
    records = topics[topic][0]
    if change == "lose":
        del records[-1]
    elif change == "repeat":
        records.append(replace(records[0], offset=len(records)))
    elif change == "reverse":
        records.reverse()
    elif change == "invent":
        records.append(replace(records[0], value=b'{"run":"r"}', headers=_headers(3, "undecodable")))
    return " ".join(compare(reference, **topics).problems)


def test_an_exact_outcome_has_no_problem_and_is_not_empty() -> None:
    reference, topics = left_behind()
    verdict = compare(reference, **topics)
    assert not verdict.problems
    assert (verdict.records, verdict.runs, verdict.transitions, verdict.dead_letters) == (81, 1, 2, 1)


@pytest.mark.parametrize("topic", ["incidents", "parked"])
def test_a_byte_equal_repeat_is_counted_and_no_problem(topic: str) -> None:
    reference, topics = left_behind()
    topics[topic][0].append(replace(topics[topic][0][0], offset=9))
    verdict = compare(reference, **topics)
    assert (verdict.problems, verdict.repeats) == ([], 1)


@pytest.mark.parametrize(
    ("topic", "change", "found"),
    [
        ("incidents", "lose", "transitions: 1 of 2 missing"),
        ("incidents", "reverse", "out of order"),
        ("incidents", "invent", "transitions: 1 that should not be"),
        ("parked", "lose", "dead letters: 1 of 1 missing"),
        ("parked", "invent", "dead letters: 1 that should not be"),
        ("changelog", "lose", "the last snapshot, at offset 0, differs"),
        ("changelog", "repeat", "the last snapshot, at offset 2, differs"),
        ("changelog", "invent", "state of (0, 'r'): not a snapshot"),
    ],
)
def test_what_differs_is_told(topic: str, change: str, found: str) -> None:
    assert found in problems(topic, change)


def test_a_record_away_from_home_that_was_not_sent_there_is_told() -> None:
    log: Log = {1: [Record(0, step("run-0", 1, loss=2.0), b"run-0")]}
    astray = 1 if PartitionMonitor(1, 2).process(log[1]).forwards else 0
    log = {astray: log[1]}
    (problem,) = compare(reference_of(log, 2), log, {}, {}, {}).problems
    assert "records sent home: 1 of 1 missing" in problem
