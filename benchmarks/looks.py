"""Looking at running workers: how many values they judged in how many CPU-seconds, start and warm-up left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from benchmarks.processes import Worker
from benchmarks.reference.meter import WARM_UP

LOOK_SECONDS = 0.5
"""A look is a scrape of /metrics, which the worker pays for in what is measured; Prometheus asks every 15 s."""


def cost(
    workers: Sequence[Worker], total: int, longest_seconds: float, look_seconds: float = LOOK_SECONDS
) -> tuple[float, float]:
    """(values, CPU-seconds) of all `workers` together, from a fifth of `total` values to their end.

    RuntimeError if they have not judged `total` values in `longest_seconds`.
    """
    looks = [(0.0, 0.0)]
    deadline = time.monotonic() + longest_seconds
    while looks[-1][0] < total:
        if time.monotonic() > deadline or any(worker.process.poll() is not None for worker in workers):
            words = " | ".join(worker.last_words for worker in workers)
            raise RuntimeError(f"{looks[-1][0]:,.0f} of {total:,} values were judged: {words}")
        values = sum(worker.metric("anomaly_values_total") for worker in workers)
        looks.append((values, sum(worker.cpu_seconds() for worker in workers)))
        time.sleep(look_seconds)
    steady = [look for look in looks if WARM_UP * total <= look[0] < total]
    # A topic judged before the second look is measured from the process's start: then too slow, never too fast.
    (first, began), *_, (last, ended) = steady if len(steady) > 1 else looks
    return last - first, ended - began


def until(what: str, worker: Worker, look: Callable[[], bool], seconds: float) -> None:
    """Return once `look` says yes; RuntimeError with the worker's last words after `seconds`."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline or worker.process.poll() is not None:
            raise RuntimeError(f"{what}: not within {seconds:g} s: {worker.last_words}")
        time.sleep(LOOK_SECONDS)
