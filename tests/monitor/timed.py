"""A monitor with its timers and a clock that the test sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from anomaly.incidents import Status, Transition
from anomaly.monitor import PartitionMonitor, snapshot
from anomaly.monitor.log import Outcome
from anomaly.monitor.timers import PartitionTimers
from tests.monitor.logs import Log, monitor

WALL = 1_800_000_000.0


class Watched:
    """A partition and its timers, as a worker ties them together; time passes in half seconds."""

    def __init__(self, partition: PartitionMonitor | None = None) -> None:
        self.partition = partition or monitor()
        self.timers = PartitionTimers(0, self.partition.runs)
        self.log = Log()
        self.transitions: list[Transition] = []
        self.touched: list[dict[str, int]] = []

    def record(self, run: str = "r1", **fields: Any) -> Outcome:
        outcome = self.partition.process([self.log.json(run=run, **fields)])
        self.timers.arrivals.update(outcome.touched)
        return outcome

    def pass_(self, seconds: float, counts: bool = True) -> None:
        for _ in range(round(seconds * 2)):
            self._take(self.timers.tick(0.5 if counts else 0.0, WALL + self.timers.now))

    def steps(self, steps: Iterable[int], every: float = 1.0, run: str = "r1") -> None:
        for step in steps:
            self.record(run, step=step, loss=1.0)
            self.pass_(every)

    def restarted(self) -> Watched:
        """Another worker, with what was saved now."""
        runs = {run: snapshot.load(snapshot.dump(state)) for run, state in self.partition.runs.items()}
        other = Watched(PartitionMonitor(0, 1, runs=runs))
        other.log = self.log
        return other

    @property
    def seen(self) -> list[tuple[str, str]]:
        return [(transition.kind, transition.status) for transition in self.transitions]

    def _take(self, outcome: Outcome) -> None:
        self.transitions += [transition for _, transition in outcome.transitions]
        if outcome.touched:
            self.touched.append(outcome.touched)


PAUSE = [{"kind": "eval_start"}]
SILENT = [("run_silent", Status.OPENED)]
