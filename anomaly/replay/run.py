"""Files through the monitor: the same one as the worker's, with a file where the log was."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from anomaly.errors import RecordError
from anomaly.incidents.transition import Transition
from anomaly.monitor.limits import Limits
from anomaly.monitor.monitor import PartitionMonitor
from anomaly.monitor.state import RunState
from anomaly.records import MILLIONTHS, LayoutMessage, StepMessage, step_number
from anomaly.replay.clock import FileClock
from anomaly.replay.pieces import FileReader
from anomaly.replay.records import RecordReader
from detectors.levels import Levels


class Replay:
    """Every run of the files, as one partition's worker would have judged it.

    ``counts`` says what became of the records, as the worker counts it. What the worker would have parked is counted by
    reason in ``refused_counts``, and the first few are told in ``refused``.
    """

    REMEMBERED = 10

    def __init__(
        self,
        limits: Limits | None = None,
        until_step: float | None = None,
        looks_on: Callable[[RunState], None] | None = None,
        levels: Levels | None = None,
    ) -> None:
        """`until_step`: records of later steps are passed over. `looks_on`: is shown the run after each record.

        `levels`: others than those of the limits.
        """
        self._monitor = PartitionMonitor(partition=0, partitions=1, limits=limits)
        self._monitor.lives.levels = levels or self._monitor.lives.levels
        self._until = math.inf if until_step is None else until_step * MILLIONTHS
        self._looks_on = looks_on
        self._clock = FileClock(self._monitor.runs)
        self.counts: Counter[str] = Counter()
        self.refused_counts: Counter[str] = Counter()
        self.refused: list[str] = []

    @property
    def runs(self) -> int:
        """Runs seen so far."""
        return len(self._monitor.runs)

    def transitions(self, paths: Iterable[Path]) -> Iterator[Transition]:
        """What the files cause, in order, as they are read. Raises `ReplayFileError`."""
        for message in messages(paths):
            yield from self.take(message)

    def take(self, message: StepMessage | LayoutMessage) -> list[Transition]:
        """What one message causes."""
        if isinstance(message, LayoutMessage):
            return self._taken(message)
        if message.steps[0] > self._until:
            return []
        before = self._clock.until(message.run, message.times[0])
        return before + self._taken(message) + self._clock.came(message.run, message.times[-1])

    def _taken(self, message: StepMessage | LayoutMessage) -> list[Transition]:
        try:
            self._monitor.take(message)
            if self._looks_on is not None:
                self._looks_on(self._monitor.runs[message.run])
        except RecordError as error:
            self.refused_counts[error.reason] += 1
            if len(self.refused) < self.REMEMBERED:
                self.refused.append(f"{_name(message)}: {error.detail}")
        outcome = self._monitor.drain()
        self.counts.update(outcome.counts)
        return [transition for _, transition in outcome.transitions]


def _name(message: StepMessage | LayoutMessage) -> str:
    at = f", step {step_number(message.steps[0])}" if isinstance(message, StepMessage) else ""
    return f"run {message.run}{at}"


def messages(paths: Iterable[Path]) -> Iterator[StepMessage]:
    """The files' records in order, as one stream."""
    files = FileReader()
    records = RecordReader(files)
    for path in paths:
        for piece in files.pieces(path):
            yield from records.feed(piece)
    yield from records.close()
