"""A fork starts from its parent's reference, and a crash anywhere does not change what it starts from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly import codec
from anomaly.incidents import Severity, Transition
from anomaly.monitor import PartitionMonitor, snapshot
from anomaly.records import Fork, StepMessage
from anomaly.worker.partition_book import PartitionBook
from tests.monitor.logs import Log, healthy, log_of, monitor, outcome_of, states, training

FORK = {"root": "r1", "parent": "r1", "step": 200}


def child(
    steps: Iterable[int], run: str = "fork", fork: dict[str, Any] = FORK, **fields: Any
) -> list[dict[str, Any]]:
    return [{**healthy(step, seed=7), "run": run, "fork": fork, **fields} for step in steps]


def exploding(records: list[dict[str, Any]], from_step: int) -> list[dict[str, Any]]:
    for record in records:
        if record["step"] >= from_step:
            record["layers"]["h.1"]["grad_norm"] *= 50
    return records


def acted_on(records: Iterable[dict[str, Any]], run: str) -> list[Transition]:
    transitions = (transition for _, transition in outcome_of(log_of(records)).transitions)
    return [each for each in transitions if each.run == run and each.severity is not Severity.INFO]


def test_a_fault_in_a_forks_tenth_step_is_found_where_a_cold_run_knows_nothing_yet() -> None:
    faulty = exploding(child(range(200, 230)), 210)
    found = acted_on(training(range(200)) + faulty, "fork")
    assert found[0].layer == "h.1"
    assert 210 <= found[0].step <= 220
    assert acted_on(faulty, "fork") == []


def test_a_healthy_fork_is_quiet_from_the_last_step_and_from_far_back() -> None:
    assert acted_on(training(range(400)) + child(range(400, 700), fork={**FORK, "step": 400}), "fork") == []
    assert acted_on(training(range(400)) + child(range(50, 400), fork={**FORK, "step": 50}), "fork") == []


def test_a_fork_from_before_its_parents_fault_is_quiet() -> None:
    parent = training(range(300))
    for record in parent[200:]:
        record["loss"] *= 20
        record["grad_norm_total"] *= 50
    assert acted_on(parent, "r1")
    assert acted_on(parent + child(range(190, 400), fork={**FORK, "step": 190}), "fork") == []


def test_a_fork_asks_for_twice_the_evidence_for_thirty_readings() -> None:
    partition = monitor()
    partition.process(log_of(training(range(200)) + child([200])).records)
    parent, fork = partition.runs["r1"], partition.runs["fork"]
    assert fork.context.cautious_until == parent.readings + 30
    assert fork.context.lr == parent.context.lr
    assert fork.attempt == 0


def test_a_fork_takes_no_incident_over_and_leaves_its_parent_alone() -> None:
    parent = training(range(200))
    parent[-1]["loss"] = float("nan")
    alone, both = monitor(), monitor()
    alone.process(log_of(parent).records)
    outcome = both.process(log_of(parent + child(range(200, 220))).records)
    assert states(both)["r1"] == states(alone)["r1"]
    assert {transition.run for _, transition in outcome.transitions} == {"r1"}
    assert both.runs["fork"].book.open == []


def test_a_fork_goes_back_to_its_parents_checkpoint() -> None:
    parent = training(range(200))
    for step in (100, 180):
        parent[step]["events"] = [{"kind": "checkpoint_end"}]
    fork = {**FORK, "step": 150}
    found = acted_on(parent + child(range(150, 155), fork=fork, loss=float("nan")), "fork")
    assert found[0].last_checkpoint_step == 100


def test_a_fork_of_an_unknown_run_and_one_that_names_itself_start_cold() -> None:
    for parent in ("nobody", "fork"):
        partition = monitor()
        fork = {"root": "r1", "parent": parent, "step": 200}
        partition.process(log_of(training(range(50)) + child([200], fork=fork)).records)
        assert partition.runs["fork"].readings == 1


def test_a_fork_of_a_fork_starts_from_that_fork() -> None:
    grandchild = {"root": "r1", "parent": "fork", "step": 260}
    partition = monitor()
    records = training(range(200)) + child(range(200, 260)) + child([260], run="second", fork=grandchild)
    partition.process(log_of(records).records)
    assert partition.runs["second"].readings == 261


@st.composite
def families(draw: st.DrawFn) -> Log:
    """A run, forks of it and forks of these, beginning at any time, all going on."""
    log = Log()
    parents = {"r1": "", "a": "r1", "b": "r1", "c": "a", "d": "c"}
    steps = dict.fromkeys(parents, 0)
    for _ in range(draw(st.integers(10, 60))):
        run = draw(st.sampled_from([name for name, parent in parents.items() if not parent or steps[parent]]))
        steps[run] += 1
        parent = parents[run]
        fork = {"root": "r1", "parent": parent, "step": steps[parent]} if parent else None
        log.json(run=run, **healthy(steps[run], seed=len(run)), fork=fork)
    return log


class Worker:
    """What a worker and the changelog are to each other, without the brokers between them."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.changelog: dict[str, bytes] = {}
        self.committed = 0
        self.restart()

    def restart(self) -> None:
        runs = {run: snapshot.load(payload) for run, payload in self.changelog.items()}
        self.book = PartitionBook(0, 1, PartitionMonitor(0, 1, runs=runs), self.committed)

    def process(self, count: int) -> None:
        records = self.log.records[self.book.position : self.book.position + count]
        if records:
            outcome = self.book.monitor.process(records)
            self.book.advance(records[-1].offset + 1, outcome, 0.0)

    def save(self, run: str, lost: int) -> None:
        """Write one run, as the saver does; the last `lost` of the writes never arrive, and the worker is killed."""
        if run not in self.book.dirty:
            return
        writes = [(name, self.book.dump(name)) for name in (*self.book.unsaved_forks(run), run)]
        for name, payload in writes[: len(writes) - lost]:
            assert payload is not None
            self.changelog[name] = payload
        if lost:
            self.restart()
        else:
            self.committed = self.book.commit()[0]
            self.book.landed()


@settings(max_examples=60, deadline=None)
@given(families(), st.data())
def test_a_crash_anywhere_leaves_every_fork_as_if_nothing_had_happened(log: Log, data: st.DataObject) -> None:
    whole = monitor()
    whole.process(log.records)
    worker = Worker(log)
    for _ in range(data.draw(st.integers(1, 25))):
        worker.process(data.draw(st.integers(0, 8)))
        if worker.book.dirty:
            worker.save(data.draw(st.sampled_from(sorted(worker.book.dirty))), data.draw(st.integers(0, 2)))
        if data.draw(st.booleans()):
            worker.restart()
    worker.process(len(log.records))
    assert states(worker.book.monitor) == states(whole)


def test_a_fork_that_still_waits_for_its_layout_is_written_before_its_parent_too() -> None:
    log = log_of(training(range(50)))
    held = StepMessage(
        "fork", 0, [50], [None], np.ones((1, 3), np.float32), bytes(8), fork=Fork("r1", "r1", 50)
    )
    log.add(codec.encode_steps(held))
    book = PartitionBook(0, 1, monitor(), 0)
    book.advance(51, book.monitor.process(log.records), 0.0)
    assert list(book.dirty) == ["r1"]
    assert book.unsaved_forks("r1") == ["fork"]
    payload = book.dump("fork")
    assert payload is not None
    assert snapshot.load(payload).offset == -1
    assert book.unsaved_forks("r1") == []  # it is on its way, and will be there first
    book.dump("r1")
    assert book.commit()[0] == 50
    book.put_back()
    assert book.unsaved_forks("r1") == ["fork"]
    book.dump("fork")
    book.landed()
    assert book.unsaved_forks("r1") == []


def test_a_parent_stays_in_memory_until_its_forks_are_saved() -> None:
    log = log_of(training(range(50)) + child([50]))
    book = PartitionBook(0, 1, monitor(), 0)
    book.advance(50, book.monitor.process(log.records[:50]), 0.0)
    book.dump("r1")
    book.landed()
    assert book.quiet_since(1.0) == ["r1"]
    book.advance(51, book.monitor.process(log.records[50:]), 0.0)
    assert book.quiet_since(1.0) == []
    assert not book.forget("r1")
    book.dump("fork")
    assert book.quiet_since(1.0) == []
    book.landed()
    assert sorted(book.quiet_since(1.0)) == ["fork", "r1"]
