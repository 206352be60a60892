"""What recovery makes of a changelog, and what becomes of a snapshot that cannot be used: without a broker."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from anomaly.errors import Reason
from anomaly.monitor import RunState, snapshot
from anomaly.topics import PREFLIGHT_KEY, Topics
from anomaly.worker.idle import FILE, IdleFile
from anomaly.worker.letters import dead_letter, unreadable_snapshot
from anomaly.worker.store import RunStateStore, UnreadableSnapshot
from tests.worker.books import book_after, kafka_record
from tests.worker.topic_tools import step


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
