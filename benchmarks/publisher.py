"""Publishes as many training runs do, a record a second each, a NaN in drawn runs: ``python -m benchmarks.publisher``.

A thousand real hooks would be a thousand threads, which a thousand training hosts have and this one has not. So the
runs share one event loop and one connection; each message is encoded by the hook's own codec and sent by librdkafka,
since aiokafka takes too much of two cores for five thousand records a second. On stdout, at the end: the faults as
``[run, step, unix seconds just before the send]``, and how late the latest record was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, fields
from typing import Any

from confluent_kafka import KafkaError

from anomaly.topics import Topics
from benchmarks.load import MODEL_SIGNALS, RUN, Load
from benchmarks.throughput import LAYERS_1K
from benchmarks.topics import FLUSH_SECONDS, loader

WARM_UP_SECONDS = 5
"""Healthy at first: connections, states and compiled code are there before anything counts."""
TAIL_SECONDS = 1


@dataclass(frozen=True)
class Plan:
    """`runs` runs report for `seconds` seconds; one record of each of `faults` runs, drawn by `seed`, holds a NaN.

    Their steps begin at `first_step`: above 0, the topic already has their layouts and what came before.
    """

    bootstrap_servers: str
    prefix: str
    runs: int
    seconds: int
    faults: int = 0
    seed: int = 0
    first_step: int = 0

    def flags(self) -> list[str]:
        """As the command line has it."""
        return [
            part
            for field in fields(self)
            for part in (f"--{field.name.replace('_', '-')}", str(getattr(self, field.name)))
        ]

    def faulty(self) -> dict[int, int]:
        """The step of the fault by run."""
        drawn = random.Random(self.seed)
        runs = drawn.sample(range(self.runs), self.faults)
        return {run: drawn.randrange(WARM_UP_SECONDS, self.seconds - TAIL_SECONDS) for run in runs}


class Publisher:
    """All runs, spread evenly over each second."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._failures: list[KafkaError] = []
        self._producer = loader(plan.bootstrap_servers, self._failures)
        self._topic = Topics(plan.prefix).telemetry
        self._load = Load(LAYERS_1K, plan.runs, plan.seconds)
        self._faulty = plan.faulty()
        self.faults: list[tuple[str, int, float]] = []
        self.latest_seconds = 0.0

    async def publish(self) -> None:
        """Return once everything is acknowledged."""
        if not self._plan.first_step:
            for key, content in self._load.layouts():
                self._send(key, content)
        begin = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for run in range(self._plan.runs):
                group.create_task(self._train(run, begin + run / self._plan.runs))

        if self._producer.flush(FLUSH_SECONDS) or self._failures:
            raise RuntimeError(f"not all was acknowledged: {self._failures[:1]}")

    def _send(self, key: bytes, content: bytes) -> None:
        self._producer.produce(self._topic, content, key=key)
        self._producer.poll(0)

    async def _train(self, run: int, begin: float) -> None:
        now = asyncio.get_running_loop().time
        for second in range(self._plan.seconds):
            await asyncio.sleep(begin + second - now())
            self.latest_seconds = max(self.latest_seconds, now() - begin - second)
            step = self._plan.first_step + second
            values = self._load.row(run, step)
            fault = self._faulty.get(run) == second
            if fault:
                values = values.copy()
                values[0, len(MODEL_SIGNALS)] = float("nan")  # the first layer's gradient
            key, content = self._load.message(run, step, [time.time()], values)
            if fault:
                self.faults.append((RUN.format(run), step, time.time()))
            self._send(key, content)


async def publish(plan: Plan) -> dict[str, Any]:
    """Publish the whole plan; what is written on stdout."""
    publisher = Publisher(plan)
    await publisher.publish()
    return {"faults": publisher.faults, "latest_seconds": publisher.latest_seconds}


def main() -> None:
    """Read the plan from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--prefix", required=True)
    for name in ("runs", "seconds", "faults", "seed", "first-step"):
        parser.add_argument(f"--{name}", type=int, required=True)
    published = asyncio.run(publish(Plan(**vars(parser.parse_args()))))
    sys.stdout.write(json.dumps(published) + "\n")


if __name__ == "__main__":
    main()
