"""What may be committed, in which order things are written, what is delivered: without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import prometheus_client
import pytest
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from anomaly.errors import Reason
from anomaly.metrics import WorkerMetrics
from anomaly.monitor import Outcome, PartitionMonitor, RunState, snapshot
from anomaly.topics import PREFLIGHT_KEY, Topics
from anomaly.worker.commits import CommitMetadata, read_metadata
from anomaly.worker.continuity import Batch, Continuity, ReadAgain
from anomaly.worker.guard import Lease
from anomaly.worker.idle import FILE, IdleFile
from anomaly.worker.letters import dead_letter, unreadable_snapshot
from anomaly.worker.outbox import Outbox, Outgoing
from anomaly.worker.partition_book import PartitionBook
from anomaly.worker.saver import Saver
from anomaly.worker.store import RunStateStore, UnreadableSnapshot
from tests.worker.topic_tools import step

TP0 = TP("telemetry", 0)
LEASE = Lease(6.0, clock=lambda: 0.0)


def kafka_record(offset: int, value: bytes | None = b"{}", key: bytes | None = b"k") -> Any:
    size = len(value or b"")
    record: Any = ConsumerRecord("telemetry", 0, offset, 1_000, 0, key, value, None, 1, size, ())
    return record


def book_after(*records: Any) -> PartitionBook:
    """A book that has processed `records`, one batch each."""
    book = PartitionBook(0, 1, PartitionMonitor(0, 1), position=0)
    for number, record in enumerate(records):
        outcome = book.monitor.process([record])
        book.advance(record.offset + 1, outcome, float(number))
    return book


def commit_offset(book: PartitionBook) -> int:
    return book.commit()[0]


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


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


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


@pytest.fixture
def store(tmp_path: Path) -> RunStateStore:
    import faust

    app = faust.App("store-test", broker="kafka://127.0.0.1:1")
    found = RunStateStore("runstate://local", app, app.Table("state"))
    found.file = IdleFile(str(tmp_path / FILE))
    return found


def changelog(offset: int, key: bytes, value: bytes | None) -> Any:
    tp = TP("changelog", 0)
    return SimpleNamespace(
        message=SimpleNamespace(tp=tp, partition=0, offset=offset, key=key, value=value, headers=())
    )


def saved(run: str, offset: int, revision: int = 0) -> bytes:
    return snapshot.dump(RunState(run, offset=offset, revision=revision))


def apply(store: RunStateStore, *events: Any) -> None:
    store.apply_changelog_batch(events, bytes, bytes)


def test_of_a_runs_snapshots_the_highest_offset_and_revision_wins(store: RunStateStore) -> None:
    apply(
        store,
        changelog(0, b"r", saved("r", 7)),
        changelog(1, b"r", saved("r", 7, revision=2)),
        changelog(2, b"r", saved("r", 5, revision=9)),  # a worker that had lost the partition wrote late
    )
    state = store.runs(0).bring("r")
    assert state is not None
    assert (state.offset, state.revision) == (7, 2)
    assert store.runs(0).bring("r") is None


def test_tombstones_and_test_writes_leave_no_run(store: RunStateStore) -> None:
    apply(
        store, changelog(0, b"r", saved("r", 7)), changelog(1, b"r", None), changelog(2, PREFLIGHT_KEY, b"")
    )
    assert store.runs(0).resting() == {}
    assert not store.take_unreadable()


@pytest.mark.parametrize("payload", [b"", b"\x00", saved("another", 3), saved("r", 3)[:-5], b"\x80"])
def test_a_snapshot_that_cannot_be_read_leaves_its_run_cold_and_recovery_going(
    store: RunStateStore, payload: bytes
) -> None:
    apply(
        store,
        changelog(0, b"r", snapshot.dump(RunState("r", offset=7, attempt=4))),
        changelog(1, b"r", payload),
        changelog(2, b"s", saved("s", 1)),
    )
    assert list(store.runs(0).resting()) == ["s"]
    cold = store.runs(0).runs["r"]
    assert (cold.offset, cold.revision, cold.attempt) == (7, 1, 4)
    assert [(found.offset, found.value) for found in store.take_unreadable()] == [(1, payload)]
    assert not store.take_unreadable()


def test_an_unreadable_snapshot_that_a_readable_one_follows_is_an_old_story(store: RunStateStore) -> None:
    apply(store, changelog(0, b"r", b"damaged"), changelog(1, b"r", saved("r", 2)))
    assert store.runs(0).resting()["r"].offset == 2
    assert not store.take_unreadable()


def test_the_position_in_the_changelog_moves_only_over_what_was_read_or_is_ours(store: RunStateStore) -> None:
    tp = TP("changelog", 0)
    apply(store, changelog(4, b"r", saved("r", 7)))
    store.own_write(tp, 5)
    assert store.persisted_offset(tp) == 5
    store.own_write(tp, 7)  # 6 is somebody else's and must be read
    assert store.persisted_offset(tp) == 5
    store.keep({1})
    assert store.persisted_offset(tp) is None
    assert store.partitions == {}


def test_a_dead_letter_is_one_that_aiokafka_can_send() -> None:
    letter = dead_letter(
        Topics(), kafka_record(3, value=None, key=None), Reason.UNDECODABLE, "x" * 5000, 1000
    )
    assert (letter.key, letter.value) == (None, b"")
    headers = dict(letter.headers or [])
    assert len(headers["detail"]) == 2000
    assert (headers["reason"], headers["offset"]) == (b"undecodable", b"3")


def test_a_snapshot_too_large_for_a_dead_letter_is_named_instead_of_copied() -> None:
    found = UnreadableSnapshot(TP("changelog", 2), 9, b"r", bytes(100), "why")
    letter = unreadable_snapshot(Topics(), found, max_bytes=50)
    assert letter.value == b""
    headers = dict(letter.headers or [])
    assert (headers["detail"], headers["omitted"]) == (b"why", b"100")


def test_a_state_too_large_to_be_written_starts_cold_instead_of_stopping_its_partition() -> None:
    book = book_after(
        kafka_record(0, step("r", 1, loss=float("nan"))), kafka_record(1, step("s", 1, loss=1.0))
    )
    state = book.monitor.runs["r"]
    state.peer_runs["x"] = [1 << 40] * 2_000_000
    payload = book.dump("r")
    assert payload is not None
    assert len(payload) < 10_000
    assert (cold := snapshot.load(payload)).offset == 0
    assert cold.book.ordinals == {"nonfinite_loss": 1}
    assert book.monitor.runs["r"].peer_runs == {}
    assert book.too_large["r"] > 16 << 20
    assert book.dump("s") is not None
    assert list(book.too_large) == ["r"]
