"""What may be committed, in which order things are written, what is delivered: without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import prometheus_client
from faust.types import TP

from anomaly.metrics import WorkerMetrics
from anomaly.monitor import Outcome, PartitionMonitor
from anomaly.worker.commits import CommitMetadata, read_metadata
from anomaly.worker.continuity import Batch, Continuity, ReadAgain
from anomaly.worker.guard import Lease
from anomaly.worker.outbox import Outbox, Outgoing
from anomaly.worker.partition_book import PartitionBook
from anomaly.worker.saver import Saver
from tests.worker.books import LEASE, book_after, commit_offset, kafka_record, settle
from tests.worker.topic_tools import step

TP0 = TP("telemetry", 0)


def test_the_commit_stops_at_the_first_record_of_the_run_that_waits_longest() -> None:
    book = book_after(*(kafka_record(at, step(f"r{at % 2}", at, loss=1.0)) for at in range(4)))
    assert commit_offset(book) == 0
    assert book.dump("r0") is not None
    assert commit_offset(book) == 1  # valid once r0's state is acknowledged
    assert book.dump("r1") is not None
    assert commit_offset(book) == 4


def test_a_run_that_changes_while_its_state_is_written_holds_the_commit_at_the_change() -> None:
    book = book_after(kafka_record(0, step("r", 1, loss=1.0)))
    book.dump("r")
    outcome = book.monitor.process([kafka_record(1, step("r", 2, loss=1.0))])
    book.advance(2, outcome, 1.0)
    assert commit_offset(book) == 1


def test_a_save_that_was_given_up_is_dirty_from_where_it_was() -> None:
    book = book_after(kafka_record(0, step("r", 1, loss=1.0)))
    book.dump("r")
    book.put_back()
    assert (commit_offset(book), book.longest_waiting(5.0)) == (0, 5.0)


def test_refused_records_alone_may_be_committed() -> None:
    assert commit_offset(book_after(kafka_record(0, b"rubbish"))) == 1


def test_until_a_replay_is_over_the_metadata_keeps_the_incidents_offset_it_began_with() -> None:
    book = PartitionBook(0, 4, PartitionMonitor(0, 4), position=0)
    book.replay(until=10, incidents=3, end=8)
    book.incident_landed(8)
    assert read_metadata(book.commit()[1]) == CommitMetadata(partitions=4, incidents=3)
    book.advance(9, Outcome(touched={"r": 5}), 0.0)
    book.dirty.clear()
    book.advance(10, Outcome(), 0.0)
    assert read_metadata(book.commit()[1]).incidents == 9


def test_metadata_of_others_or_of_later_versions_is_read_as_far_as_it_goes() -> None:
    assert read_metadata('{"incidents":7,"new":1}') == CommitMetadata(None, 7)
    assert read_metadata("not ours") == read_metadata(None) == CommitMetadata()


def test_continuity_delivers_nothing_twice_and_counts_only_a_hole_that_stays() -> None:
    continuity = Continuity()
    assert continuity.accept(TP0, [kafka_record(0)]) is None
    continuity.restart({TP0: 5})
    assert continuity.accept(TP0, [kafka_record(3), kafka_record(4)]) is None
    batch = continuity.accept(TP0, [kafka_record(4), kafka_record(5)])
    assert isinstance(batch, Batch)
    assert (batch.follows, [record.offset for record in batch.records]) == (5, [5])
    assert continuity.accept(TP0, [kafka_record(8)]) == ReadAgain(6)
    assert continuity.missing_offsets == 0
    batch = continuity.accept(TP0, [kafka_record(8)])
    assert isinstance(batch, Batch)
    assert (batch.follows, continuity.missing_offsets) == (6, 2)


@dataclass
class Broker:
    """Acknowledges what it is told to; writes down in which order it got what."""

    log: list[str] = field(default_factory=list)
    waiting: list[asyncio.Future[Any]] = field(default_factory=list)

    async def send(self, outgoing: Outgoing) -> asyncio.Future[Any]:
        self.log.append(f"sent {outgoing.topic}")
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    def acknowledge(self) -> None:
        self.waiting.pop(0).set_result(SimpleNamespace(offset=len(self.log)))

    async def commit(self, commits: Mapping[int, tuple[int, str]]) -> bool:
        self.log.append(f"committed {[offset for offset, _ in commits.values()]}")
        return True

    def own_write(self, partition: int, offset: int) -> None:
        self.log.append("state landed")


def test_incidents_are_acknowledged_before_states_are_sent_and_states_before_the_commit() -> None:
    async def run() -> list[str]:
        broker = Broker()
        outbox = Outbox(broker.send, LEASE)
        metrics = WorkerMetrics(prometheus_client.CollectorRegistry(), 10)
        saver = Saver("changelog", asyncio.Lock(), outbox, broker.send, broker, LEASE, metrics)
        book = book_after(kafka_record(0, step("r", 1, loss=1.0)))
        outbox.put(Outgoing("incidents", b"r", b"{}"))
        saving = asyncio.ensure_future(saver.save([book], 1 << 20))
        await settle()
        broker.log.append("now")
        broker.acknowledge()
        await settle()
        broker.log.append("now")
        outbox.put(Outgoing("incidents", b"r", b"{}"))  # of a later record: this save need not wait for it
        broker.acknowledge()
        await saving
        return broker.log

    assert asyncio.run(run()) == [
        "sent incidents", "now", "sent changelog", "now", "sent incidents", "state landed", "committed [1]",
    ]  # fmt: skip


def test_a_save_writes_the_longest_waiting_runs_up_to_its_budget_and_commits_up_to_the_next() -> None:
    async def run() -> tuple[list[str], PartitionBook]:
        broker = Broker()
        metrics = WorkerMetrics(prometheus_client.CollectorRegistry(), 10)
        outbox = Outbox(broker.send, LEASE)
        saver = Saver("changelog", asyncio.Lock(), outbox, broker.send, broker, LEASE, metrics)
        book = book_after(*(kafka_record(at, step(f"r{at}", at, loss=1.0)) for at in range(3)))
        saving = asyncio.ensure_future(saver.save([book], 1))
        await settle()
        broker.acknowledge()
        await saving
        return broker.log, book

    log, book = asyncio.run(run())
    assert log == ["sent changelog", "state landed", "committed [1]"]
    assert list(book.dirty) == ["r1", "r2"]


def test_the_outbox_asks_the_agent_to_wait_while_too_much_is_unsent() -> None:
    async def run() -> bool:
        sent = asyncio.Event()

        async def send(_: Outgoing) -> asyncio.Future[Any]:
            await sent.wait()
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            future.set_result(SimpleNamespace(offset=0))
            return future

        outbox = Outbox(send, LEASE)
        outbox.put(Outgoing("deadletter", None, bytes(33 << 20)))
        room = asyncio.ensure_future(outbox.room())
        await settle()
        waited = not room.done()
        sent.set()
        await room
        await outbox.acknowledged(outbox.mark)
        return waited

    assert asyncio.run(run())


def test_a_lease_is_lost_when_no_heartbeat_was_answered_for_most_of_a_session() -> None:
    now = [0.0]
    lease = Lease(10.0, clock=lambda: now[0])
    now[0] = 100.0
    assert not lease.lost  # nothing is assigned yet
    lease.renew()
    now[0] = 107.9
    assert not lease.lost
    lease.renew(at=103.0)
    now[0] = 111.1
    assert lease.lost
