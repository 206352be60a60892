"""Files through the monitor: the same one as the worker's, with a file where the log was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from anomaly.errors import RecordError
from anomaly.incidents.transition import Transition
from anomaly.monitor.limits import Limits
from anomaly.monitor.monitor import PartitionMonitor
from anomaly.records import StepMessage, step_number
from anomaly.replay.pieces import FileReader
from anomaly.replay.records import RecordReader


class Replay:
    """Every run of the files, as one partition's worker would have judged it.

    ``counts`` says what became of the records, as the worker counts it. What the worker would have parked is counted by
    reason in ``refused_counts``, and the first few are told in ``refused``.
    """

    REMEMBERED = 10

    def __init__(self, limits: Limits | None = None) -> None:
        self._monitor = PartitionMonitor(partition=0, partitions=1, limits=limits)
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
            try:
                self._monitor.take(message)
            except RecordError as error:
                self.refused_counts[error.reason] += 1
                if len(self.refused) < self.REMEMBERED:
                    self.refused.append(
                        f"run {message.run}, step {step_number(message.steps[0])}: {error.detail}"
                    )
            if self._monitor.outcome.transitions:
                outcome = self._monitor.drain()
                self.counts.update(outcome.counts)
                yield from (transition for _, transition in outcome.transitions)
        self.counts.update(self._monitor.drain().counts)


def messages(paths: Iterable[Path]) -> Iterator[StepMessage]:
    """The files' records in order, as one stream."""
    files = FileReader()
    records = RecordReader(files)
    for path in paths:
        for piece in files.pieces(path):
            yield from records.feed(piece)
    yield from records.close()
