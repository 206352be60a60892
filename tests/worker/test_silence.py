"""Silence in the worker: which seconds count, what is saved when, and one real worker killed amid a run's silence."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import prometheus_client
import pytest

from anomaly.incidents import decode_transition
from anomaly.metrics import WorkerMetrics
from anomaly.monitor import Outcome, RunState, snapshot
from anomaly.monitor.state import Timers
from anomaly.monitor.timers import FEW_INTERVALS, NO_RECORD
from anomaly.settings import Settings
from anomaly.topics import Topics
from anomaly.worker.commits import CommitMetadata
from anomaly.worker.consumer_thread import Fetched
from anomaly.worker.continuity import Batch
from anomaly.worker.end_in_sight import EndInSight
from anomaly.worker.idle import IdleFile, IdlePartition
from anomaly.worker.outbox import Outbox, Outgoing
from anomaly.worker.repeats import SentBefore, note_sent
from anomaly.worker.starts import Start
from anomaly.worker.stream import Stream
from tests.conftest import Kafka
from tests.worker.books import LEASE, book_after, commit_offset, kafka_record, settle
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, step

PARTITIONS = 2


def test_what_only_a_timer_changed_is_saved_without_holding_back_a_commit() -> None:
    book = book_after(kafka_record(0, step("r", 1, loss=1.0)))
    book.dump("r")
    book.in_flight.clear()
    book.incident_landed(4)
    book.advance(book.position, Outcome(touched={"r": NO_RECORD}), 5.0)
    assert book.commit() == (1, CommitMetadata(1, 5, 1000).encode())
    book.incident_landed(5)  # of the timer: until its state is saved, a replay has to know of it
    assert book.commit() == (1, CommitMetadata(1, 5, 1000).encode())
    assert book.dump("r") is not None
    assert book.commit() == (1, CommitMetadata(1, 6, 1000).encode())


def test_a_record_after_a_timer_counts_even_if_the_timers_save_is_given_up() -> None:
    book = book_after(kafka_record(0, step("r", 1, loss=1.0)))
    book.dump("r")
    book.in_flight.clear()
    book.advance(book.position, Outcome(touched={"r": NO_RECORD}), 5.0)
    book.dump("r")
    outcome = book.monitor.process([kafka_record(1, step("r", 2, loss=1.0))])
    book.advance(2, outcome, 6.0)
    book.put_back()
    assert commit_offset(book) == 1


def test_seconds_count_while_a_fresh_answer_showed_an_end_that_is_processed() -> None:
    sight = EndInSight(100.0)
    assert sight.seconds(100.5, None, 5) == 0.0  # nothing was answered yet
    assert sight.seconds(101.0, Fetched(1, 8, 8), 5) == 0.0  # behind
    assert sight.seconds(101.5, Fetched(2, 10, 10), 8) == 0.5  # what was the end half a second ago is reached
    assert sight.seconds(102.0, Fetched(2, 10, 10), 10) == 0.5
    assert sight.seconds(103.0, Fetched(2, 10, 10), 10) == 1.0
    assert sight.seconds(103.5, Fetched(2, 10, 10), 10) == 0.0  # the broker no longer answers
    assert sight.seconds(113.5, Fetched(3, 10, 10), 10) == 0.0  # this process stood still
    assert sight.seconds(114.0, Fetched(4, 10, 10), 10) == 0.5


def test_a_marker_that_a_transaction_leaves_at_the_end_is_part_of_what_was_read() -> None:
    sight = EndInSight(100.0)
    assert sight.seconds(100.5, Fetched(1, 11, 11, delivered=10), 9) == 0.0
    assert sight.seconds(101.0, Fetched(2, 11, 11, delivered=10), 10) == 0.5


def test_a_silent_run_is_told_once_by_whoever_reads_the_partition() -> None:
    """Opened, acknowledged, and the worker killed before its state was saved: the next one tells only the end."""

    async def run() -> list[tuple[str, str]]:
        telemetry = [kafka_record(at, step("r", at, loss=1.0)) for at in range(10)]
        first, sent = stream_of({}, SentBefore(0, set()))
        for at, record in enumerate(telemetry):
            first.process(0, Batch(at, [record], 2))
            pass_seconds(first, at + 1, 1)
        saved_then = {"r": snapshot.load(snapshot.dump(first.states()[0]))}
        pass_seconds(first, 10, 70)
        await settle()
        before = SentBefore(len(sent), set())
        for value in sent:
            note_sent(value, before)
        second, sent_again = stream_of(saved_then, before, position=10)
        pass_seconds(second, 10, 200)
        await settle()
        assert sent_again == []
        second.process(0, Batch(10, [kafka_record(10, step("r", 10, loss=1.0))], 2))
        pass_seconds(second, 11, 1)
        await settle()
        transitions = [decode_transition(value) for value in sent + sent_again]
        assert [each.transition for each in transitions] == [0, 1]
        assert len({each.incident for each in transitions}) == 1
        return [(each.kind, each.status) for each in transitions]

    assert asyncio.run(run()) == [("run_silent", "opened"), ("run_silent", "resolved")]


class Ticking:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Ticking()


def stream_of(runs: dict[str, RunState], before: SentBefore, position: int = 0) -> tuple[Stream, list[bytes]]:
    """A stream with partition 0 open, and what it sends."""
    sent: list[bytes] = []

    async def send(outgoing: Outgoing) -> asyncio.Future[Any]:
        sent.append(outgoing.value or b"")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(SimpleNamespace(offset=len(sent) - 1))
        return future

    metrics = WorkerMetrics(prometheus_client.CollectorRegistry(), 10)
    stream = Stream(Settings(), 1, metrics, Outbox(send, LEASE), clock=CLOCK, wall_clock=CLOCK)
    idle = IdlePartition(0, runs, IdleFile(":memory:"))
    stream.open(0, idle, Start(position, position, CommitMetadata()), before)
    return stream, sent


def pass_seconds(stream: Stream, end: int, seconds: int) -> None:
    """The partition ends at `end`, and the broker answers."""
    for _ in range(2 * seconds):
        CLOCK.now += 0.5
        answer = Fetched(int(CLOCK.now * 2), end, end)
        stream.tick(lambda _, answer=answer: answer)  # type: ignore[misc]


def saved_timers(client: Client, topics: Topics, run: str) -> Timers:
    """The timers' section of the run's last snapshot."""
    timers = Timers()
    for records in asyncio.run(client.read(topics.changelog, PARTITIONS)).values():
        for record in records:
            state = snapshot.load(record.value)
            if state.run == run and state.timers is not None:
                timers = state.timers
    return timers


@pytest.mark.kafka("apache")
def test_a_run_that_died_is_told_of_once_although_the_worker_was_killed_meanwhile(
    kafka: Kafka, tmp_path: Path
) -> None:
    client, topics = Client(kafka.bootstrap_servers), Topics(kafka.prefix)
    flags = ["--bootstrap-servers", client.servers, "--topic-prefix", kafka.prefix]
    at = {"alive": 0, "dead": 0}

    def report(*runs: str) -> None:
        for run in runs:
            at[run] += 1
        records = [(run.encode(), step(run, at[run], loss=1.0)) for run in runs]
        asyncio.run(client.produce(topics.telemetry, records))

    def told() -> list[dict[str, Any]]:
        found = asyncio.run(client.read(topics.incidents, PARTITIONS))
        return [json.loads(record.value) for records in found.values() for record in records]

    def intervals_known() -> bool:
        report("alive", "dead")
        return len(saved_timers(client, topics, "dead").intervals) > FEW_INTERVALS

    def half_saved() -> bool:
        report("alive")
        return saved_timers(client, topics, "dead").quiet > 0

    def told_while_another_goes_on(transitions: int) -> bool:
        report("alive")
        return len(told()) >= transitions

    with WorkerProcess(tmp_path, *flags, "--partitions", str(PARTITIONS)) as worker:
        worker.wait_ready()
        eventually("its habit is known", intervals_known)
        eventually("half of the silence is saved", half_saved, 180)
        assert told() == []
        worker.kill()
        eventually("the run that died is told of", lambda: told_while_another_goes_on(1), 240)
        report("dead")
        eventually("its return is told of", lambda: told_while_another_goes_on(2), 120)
        worker.terminate()
    found = told()
    assert [(each["run"], each["kind"], each["status"]) for each in found] == [
        ("dead", "run_silent", "opened"),
        ("dead", "run_silent", "resolved"),
    ]
    assert len({each["incident"] for each in found}) == 1
    assert worker.exit_codes == [-9, 0]
