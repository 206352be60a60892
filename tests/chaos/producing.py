"""A producer as a process: ``python -m tests.chaos.producing PLAN.json SERVERS TOPIC PROGRESS START``.

Keyed records of several runs, a step every so often, through the client library's own default partitioner. A record
is kept until it is acknowledged and sent again if that fails. PROGRESS holds the step it has come to: killed and
started again, it goes on from the last checkpoint before that, as a training job would.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError
from confluent_kafka import Producer as ConfluentProducer
from numpy.typing import NDArray

from anomaly import codec
from anomaly.records import MILLIONTHS, Fork, Layout, LayoutMessage, StepMessage, home_key
from tests.chaos.scenario import ProducerPlan, RunPlan

SIGNALS = ("grad_norm", "weight_norm", "update_ratio", "act_rms")
MODEL_SIGNALS = ("loss", "lr", "grad_norm_total")
JUMP = 60.0
RESEND_SECONDS = 0.2

Record = tuple[bytes, bytes, int]
"""Key, value, timestamp in milliseconds."""


class Library(Protocol):
    """A client library, as far as it matters here."""

    async def send(self, record: Record) -> None:
        """Hand over a record."""

    async def finish(self) -> None:
        """Return once everything is acknowledged."""


class Aiokafka:
    """aiokafka with its defaults, save that all replicas acknowledge."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._pending: list[tuple[asyncio.Future[Any], Record]] = []

    async def send(self, record: Record) -> None:
        """See `Library`."""
        key, value, timestamp = record
        while True:
            try:
                future = await self._producer.send(self._topic, value, key, timestamp_ms=timestamp)
            except KafkaError:
                await asyncio.sleep(RESEND_SECONDS)
            else:
                self._pending.append((future, record))
                return

    async def finish(self) -> None:
        """See `Library`."""
        while self._pending:
            pending, self._pending = self._pending, []
            for future, record in pending:
                try:
                    await future
                except KafkaError:
                    await self.send(record)


class Confluent:
    """confluent-kafka with its defaults: librdkafka's partitioner is CRC32 of the key."""

    def __init__(self, servers: str, topic: str) -> None:
        self._producer = ConfluentProducer(
            {"bootstrap.servers": servers, "linger.ms": 0, "log_level": 0, "message.max.bytes": 8 << 20}
        )
        self._topic = topic
        self._failed: list[Record] = []

    async def send(self, record: Record) -> None:
        """See `Library`."""
        key, value, timestamp = record

        def delivered(error: object, _message: object) -> None:
            if error is not None:
                self._failed.append(record)

        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=delivered, timestamp=timestamp)
            except BufferError:
                self._producer.poll(RESEND_SECONDS)
            else:
                self._producer.poll(0)
                return

    async def finish(self) -> None:
        """See `Library`."""
        while self._producer.flush(1.0) or self._failed:
            failed, self._failed = self._failed, []
            for record in failed:
                await self.send(record)


class Job:
    """The records of one run from one producer, step by step."""

    def __init__(self, plan: ProducerPlan, run: RunPlan, start: int) -> None:
        identity = f"{plan.seed} {plan.rank} {plan.library} {run.name} {start}".encode()
        self.plan, self.run = plan, run
        self.session = int.from_bytes(hashlib.blake2b(identity, digest_size=8).digest(), "big")
        self.sequence = 0
        self.started_again = start > 0
        self.fork = Fork(run.parent, run.parent, 10 * MILLIONTHS) if run.parent else None
        self.key = home_key(run.name, self.fork)
        self.layout = Layout(tuple(f"h.{number}" for number in range(run.layers)), SIGNALS, MODEL_SIGNALS)
        number = int.from_bytes(hashlib.blake2b(run.name.encode(), digest_size=4).digest(), "big")
        self._number = number
        self._base = np.exp(np.random.default_rng(number).standard_normal(self.layout.width)).astype(
            np.float32
        )

    def opening(self) -> bytes | None:
        """What is sent before the first record."""
        if self.run.json:
            return None
        return codec.encode_layout(LayoutMessage(self.run.name, self.layout, self.fork))

    def message(self, steps: range, time: float, first: bool) -> bytes:
        """Consecutive steps as one message; JSON takes only one step."""
        events = [self._events(step, first and step == steps[0]) for step in steps]
        values = np.stack([self.values(step) for step in steps])
        if self.run.json:
            return self._json(steps[0], time, values[0], events[0])
        self.sequence += len(steps)
        return codec.encode_steps(
            StepMessage(
                run=self.run.name, rank=self.plan.rank, steps=[step * MILLIONTHS for step in steps],
                times=[time for _ in steps], values=values, layout_hash=self.layout.hash, session=self.session,
                sequence=self.sequence - len(steps), events=events, fork=self.fork,
            )
        )  # fmt: skip

    def values(self, step: int) -> NDArray[np.float32]:
        """The model's signals, then layer by layer."""
        noise = np.random.default_rng([self.plan.seed, self.plan.rank, step, self._number])
        spread = np.exp(0.03 * noise.standard_normal(self.layout.width, np.float32))
        values: NDArray[np.float32] = self._base * spread
        values[:3] = 2 + 2 * 0.99**step, 1e-3, values[2]
        if self.run.fault == "nan" and step == self.run.at:
            values[3 + len(SIGNALS) * (self.run.layers // 2)] = np.nan
        if self.run.fault == "jump" and step >= self.run.at:
            values[2 :: len(SIGNALS)] *= JUMP
        return values

    def _events(self, step: int, first: bool) -> tuple[dict[str, Any], ...]:
        events: list[dict[str, Any]] = []
        if first and self.started_again and self.plan.resume_event:
            events.append({"kind": "resume"})
        if step and step % self.plan.checkpoint_every == 0:
            events.append({"kind": "checkpoint_end", "step": step, "path": f"/c/{step}"})
        return tuple(events)

    def _json(self, step: int, time: float, values: Any, events: tuple[dict[str, Any], ...]) -> bytes:
        matrix = values[3:].reshape(self.run.layers, len(SIGNALS)).tolist()
        layers = {
            name: dict(zip(SIGNALS, row, strict=True))
            for name, row in zip(self.layout.layers, matrix, strict=True)
        }
        model = dict(zip(MODEL_SIGNALS, values[:3].tolist(), strict=True))
        record = {
            "run": self.run.name,
            "rank": self.plan.rank,
            "step": step,
            "time": time,
            **model,
            "layers": layers,
        }
        return json.dumps(record | ({"events": list(events)} if events else {})).encode()


def messages(plan: ProducerPlan, jobs: list[Job], step: int, first: bool) -> Iterator[tuple[bytes, bytes]]:
    """Every run's message that ends at `step`, if one does."""
    now = time.time() - plan.seconds_late
    for job in jobs:
        size = 1 if job.run.json else plan.steps_per_message
        if (step + 1) % size == 0 or step == plan.steps - 1:
            begin = step - step % size
            yield job.key, job.message(range(begin, step + 1), now, first)


class Progress:
    """The step that was come to, in a file."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def read(self) -> int:
        """0 before the first step."""
        return int(self._path.read_text()) if self._path.exists() else 0

    def write(self, step: int) -> None:
        """Whole or not at all."""
        scratch = self._path.with_suffix(".new")
        scratch.write_text(str(step))
        scratch.replace(self._path)


async def produce(plan: ProducerPlan, library: Library, progress: Progress, start: int) -> None:
    """Send everything from the last checkpoint on."""
    came_to = progress.read()
    begin = came_to - came_to % plan.checkpoint_every
    jobs = [Job(plan, run, start) for run in plan.runs]
    sent = 0
    for job in jobs:
        opening = job.opening()
        if opening is not None:
            await library.send((job.key, opening, _milliseconds(plan)))
    for step in range(begin, plan.steps):
        for key, value in messages(plan, jobs, step, step < begin + plan.steps_per_message):
            sent += 1
            for _ in range(2 if plan.duplicates and sent % 7 == 0 else 1):
                await library.send((key, value, _milliseconds(plan)))
        progress.write(step)
        await asyncio.sleep(plan.pace_seconds)
    await library.finish()


def _milliseconds(plan: ProducerPlan) -> int:
    return int((time.time() - plan.seconds_late) * 1000)


def read_plan(path: str) -> ProducerPlan:
    """What `stage` wrote."""
    return msgspec.json.decode(Path(path).read_bytes(), type=ProducerPlan)


async def _started(servers: str) -> AIOKafkaProducer:
    """Connected, however long the brokers are away: a job is started again while they are down, too."""
    while True:
        producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_request_size=8 << 20)
        try:
            await producer.start()
        except KafkaConnectionError:
            await producer.stop()
            await asyncio.sleep(RESEND_SECONDS)
        else:
            return producer


async def main(plan_file: str, servers: str, topic: str, progress: str, start: str) -> None:
    """One life of the process."""
    plan = read_plan(plan_file)
    if start == "0":
        await asyncio.sleep(plan.delay_seconds)
    if plan.library == "confluent":
        await produce(plan, Confluent(servers, topic), Progress(progress), int(start))
        return
    producer = await _started(servers)
    try:
        await produce(plan, Aiokafka(producer, topic), Progress(progress), int(start))
    finally:
        await producer.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
