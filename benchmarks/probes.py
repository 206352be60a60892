"""A look at the worker from outside, every hundredth of a second: ``python -m benchmarks.probes``.

A probe is a message that no codec reads, so that the worker sends it to the dead letters, in the same loop in which it
judges. How long a probe takes there shows every pause of processing, whatever the worker's own metrics say. Probes go
to all partitions in turn. On stdout, at the end: ``[partition, sent, seconds until its answer or null]`` of each.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import secrets
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field

from anomaly.connection import Connection
from anomaly.reading import TopicReader
from anomaly.sender import KafkaSender
from anomaly.topics import Topics, home_partition
from benchmarks.processes import READY_SECONDS
from benchmarks.topics import PARTITIONS

EVERY_SECONDS = 0.01
GRACE_SECONDS = 5.0
"""How long to wait for answers after the last probe."""


@dataclass
class Probes:
    """What was sent and what came back, in unix seconds."""

    sent: dict[bytes, tuple[int, float]] = field(default_factory=dict)
    """Partition and time by content."""
    answered: dict[bytes, float] = field(default_factory=dict)
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when no answer is missing."""

    def note(self, content: bytes) -> None:
        """A dead letter is here, perhaps a probe's."""
        if content in self.sent:
            self.answered.setdefault(content, time.time())
        if len(self.answered) == len(self.sent):
            self.complete.set()

    def found(self) -> list[tuple[int, float, float | None]]:
        """As the module says, in the order of sending."""
        return [
            (partition, sent, self.answered[content] - sent if content in self.answered else None)
            for content, (partition, sent) in self.sent.items()
        ]


async def probe(bootstrap_servers: str, prefix: str, seconds: float) -> Probes:
    """Send probes for so long and wait for their answers."""
    topics, probes, ready = Topics(prefix), Probes(), asyncio.Event()
    sender = KafkaSender(Connection(bootstrap_servers), topics.telemetry)
    async with TopicReader(Connection(bootstrap_servers)) as reader, asyncio.TaskGroup() as group:
        reading = group.create_task(_read(reader, topics.deadletter, probes, ready))
        async with asyncio.timeout(READY_SECONDS):
            await ready.wait()
            await sender.start()
        await _send(sender, probes, seconds)
        probes.complete.clear()
        probes.note(b"")  # perhaps none is missing
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await probes.complete.wait()
        reading.cancel()
    await sender.stop()
    return probes


async def _send(sender: KafkaSender, probes: Probes, seconds: float) -> None:
    """Acknowledged each for itself, but none waits for another: a slow broker shall not slow the clock."""
    keys, session = itertools.cycle(_keys()), secrets.token_hex(4)
    begin, numbers = time.monotonic(), itertools.count()
    async with asyncio.TaskGroup() as group:
        while time.monotonic() < begin + seconds:
            partition, key = next(keys)
            number = next(numbers)
            content = f"probe {session} {number}".encode()
            probes.sent[content] = partition, time.time()
            group.create_task(sender.send(key, content))
            await asyncio.sleep(max(0.0, begin + (number + 1) * EVERY_SECONDS - time.monotonic()))


async def _read(reader: TopicReader, topic: str, probes: Probes, ready: asyncio.Event) -> None:
    async for record in reader.follow(topic, False, lambda: None, ready.set):
        probes.note(record.value)


def _keys() -> list[tuple[int, bytes]]:
    """For each partition a key whose home it is."""
    keys = (f"probe-{number}".encode() for number in itertools.count())
    found: dict[int, bytes] = {}
    while len(found) < PARTITIONS:
        key = next(keys)
        found.setdefault(home_partition(key, PARTITIONS), key)
    return sorted(found.items())


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    told = parser.parse_args()
    probes = asyncio.run(probe(told.bootstrap_servers, told.prefix, told.seconds))
    sys.stdout.write(json.dumps(probes.found()) + "\n")


if __name__ == "__main__":
    main()
