"""Was a scenario exact? What the worker left behind, against the same log given to a monitor record by record.

Exact means: the last snapshot of every run equals the state without faults, bit for bit and without marks; every
transition is there, and what is there twice is so byte for byte; so with dead letters and with records sent home.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from anomaly.errors import SnapshotError
from anomaly.monitor import PartitionMonitor, snapshot
from anomaly.monitor.timers import TIMER_DETECTOR
from anomaly.topics import FORWARDED_OFFSET, FORWARDED_PARTITION, Topics
from tests.worker.topic_tools import Client, Record, without_marks

Log = dict[int, list[Record]]


@dataclass
class Verdict:
    """What was found. `problems` is empty when the scenario was exact."""

    problems: list[str] = field(default_factory=list)
    records: int = 0
    runs: int = 0
    transitions: int = 0
    dead_letters: int = 0
    forwarded: int = 0
    repeats: int = 0
    """Transitions, dead letters and forwarded records that are there more than once."""

    def compare(self, what: str, expected: Iterable[Hashable], found: Iterable[Hashable]) -> int:
        """Every expected thing once or more, nothing else; returns how many are expected."""
        wanted, seen = set(expected), Counter(found)
        missing, foreign = wanted - seen.keys(), seen.keys() - wanted
        if missing:
            self.problems.append(
                f"{what}: {len(missing)} of {len(wanted)} missing, e.g. {min(missing, key=repr)!r:.300}"
            )
        if foreign:
            self.problems.append(
                f"{what}: {len(foreign)} that should not be, e.g. {min(foreign, key=repr)!r:.300}"
            )
        self.repeats += sum(seen.values()) - len(seen)
        return len(wanted)


@dataclass
class Reference:
    """What a monitor without Kafka, given one record at a time, makes of a log."""

    states: dict[tuple[int, str], bytes] = field(default_factory=dict)
    transitions: list[tuple[int, bytes]] = field(default_factory=list)
    dead_letters: list[tuple[int, int, str]] = field(default_factory=list)
    forwards: list[tuple[int, int, int]] = field(default_factory=list)
    """Partition and offset from where, partition to where."""


def reference_of(log: Log, partitions: int) -> Reference:
    """See `Reference`."""
    made = Reference()
    for partition, records in log.items():
        monitor = PartitionMonitor(partition, partitions)
        for record in records:
            outcome = monitor.process([record])
            made.transitions += [(partition, each.encode()) for _, each in outcome.transitions]
            made.dead_letters += [
                (partition, each.record.offset, each.reason) for each in outcome.dead_letters
            ]
            made.forwards += [(partition, each.record.offset, each.partition) for each in outcome.forwards]
        made.states |= {(partition, run): without_marks(state) for run, state in monitor.runs.items()}
    return made


def judge(client: Client, topics: Topics, partitions: int) -> Verdict:
    """Read all topics and compare."""
    return asyncio.run(_judge(client, topics, partitions))


async def _judge(client: Client, topics: Topics, partitions: int) -> Verdict:
    log = await client.read(topics.telemetry, partitions)
    changelog = await client.read(topics.changelog, partitions)
    incidents = await client.read(topics.incidents, partitions)
    parked = await client.read(topics.deadletter, partitions)
    return compare(reference_of(log, partitions), log, changelog, incidents, parked)


def compare(reference: Reference, log: Log, changelog: Log, incidents: Log, parked: Log) -> Verdict:
    """What was left behind, against the reference."""
    verdict = Verdict(records=sum(map(len, log.values())), runs=len(reference.states))
    _compare_states(verdict, reference, changelog)
    sent = [
        (partition, record.value)
        for partition, records in incidents.items()
        for record in records
        if not _is_of_a_timer(record.value)
    ]
    verdict.transitions = verdict.compare("transitions", reference.transitions, sent)
    _compare_order(verdict, reference, sent)
    refusals = (_refusal(record) for records in parked.values() for record in records)
    verdict.dead_letters = verdict.compare("dead letters", reference.dead_letters, refusals)
    verdict.forwarded = verdict.compare("records sent home", reference.forwards, _sent_home(log))
    return verdict


def _compare_states(verdict: Verdict, reference: Reference, changelog: Log) -> None:
    last = {
        (partition, record.key.decode()): record
        for partition, records in changelog.items()
        for record in records
    }
    if missing := reference.states.keys() - last.keys():
        verdict.problems.append(f"states: {len(missing)} missing, e.g. {min(missing)}")
    if foreign := last.keys() - reference.states.keys():
        verdict.problems.append(f"states: {len(foreign)} that should not be, e.g. {min(foreign)}")
    for run in reference.states.keys() & last.keys():
        try:
            same = without_marks(snapshot.load(last[run].value)) == reference.states[run]
        except SnapshotError as error:
            verdict.problems.append(f"state of {run}: {error}")
            continue
        if not same:
            verdict.problems.append(
                f"state of {run}: the last snapshot, at offset {last[run].offset}, differs"
            )


def _compare_order(verdict: Verdict, reference: Reference, sent: list[tuple[int, bytes]]) -> None:
    """Within a run, first appearances must be in the order in which they came to be."""
    expected, found = _by_run(reference.transitions), _by_run(dict.fromkeys(sent))
    for run in expected.keys() & found.keys():
        if found[run] != expected[run]:
            verdict.problems.append(f"transitions of {run} are out of order")


def _is_of_a_timer(value: bytes) -> bool:
    """Told by the worker's clock, not by the log."""
    return bool(json.loads(value).get("detector") == TIMER_DETECTOR)


def _by_run(transitions: Iterable[tuple[int, bytes]]) -> dict[tuple[int, str], list[bytes]]:
    runs: dict[tuple[int, str], list[bytes]] = defaultdict(list)
    for partition, value in transitions:
        runs[partition, json.loads(value)["run"]].append(value)
    return runs


def _refusal(record: Record) -> tuple[int, int, str]:
    headers = dict(record.headers)
    return int(headers["partition"]), int(headers["offset"]), headers["reason"].decode()


def _sent_home(log: Log) -> Iterable[tuple[int, int, int]]:
    for partition, records in log.items():
        for record in records:
            headers = dict(record.headers)
            if FORWARDED_PARTITION in headers:
                yield int(headers[FORWARDED_PARTITION]), int(headers[FORWARDED_OFFSET]), partition
