"""From publishing a fault to its incident, in milliseconds, while many runs report once a second.

It starts on the publisher's clock just before the faulty record is handed to the hook's sender, and ends when a reader
of the incidents topic (that of ``anomaly tail``) holds the incident: both ways through the broker, the worker's batch,
the judging and the acknowledged send are in it. Both processes are on one machine, so they read one clock. An incident
that does not come makes the figure fail; it is never left out.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from anomaly.connection import Connection
from anomaly.reading import TopicReader
from anomaly.topics import Topics
from benchmarks.processes import READY_SECONDS, Broker, Program, Worker
from benchmarks.publisher import Plan
from benchmarks.rows import Row, row
from benchmarks.sections import Bench

GRACE_SECONDS = 10.0
"""How long to wait for incidents after the last record."""
Key = tuple[str, float]
"""Run and step."""


@dataclass(frozen=True)
class Scale:
    """(runs, seconds, faults) of each measurement."""

    plans: tuple[tuple[int, int, int], ...]


FULL = Scale(((100, 15, 100), (1000, 30, 600), (5000, 30, 1200)))
QUICK = Scale(((100, 8, 10), (1000, 8, 10), (5000, 8, 10)))
NAMES = tuple(f"latency_{share}_{runs}_runs" for runs, _, _ in FULL.plans for share in ("p50", "p99"))


class Arrivals:
    """When the first transition of each (run, step) was here, in unix seconds."""

    def __init__(self) -> None:
        self.seen: dict[Key, float] = {}
        self.complete = asyncio.Event()
        self._wanted: set[Key] | None = None

    def note(self, key: Key, now: float) -> None:
        """A transition is here."""
        self.seen.setdefault(key, now)
        self._look()

    def want(self, keys: set[Key]) -> None:
        """Set `complete` once all of them are here."""
        self._wanted = keys
        self._look()

    def _look(self) -> None:
        if self._wanted is not None and self._wanted <= self.seen.keys():
            self.complete.set()


def measure(bench: Bench) -> list[Row]:
    """Both percentiles for each number of runs that is wanted."""
    found: list[Row] = []
    for runs, seconds, faults in (QUICK if bench.quick else FULL).plans:
        if bench.wanted & {f"latency_p50_{runs}_runs", f"latency_p99_{runs}_runs"}:
            found += rows(bench.broker, bench.folder, runs, seconds, faults)
    return found


def rows(broker: Broker, folder: Path, runs: int, seconds: int, faults: int) -> list[Row]:
    """Both percentiles with `runs` runs, of whom `faults` suffer one in `seconds` seconds."""
    prefix = f"bench-latency-{runs}"
    plan = Plan(broker.bootstrap_servers, prefix, runs, seconds, faults, seed=runs)
    with Worker(folder, broker, prefix, f"{prefix}-group"):
        published, arrivals = asyncio.run(_watched(folder, plan))
    return _percentiles(plan, published, arrivals)


async def _watched(folder: Path, plan: Plan) -> tuple[bytes, Arrivals]:
    """Let `plan` be published; what the publisher says, and when each incident arrived."""
    arrivals, ready = Arrivals(), asyncio.Event()
    async with TopicReader(Connection(plan.bootstrap_servers)) as reader, asyncio.TaskGroup() as group:
        reading = group.create_task(_read(reader, Topics(plan.prefix).incidents, arrivals, ready))
        async with asyncio.timeout(READY_SECONDS):
            await ready.wait()
        published = await _published(folder, plan)
        arrivals.want({(run, step) for run, step, _ in json.loads(published)["faults"]})
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await arrivals.complete.wait()
        reading.cancel()
    return published, arrivals


async def _published(folder: Path, plan: Plan) -> bytes:
    with Program(folder, "benchmarks.publisher", *plan.flags()) as program:
        return await asyncio.to_thread(program.output, plan.seconds * 2 + 60.0)


async def _read(reader: TopicReader, topic: str, arrivals: Arrivals, ready: asyncio.Event) -> None:
    async for record in reader.follow(topic, True, lambda: None, ready.set):
        now = time.time()
        transition = json.loads(record.value)
        arrivals.note((transition["run"], transition["step"]), now)


def _percentiles(plan: Plan, published: bytes, arrivals: Arrivals) -> list[Row]:
    said = json.loads(published)
    waits = sorted(
        (arrivals.seen.get((run, step), math.inf) - sent) * 1000 for run, step, sent in said["faults"]
    )
    found = sum(map(math.isfinite, waits))
    complete = found == plan.faults
    note = (
        f"{found} of {plan.faults} incidents, records sent up to {said['latest_seconds'] * 1000:.0f} ms late"
    )
    p50, p99 = (waits[math.ceil(share * len(waits)) - 1] if complete else None for share in (0.5, 0.99))
    return [
        row(f"latency_p50_{plan.runs}_runs", p50, "ms", note),
        row(f"latency_p99_{plan.runs}_runs", p99, "ms", note),
    ]
