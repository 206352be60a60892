"""Noise and good runs through a real Kafka and a real worker process, and what must hold of it afterwards.

The worker never ended; every record that it refused is in the dead letters once, with its reason; every state and
every transition is what a monitor without Kafka makes of the same log; the good runs' are what it makes of them alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from anomaly.errors import Reason
from anomaly.monitor import PartitionMonitor
from anomaly.settings import Settings
from anomaly.topics import Topics, home_partition, is_preflight
from anomaly.worker.preflight import preflight
from tests.fuzz.noise import Noise, Sent
from tests.fuzz.stream import GOOD, good_records, names_good_run
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, saved_states, without_marks

PARTITIONS = 4
CODECS = ("none", "gzip", "lz4", "snappy", "zstd")
LARGEST = 8 << 20
Place = tuple[int, int]
"""Partition and offset in telemetry."""


@dataclass
class Seen:
    """What came of it. `problems` is empty when all that must hold did."""

    sent: int = 0
    seconds: float = 0.0
    peak_mib: dict[str, float] = field(default_factory=dict)
    parked: Counter[str] = field(default_factory=Counter)
    transitions: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class Expected:
    """What a monitor without Kafka makes of the log, given one record at a time."""

    parked: dict[Place, str] = field(default_factory=dict)
    transitions: list[bytes] = field(default_factory=list)
    states: dict[tuple[int, str], bytes] = field(default_factory=dict)
    """By partition and run: a fork and a run of the same name have different homes."""


def fuzz_kafka(
    servers: str, prefix: str, folder: Path, count: int, seed: int, largest: int = 100_000
) -> Seen:
    """Send `count` records, have a worker judge them, compare. Needs a broker whose batches may hold 8 MiB."""
    topics, client, seen = Topics(prefix), Client(servers), Seen()
    asyncio.run(preflight(Settings(bootstrap_servers=servers, topic_prefix=prefix, partitions=PARTITIONS)))
    flags = ["--bootstrap-servers", servers, "--topic-prefix", prefix, "--partitions", str(PARTITIONS)]
    with WorkerProcess(folder, *flags, supervised=False) as worker:
        worker.wait_ready(300)
        seen.peak_mib["before"] = peak_mib(worker)
        began = time.monotonic()
        seen.sent = send(servers, topics.telemetry, records(count, seed, largest))
        eventually("everything is judged", lambda: all_judged(worker, seen.sent), 60 + count / 100)
        seen.seconds = time.monotonic() - began
        seen.peak_mib["after"] = peak_mib(worker)
        eventually("every state is saved", lambda: worker.metrics()["anomaly_snapshot_age_seconds"] == 0, 120)
        worker.terminate()
        if worker.exit_codes != [0]:
            seen.problems.append(f"the worker ended with {worker.exit_codes}: {worker.text[-3000:]}")
    asyncio.run(compare(client, topics, seen))
    return seen


def records(count: int, seed: int, largest: int) -> Iterator[tuple[int, Sent]]:
    """(partition, record): good runs at home, noise anywhere."""
    noise = Noise(seed, largest)
    good = {run: good_records(number) for number, run in enumerate(GOOD)}
    yield from ((home(RUN_OF_ZEROS), sent) for sent in poison())
    for number in range(count):
        if number % 16 == 0:
            run = GOOD[number // 16 % len(GOOD)]
            yield home(run), next(good[run])
        elif not names_good_run((sent := noise.draw()).value):
            sent.timestamp = 0
            yield noise.rng.randrange(PARTITIONS), sent


RUN_OF_ZEROS = "zeros"


def poison() -> Iterator[Sent]:
    """What a compressed batch makes possible: a record larger than what any topic takes."""
    yield Sent(b'{"run":"zeros","step":1,"loss":1.0}', headers=(("null", None), ("", b"")))
    yield Sent(b" " * (20 << 20))
    yield Sent(b'{"run":"zeros","step":2}' + b" " * (LARGEST - 24), key=b"k")
    yield Sent(b'{"run":"zeros","step":3}', key=b"k" * (9 << 20))
    yield Sent(b'{"run":"zeros","step":4}', headers=(("large", bytes(9 << 20)),))
    yield Sent(b"x" * (LARGEST - 600))


def home(run: str) -> int:
    """A run's partition."""
    return home_partition(run.encode(), PARTITIONS)


def send(servers: str, topic: str, what: Iterator[tuple[int, Sent]]) -> int:
    """Produce through librdkafka, each record with the next of its compressions; how many a worker counts of them."""
    options: dict[str, Any] = {"bootstrap.servers": servers, "message.max.bytes": 64 << 20, "linger.ms": 5}
    producers = [Producer(options | {"compression.type": codec}) for codec in CODECS]
    failed: list[str] = []
    sent = passed_over = 0
    for partition, record in what:
        # What is too large uncompressed goes out compressed; a good run's records keep their order in one producer.
        producer = producers[1] if len(record.value or b"") > 100_000 or sent < 10 else producers[partition]
        while True:
            try:
                producer.produce(
                    topic, record.value, record.key, partition, headers=list(record.headers),
                    on_delivery=lambda error, _: failed.append(str(error)) if error else None,
                )  # fmt: skip
                break
            except BufferError:
                producer.poll(0.5)
        producer.poll(0)
        sent += 1
        passed_over += is_preflight(record.key, record.value)
        if sent == 10:
            producer.flush()
    for producer in producers:
        producer.flush()
    assert not failed, failed[:3]
    return sent - passed_over


def all_judged(worker: WorkerProcess, sent: int) -> bool:
    """Whether the worker stands at the end of the log; forwarded records come on top of those sent."""
    assert not worker.exit_codes, worker.text[-3000:]
    found = worker.metrics()
    lags = [value for name, value in found.items() if name.startswith("anomaly_lag_records{")]
    judged = found["anomaly_records_total"] >= sent + found["anomaly_forwarded_total"]
    return judged and len(lags) == PARTITIONS and not any(lags)


def peak_mib(worker: WorkerProcess) -> float:
    """The most that the worker's process has held."""
    assert worker._process is not None
    status = Path(f"/proc/{worker._process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def compare(client: Client, topics: Topics, seen: Seen) -> None:
    """Read every topic back and hold it against what a monitor makes of the log."""
    telemetry = await client.read(topics.telemetry, PARTITIONS)
    expected = judged_again(telemetry)
    letters = [each for of in (await client.read(topics.deadletter, PARTITIONS)).values() for each in of]
    told: list[tuple[Place, str]] = [letter_of(letter) for letter in letters]
    seen.parked.update(reason for _, reason in told)
    wanted: Counter[tuple[Place, str]] = Counter(expected.parked.items())
    if Counter(told) != wanted:
        missing, more = wanted - Counter(told), Counter(told) - wanted
        seen.problems.append(f"dead letters: missing {list(missing)[:5]}, unexpected {list(more)[:5]}")
    if Reason.PROCESSING_ERROR in seen.parked:
        seen.problems.append("there are dead letters of processing errors")
    originals = {(at, each.offset): each for at, of in telemetry.items() for each in of}
    unlike = [letter for letter in letters if not is_original(letter, originals)]
    if unlike:
        seen.problems.append(f"{len(unlike)} dead letters are not the original bytes")
    incidents = [
        each.value for of in (await client.read(topics.incidents, PARTITIONS)).values() for each in of
    ]
    seen.transitions = len(incidents)
    if Counter(incidents) != Counter(expected.transitions):
        seen.problems.append("the transitions are others than a monitor makes of the same log")
    changelog = await client.read(topics.changelog, PARTITIONS)
    states = {(at, run): each for at in changelog for run, each in saved_states({at: changelog[at]}).items()}
    differ = [where for where, state in expected.states.items() if states.get(where) != state]
    if differ:
        seen.problems.append(
            f"the saved states of {differ[:5]} are others than a monitor makes of the same log"
        )
    alone = judged_again(
        {at: [each for each in of if names_good_run(each.value)] for at, of in telemetry.items()}
    )
    if any(states.get((home(run), run)) != alone.states[home(run), run] for run in GOOD):
        seen.problems.append("a good run was judged otherwise than without the noise")
    if not set(alone.transitions) <= set(incidents) or not alone.transitions:
        seen.problems.append("a transition of a good run is missing or another one among the noise")


def judged_again(telemetry: dict[int, list[Any]]) -> Expected:
    """A monitor over the log, one record at a time."""
    expected = Expected()
    for partition, of_partition in telemetry.items():
        monitor = PartitionMonitor(partition, PARTITIONS)
        for record in of_partition:
            outcome = monitor.process([record])
            expected.transitions += [each.encode() for _, each in outcome.transitions]
            for letter in outcome.dead_letters:
                expected.parked[partition, letter.record.offset] = letter.reason
        expected.states |= {
            (partition, run): without_marks(state) for run, state in monitor.runs.items() if state.offset >= 0
        }
    return expected


def letter_of(letter: Any) -> tuple[Place, str]:
    """Where a dead letter's record lies, and its reason."""
    headers = dict(letter.headers)
    return (int(headers["partition"]), int(headers["offset"])), headers["reason"].decode()


def is_original(letter: Any, originals: dict[Place, Any]) -> bool:
    """Whether a letter holds its record's bytes, or says how many it leaves out."""
    original = originals[letter_of(letter)[0]]
    if "omitted" in dict(letter.headers):
        return not letter.value
    return (letter.value or b"", letter.key) == (original.value or b"", original.key)
