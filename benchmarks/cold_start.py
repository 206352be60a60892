"""From starting the process to the first judged record, in seconds, with records waiting and the kernels cached.

The same worker starts again and again in one group, as after a deployment: it recovers the runs of before and finds a
new step of each. The first start is not counted: it fills numba's cache and makes the topics.
"""

from __future__ import annotations

import time
from statistics import median

from anomaly.topics import Topics
from benchmarks.load import Load
from benchmarks.processes import Worker
from benchmarks.rows import Row, row
from benchmarks.sections import Bench
from benchmarks.throughput import LAYERS_1K, spread
from benchmarks.topics import fill, make_topic

NAMES = ("cold_start",)
PREFIX = "bench-cold"
RUNS = 100
STARTS, QUICK_STARTS = 5, 1
LOOK_SECONDS = 0.02
LONGEST_SECONDS = 60.0


def measure(bench: Bench) -> list[Row]:
    """The median of the starts."""
    topics = Topics(PREFIX)
    make_topic(bench.broker.bootstrap_servers, topics)
    seconds = []
    for step in range(1 + (QUICK_STARTS if bench.quick else STARTS)):
        fill(bench.broker.bootstrap_servers, topics.telemetry, Load(LAYERS_1K, RUNS, step + 1).compact(step))
        seconds.append(_start(bench))
    note = f"{RUNS} runs to recover; {spread(seconds[1:])}; the first, not counted: {seconds[0]:.1f} s"
    return [row("cold_start", median(seconds[1:]), "s", note)]


def _start(bench: Bench) -> float:
    began = time.monotonic()
    with Worker(bench.folder, bench.broker, PREFIX, "bench-cold-group", wait=False) as worker:
        while not worker.metric_or_none("anomaly_values_total"):
            if worker.process.poll() is not None or time.monotonic() - began > LONGEST_SECONDS:
                raise RuntimeError(f"nothing was judged: {worker.last_words}")
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - began
