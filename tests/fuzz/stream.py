"""Noise and good runs on one partition, through the real monitor, and what must hold of it.

* every record has one fate: judged, counted as a duplicate or late, held, sent home, or parked with its reason;
* nothing is parked as `processing_error`: that is a bug of ours;
* the good runs are judged exactly as without the noise, bit for bit, also across restarts from snapshots;
* every state can be saved.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomaly import codec
from anomaly.errors import Reason
from anomaly.monitor import Outcome, PartitionMonitor, RunState, snapshot
from anomaly.monitor.restarts import Admission
from anomaly.records import Layout, LayoutMessage, StepMessage
from anomaly.topics import home_partition, is_preflight
from tests.fuzz.noise import Noise, Sent
from tests.monitor.logs import Record, healthy

GOOD = ("good-0", "good-1", "good-2")
GOOD_LAYOUT = Layout(("h.0", "h.1", "h.2"), ("grad_norm", "act_rms"), ("loss", "lr"))
BATCH = 64
RESTART_EVERY = 8192
SHOWN = 5


@dataclass
class Found:
    """What came of a fuzz run. `problems` is empty when all that must hold did."""

    records: int = 0
    good: int = 0
    passed_over: int = 0
    """Drawn noise that named a good run and was not sent."""
    fates: Counter[str] = field(default_factory=Counter)
    transitions: int = 0
    problems: list[str] = field(default_factory=list)

    def problem(self, text: str) -> None:
        """Remember the first few."""
        self.fates["problems"] += 1
        if len(self.problems) < SHOWN:
            self.problems.append(text)


def good_records(number: int) -> Iterator[Sent]:
    """A well-behaved run without end, with a fault now and then: compact where `number` is odd, else JSON."""
    run, rng = GOOD[number], np.random.default_rng(number)
    if number % 2:
        yield Sent(codec.encode_layout(LayoutMessage(run, GOOD_LAYOUT)))
    step = 0
    while True:
        bad = step % 100 == 40
        if number % 2:
            values = np.exp(0.05 * rng.standard_normal((1, GOOD_LAYOUT.width))).astype(np.float32)
            if bad:
                values[0, 3] = np.nan
            times: list[float | None] = [float(step)]
            message = StepMessage(run, 0, [step * 10**6], times, values, GOOD_LAYOUT.hash, None, 7, step)
            yield Sent(codec.encode_steps(message))
        else:
            record = {
                "run": run,
                "time": float(step),
                "rank": step % 2 if number else 0,
                **healthy(step // 2 if number else step),
            }
            if bad:
                record["layers"]["h.1"]["grad_norm"] *= 1e5
            yield Sent(json.dumps(record).encode())
        step += 1


class Stream:
    """One partition fed with noise and good runs, and beside it one fed with the good runs alone."""

    def __init__(self, seed: int, partitions: int = 1, largest: int = 100_000) -> None:
        self.found = Found()
        self._noise = Noise(seed, largest)
        self._rng = random.Random(seed + 1)
        self._partition = home_partition(GOOD[0].encode(), partitions)
        self._partitions = partitions
        at_home = [
            at for at, run in enumerate(GOOD) if home_partition(run.encode(), partitions) == self._partition
        ]
        self._good = {GOOD[at]: good_records(at) for at in at_home}
        self._among = PartitionMonitor(self._partition, partitions)
        self._alone = PartitionMonitor(self._partition, partitions)
        self._transitions: list[tuple[bytes, bytes]] = []
        self._expected: list[tuple[bytes, bytes]] = []
        self._weight_in = 0
        self._weight_out = 0
        self._offset = 0

    def run(self, records: int) -> Found:
        """Feed that many records more; look at what must hold."""
        until = self.found.records + records
        while self.found.records < until:
            self._batch()
            if self.found.records % RESTART_EVERY < BATCH:
                self._restart()
                self._compare()
        self._restart()
        self._compare()
        return self.found

    def rebuilt(self) -> PartitionMonitor:
        """The monitor that had the noise, as it stands."""
        return self._among

    def _batch(self) -> None:
        batch, good = [], []
        for _ in range(self._rng.randrange(1, BATCH)):
            if self._rng.random() < 0.06:
                sent = next(self._good[self._rng.choice(list(self._good))])
                self.found.good += 1
                good.append(self._record(sent))
                batch.append(good[-1])
            elif (noise := self._noise_record()) is not None:
                batch.append(noise)
        self.found.records += len(batch)
        self._weight_in += sum(weight_of(record) for record in batch)
        outcome = self._among.process(batch)
        self._account(outcome)
        self._transitions += of_good(outcome)
        self._expected += of_good(self._alone.process(good))

    def _noise_record(self) -> Record | None:
        sent = self._noise.draw()
        if names_good_run(sent.value):
            self.found.passed_over += 1
            return None
        return self._record(sent)

    def _record(self, sent: Sent) -> Record:
        self._offset += 1
        return Record(self._offset, sent.value, sent.key, sent.timestamp, sent.headers)

    def _account(self, outcome: Outcome) -> None:
        fates = self.found.fates
        for letter in outcome.dead_letters:
            fates[letter.reason] += 1
            self._weight_out += weight_of(letter.record)
            if letter.reason is Reason.PROCESSING_ERROR:
                self.found.problem(f"{letter.detail}: {letter.record.value!r:.2000}")
            if not letter.detail:
                self.found.problem(f"parked as {letter.reason} without a word")
        self._weight_out += sum(weight_of(leaving.record) for leaving in outcome.forwards)
        counted = {name: outcome.counts[name] for name in (*Admission, "layouts")}
        self._weight_out += sum(counted.values())
        fates.update({**counted, "forwarded": len(outcome.forwards)})
        self.found.transitions += len(outcome.transitions)
        for _, transition in outcome.transitions:
            try:
                transition.encode()
            except Exception as error:
                self.found.problem(f"a transition cannot be sent: {error!r}: {transition!r:.2000}")

    def _held(self) -> int:
        waiting = (held for of_run in self._among._held._runs.values() for held in of_run._records)
        return sum(weight_of(held.record) for held in waiting)

    def _restart(self) -> None:
        """Save every state; where nothing is held, go on from what was saved, as after a crash."""
        states = {}
        for run, state in self._among.runs.items():
            try:
                states[run] = snapshot.load(snapshot.dump(state))
            except Exception as error:
                self.found.problem(f"the state of {run!r} cannot be saved and read again: {error!r}")
                states[run] = state
            if not np.isfinite(state.slab._state).all():
                self.found.problem(f"the charts of {run!r} hold values that are not finite")
        if self._among.oldest_held() is None:
            self._among = PartitionMonitor(
                self._partition, self._partitions, runs=states, clock=self._among.lives.clock
            )

    def _compare(self) -> None:
        if self._weight_in != self._weight_out + self._held():
            self.found.problem(
                f"{self._weight_in} records in, {self._weight_out} accounted for, {self._held()} held"
            )
        for run in self._good:
            among, alone = (monitor.runs.get(run) for monitor in (self._among, self._alone))
            if (among is None) != (alone is None):
                self.found.problem(f"{run} has a state in one of the two alone")
            elif among is not None and alone is not None and dumped(among) != dumped(alone):
                self.found.problem(f"the state of {run} is another one among the noise")
        if self._transitions != self._expected:
            self.found.problem("the transitions of the good runs are others among the noise")
        self._transitions.clear()
        self._expected.clear()


def weight_of(record: Any) -> int:
    """How many fates a record has: one a step record, one for anything else; none for preflight's own."""
    if is_preflight(record.key, record.value):
        return 0
    try:
        message = codec.decode(record.value or b"")
    except Exception:  # refused, or an error of ours that the monitor must have parked
        return 1
    return len(message.steps) if isinstance(message, StepMessage) else 1


def names_good_run(value: bytes | None) -> bool:
    """Whether a record would be a good run's."""
    try:
        return codec.decode(value or b"").run in GOOD
    except Exception:
        return False


def dumped(state: RunState) -> bytes:
    """What is known of a run, without where its records lay."""
    return snapshot.dump(state, marks=False)


def of_good(outcome: Outcome) -> list[tuple[bytes, bytes]]:
    """The good runs' transitions, as they are sent."""
    return [(key, each.encode()) for key, each in outcome.transitions if each.run in GOOD]
