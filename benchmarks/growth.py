"""What more runs and more workers cost: ratios of CPU time, measured one after the other on one broker.

`cost_growth` compares a worker with 5,000 runs, whose states fill no cache and are saved all the time, to one with 10.
`cpu_two_workers` compares two workers that share the partitions to one; they are ready before the topic is filled, so
that joining is outside. Both are the median of rounds in which the two sides take turns.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from anomaly.topics import Topics
from benchmarks.load import Load
from benchmarks.looks import cost, until
from benchmarks.processes import READY_SECONDS, Worker
from benchmarks.rows import Row, row
from benchmarks.sections import Bench
from benchmarks.throughput import LAYERS_1K, spread
from benchmarks.topics import PARTITIONS, fill, make_topic

NAMES = ("cost_growth", "cpu_two_workers", "cost_rank_record")
LONGEST_SECONDS = 120.0
LOOK_SECONDS = 1.0
"""Between two looks at /metrics: what one costs grows with the runs."""


@dataclass(frozen=True)
class Scale:
    """What is published, and how often both sides of a ratio are measured."""

    rounds: int
    few: Load
    many: Load
    shared: Load
    ranks: Load


FULL = Scale(
    3,
    few=Load(LAYERS_1K, runs=10, steps=9_000),
    many=Load(LAYERS_1K, runs=5_000, steps=18),
    shared=Load(LAYERS_1K, runs=100, steps=900),
    ranks=Load(LAYERS_1K, runs=1, steps=40, ranks=1_000),
)
QUICK = Scale(
    1,
    few=Load(LAYERS_1K, runs=10, steps=1_000),
    many=Load(LAYERS_1K, runs=1_000, steps=10),
    shared=Load(LAYERS_1K, runs=50, steps=200),
    ranks=Load(LAYERS_1K, runs=1, steps=20, ranks=100),
)


def measure(bench: Bench) -> list[Row]:
    """The wanted of both."""
    scale = QUICK if bench.quick else FULL
    found = []
    if "cost_growth" in bench.wanted:
        found.append(cost_growth(bench, scale))
    if "cpu_two_workers" in bench.wanted:
        found.append(cpu_two_workers(bench, scale))
    if "cost_rank_record" in bench.wanted:
        found.append(cost_rank_record(bench, scale.ranks))
    return found


def cost_growth(bench: Bench, scale: Scale) -> Row:
    """CPU time per value with many runs over that with few."""
    nanoseconds: dict[str, list[float]] = {"few": [], "many": []}
    loads = {"few": scale.few, "many": scale.many}
    for name, load in loads.items():
        _filled(bench, f"bench-{name}", load)
    for number in range(scale.rounds):
        for name, load in loads.items():
            group = f"bench-{name}-{number}"
            with Worker(bench.folder, bench.broker, f"bench-{name}", group) as worker:
                values, seconds = cost([worker], load.values, LONGEST_SECONDS, LOOK_SECONDS)
            nanoseconds[name].append(1e9 * seconds / values)
    ratios = [many / few for few, many in zip(nanoseconds["few"], nanoseconds["many"], strict=True)]
    note = (
        f"{median(nanoseconds['many']):.0f} ns a value with {scale.many.runs:,} runs, "
        f"{median(nanoseconds['few']):.0f} with {scale.few.runs}; {spread(ratios)}"
    )
    return row("cost_growth", median(ratios), "ratio", note)


def cpu_two_workers(bench: Bench, scale: Scale) -> Row:
    """CPU time per record of two workers over that of one."""
    microseconds: dict[int, list[float]] = {1: [], 2: []}
    for number in range(scale.rounds):
        for workers in microseconds:
            prefix = f"bench-shared-{number}-{workers}"
            microseconds[workers].append(_shared(bench, prefix, workers, scale.shared))
    ratios = [of_two / of_one for of_one, of_two in zip(microseconds[1], microseconds[2], strict=True)]
    one, two = (median(microseconds[workers]) for workers in (1, 2))
    note = f"{two:.0f} µs a record with two, {one:.0f} with one; {spread(ratios)}"
    return row("cpu_two_workers", median(ratios), "ratio", note)


def cost_rank_record(bench: Bench, load: Load) -> Row:
    """CPU time of a record of one of many ranks of a single run."""
    _filled(bench, "bench-ranks", load)
    with Worker(bench.folder, bench.broker, "bench-ranks", "bench-ranks-group") as worker:
        values, seconds = cost([worker], load.values, LONGEST_SECONDS)
    records = values / load.layout.width
    note = f"one run of {load.ranks:,} ranks, 1,024 values each"
    return row("cost_rank_record", 1e6 * seconds / records, "µs a record", note)


def _shared(bench: Bench, prefix: str, count: int, load: Load) -> float:
    """Microseconds of CPU that `count` workers in one group take for a record."""
    topics = Topics(prefix)
    make_topic(bench.broker.bootstrap_servers, topics)
    messages = list(load.compact())  # encoded before the workers start: they shall not wait for it
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(bench.folder, bench.broker, prefix, f"{prefix}-group"))
            for _ in range(count)
        ]
        until(
            f"each of {count} workers has its share",
            workers[-1],
            lambda: all(_partitions(worker) == PARTITIONS // count for worker in workers),
            READY_SECONDS,
        )
        fill(bench.broker.bootstrap_servers, topics.telemetry, messages)
        values, seconds = cost(workers, load.values, LONGEST_SECONDS)
    return 1e6 * seconds / values * load.layout.width


def _partitions(worker: Worker) -> int:
    ready = worker.metric("anomaly_ready")
    return int(worker.metric("anomaly_assigned_partitions")) if ready else 0


def _filled(bench: Bench, prefix: str, load: Load) -> None:
    topics = Topics(prefix)
    make_topic(bench.broker.bootstrap_servers, topics)
    fill(bench.broker.bootstrap_servers, topics.telemetry, load.compact())
