"""A thousand runs at work: what their states take, how long saving them stops processing, how soon a crash is over.

One worker with 1,000 runs of 1,024 series, all changing all the time: it catches up with a backlog, then a record a
second comes from each. Meanwhile `probes` look at it from outside.

memory_per_series    resident memory after that, minus that of a worker without runs, over the series. A backlog first,
                     because what catching up takes from the system is not given back; at the end all states were saved.
snapshot_pause       the longest pause by the worker's own metric, the larger of two workers: one as it comes, which
                     saves a thirtieth of the states a second, and one told to save all of them in one go.
snapshot_pause_seen  the longest wait of a probe over the median one: an upper bound that does not believe the metric.
snapshot_bytes       a saved state's mean size.
recovery_1000_runs   from kill -9 until, in every partition, a probe is answered promptly again. The worker is started
                     again at once and must wait for the broker to give up the dead one (6 s of session time-out).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from anomaly.topics import Topics
from benchmarks.load import Load
from benchmarks.looks import until
from benchmarks.processes import Program, Worker
from benchmarks.publisher import Plan
from benchmarks.rows import Row, row
from benchmarks.sections import Bench
from benchmarks.throughput import LAYERS_1K
from benchmarks.topics import PARTITIONS, fill, make_topic

NAMES = ("memory_per_series", "snapshot_pause", "snapshot_pause_seen", "snapshot_bytes", "recovery_1000_runs")
PREFIX, EMPTY = "bench-state", "bench-empty"
PROMPT_SECONDS = 0.25
"""A probe answered within this finds the worker caught up."""
LONGEST_SECONDS = 120.0
MOST_PROBES = 10_000
PUBLISHED_SECONDS = 500
"""Longer than all that is measured."""
Answers = list[tuple[int, float, float | None]]
"""Partition, unix seconds of sending, seconds until the answer: of each probe."""


@dataclass(frozen=True)
class Scale:
    """`steps` of each run wait at first; then each worker is watched for `seconds`; recovery may take `recovery`."""

    runs: int
    steps: int
    seconds: int
    recovery: int


@dataclass(frozen=True)
class Whole:
    """What the worker that saves all at once showed: its own longest pause in seconds, a state's bytes, the probes."""

    pause: float
    bytes_a_run: float
    answers: Answers


_SAVED = "anomaly_snapshots_total"
RECOVERY_NOTE = "session time-out of 6 s included"
FULL = Scale(runs=1_000, steps=10, seconds=36, recovery=25)
QUICK = Scale(runs=12, steps=5, seconds=9, recovery=20)


def measure(bench: Bench) -> list[Row]:
    """All four rows."""
    return State(bench, QUICK if bench.quick else FULL).rows()


class State:
    """The measurements on one broker."""

    def __init__(self, bench: Bench, scale: Scale, prefix: str = PREFIX) -> None:
        self._bench = bench
        self._scale = scale
        self._prefix = prefix
        self._servers = bench.broker.bootstrap_servers

    def rows(self) -> list[Row]:
        """Measure one after the other, on one stream of records."""
        make_topic(self._servers, Topics(EMPTY))
        backlog = self.backlog()
        empty = self._empty_bytes()
        with self.worker("rolling") as worker:
            self.caught_up(worker, backlog.values)
            with self.published():
                rolling = self._watched(worker)
                self.saved(worker)
                used = worker.resident_bytes() - empty
                pause = worker.metric("anomaly_snapshot_pause_seconds")
                recovery = row("recovery_1000_runs", self.recovery(worker), "s", RECOVERY_NOTE)
                whole = self._whole(backlog.values)
        return [
            self._memory(used, empty),
            *self._pauses([pause, whole.pause], [rolling, whole.answers]),
            row("snapshot_bytes", whole.bytes_a_run, "bytes", "of one run of 1,024 series"),
            recovery,
        ]

    def _memory(self, used: int, empty: int) -> Row:
        series = self._scale.runs * 1024
        note = f"{used / 2**20:.0f} MiB over the {empty / 2**20:.0f} of an empty worker, {self._scale.runs:,} runs"
        return row("memory_per_series", used / series, "bytes", note)

    def _whole(self, values: int) -> Whole:
        """Watch a worker that saves all states in one go. Its first save only learns how large they are."""
        seconds = str(self._scale.seconds - 4)
        with self.worker("whole", "--snapshot-seconds", seconds) as worker:
            self.caught_up(worker, values)
            until("a first save", worker, lambda: worker.metric(_SAVED) > 0, LONGEST_SECONDS)
            before = worker.metric(_SAVED)
            answers: Answers = []
            while (saved := worker.metric(_SAVED)) < before + self._scale.runs:
                if len(answers) > MOST_PROBES:
                    raise RuntimeError(
                        f"only {saved - before:g} of {self._scale.runs} states were saved in one go"
                    )
                answers += self._watched(worker)
            size = worker.metric("anomaly_snapshot_bytes_total") / saved
            return Whole(worker.metric("anomaly_snapshot_pause_seconds"), size, answers)

    def _pauses(self, pauses: list[float], watched: list[Answers]) -> list[Row]:
        own = [1000 * pause for pause in pauses]
        seen = [1000 * longest_wait(answers) for answers in watched]
        notes = [f"{one:.0f} ms rolling, {all_:.0f} ms all at once" for one, all_ in (own, seen)]
        return [
            row("snapshot_pause", max(own), "ms", f"{self._scale.runs:,} dirty runs: {notes[0]}"),
            row("snapshot_pause_seen", max(seen), "ms", f"from outside: {notes[1]}"),
        ]

    def backlog(self) -> Load:
        """Fill the topic with the first steps of each run."""
        load = Load(LAYERS_1K, self._scale.runs, self._scale.steps)
        make_topic(self._servers, Topics(self._prefix))
        fill(self._servers, Topics(self._prefix).telemetry, load.compact())
        return load

    def recovery(self, worker: Worker) -> float | None:
        """Kill `worker` of the group "rolling", start another in its place; seconds until that one is back."""
        with self._probes(self._scale.recovery) as probes:
            killed = time.time()
            worker.process.kill()
            worker.process.wait()
            with self.worker("rolling") as successor:
                answers = json.loads(probes.output(self._scale.recovery + LONGEST_SECONDS))
                runs = successor.metric("anomaly_runs")
        if runs < self._scale.runs:
            raise RuntimeError(f"{runs:g} of {self._scale.runs} runs were there after the restart")
        return back_at(answers, killed)

    def saved(self, worker: Worker) -> None:
        """Wait until each state was saved once."""
        until(
            "the states are saved", worker, lambda: worker.metric(_SAVED) >= self._scale.runs, LONGEST_SECONDS
        )

    def _empty_bytes(self) -> int:
        """What a worker without runs takes; started twice, for compiling takes memory too."""
        for _ in range(2):
            with Worker(self._bench.folder, self._bench.broker, EMPTY, "bench-empty-group") as worker:
                time.sleep(1.0)
                found = worker.resident_bytes()
        return found

    def _watched(self, worker: Worker) -> Answers:
        with self._probes(self._scale.seconds) as probes:
            answers: Answers = json.loads(probes.output(self._scale.seconds + LONGEST_SECONDS))
        return answers

    def caught_up(self, worker: Worker, values: int) -> None:
        """Wait until `values` values were judged and hardly any wait."""
        until(
            "the backlog is judged",
            worker,
            lambda: (
                worker.metric("anomaly_values_total") >= values
                and worker.metric("anomaly_lag_records") <= PROMPT_SECONDS * self._scale.runs
            ),
            LONGEST_SECONDS,
        )

    def worker(self, group: str, *flags: str) -> Worker:
        """A worker in `group` of this topic's."""
        return Worker(self._bench.folder, self._bench.broker, self._prefix, f"{self._prefix}-{group}", *flags)

    @contextmanager
    def _probes(self, seconds: float) -> Iterator[Program]:
        flags = ["--bootstrap-servers", self._servers, "--prefix", self._prefix, "--seconds", str(seconds)]
        with Program(self._bench.folder, "benchmarks.probes", *flags) as program:
            yield program

    @contextmanager
    def published(self) -> Iterator[None]:
        """A record a second from each run."""
        scale = self._scale
        plan = Plan(self._servers, self._prefix, scale.runs, PUBLISHED_SECONDS, first_step=scale.steps)
        with Program(self._bench.folder, "benchmarks.publisher", *plan.flags()) as publisher:
            yield
            if publisher.process.poll() is not None:
                raise RuntimeError(f"records stopped coming: {publisher.last_words}")


def longest_wait(answers: Answers) -> float:
    """Seconds that the slowest probe waited longer than the median one; infinite if one had no answer."""
    waits = [float("inf") if wait is None else wait for _, _, wait in answers]
    return max(waits) - median(waits)


def back_at(answers: Answers, killed: float) -> float | None:
    """Seconds from `killed` until a probe sent after it was answered promptly in every partition; None if not."""
    prompt: dict[int, float] = {}
    for partition, sent, wait in answers:
        if sent >= killed and wait is not None and wait <= PROMPT_SECONDS:
            prompt.setdefault(partition, sent + wait - killed)
    return max(prompt.values()) if len(prompt) == PARTITIONS else None
