"""What the hook costs: a share of the training step in PyTorch and JAX, and microseconds of one ``step`` call.

Three copies of one model train in one process, one of them watched and reporting to a broker, a step each by turns. The
hook's work repeats every ten steps, so each of the ten is compared for itself: the figure is the sum of the ten least
CPU times with the hook over the sum without. CPU time is the process's, the sending thread included; the least of many
is what the code needs when no other program disturbs it. The two copies without the hook, compared in the same way, say
how far to trust the figure.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from anomaly import Layout, Telemetry
from anomaly.broker import DevelopmentBroker
from benchmarks.rows import Row, row
from benchmarks.sections import Bench

NAMES = ("hook_overhead_pytorch", "hook_overhead_jax", "hook_step", "hook_step_named")
GROUP_STEPS = 10
GROUPS, QUICK_GROUPS = 12, 2
CALLS, QUICK_CALLS = 2_000, 200


class Training(Protocol):
    """A model that trains."""

    def step(self) -> None:
        """One step, up to its end."""


Make = Callable[[str | None], AbstractContextManager[Training]]


def measure(bench: Bench) -> list[Row]:
    """See `rows`."""
    return [found for found in rows(bench.quick) if found.name in bench.wanted]


def rows(quick: bool = False) -> list[Row]:
    """Measure. Raises `anomaly.MissingExtraError` where PyTorch, JAX or the development broker is missing."""
    from benchmarks import hook_jax, hook_torch

    groups = QUICK_GROUPS if quick else GROUPS
    with DevelopmentBroker() as broker:
        return [
            _overhead(NAMES[0], hook_torch.Training, broker.bootstrap_servers, groups),
            _overhead(NAMES[1], hook_jax.Training, broker.bootstrap_servers, groups),
            *_calls(broker.bootstrap_servers, QUICK_CALLS if quick else CALLS),
        ]


def _overhead(name: str, make: Make, servers: str, groups: int) -> Row:
    with make(None) as plain, make(servers) as watched, make(None) as again:
        copies = (plain, watched, again)
        _group(copies)  # compiled, warm
        took = np.array([_group(copies) for _ in range(groups)])  # (groups, steps, copies)
    without, with_hook, noise = (float(seconds) for seconds in took.min(axis=0).sum(axis=0))
    step = 1e3 * without / GROUP_STEPS
    note = f"two copies without it differ by {_percent(noise, without):+.1f} %; a step takes {step:.0f} ms"
    return row(name, round(_percent(with_hook, without), 2), "% of the step", note)


def _percent(one: float, other: float) -> float:
    return 100 * (one / other - 1)


def _group(copies: tuple[Training, ...]) -> list[list[float]]:
    """CPU seconds of ten steps of each; who comes first changes, for it finds the caches as another left them."""
    seconds = []
    for number in range(GROUP_STEPS):
        of_step = [0.0] * len(copies)
        for turn in range(len(copies)):
            at = (turn + number) % len(copies)
            of_step[at] = _cpu_seconds(copies[at])
        seconds.append(of_step)
    return seconds


def _cpu_seconds(training: Training) -> float:
    began = time.process_time()
    training.step()
    return time.process_time() - began


def _calls(servers: str, calls: int) -> list[Row]:
    """The median of one `Telemetry.step` of 128 layers × 8 signals, as a matrix and by names."""
    layers, signals = tuple(f"h.{n}" for n in range(128)), tuple(f"signal_{n}" for n in range(8))
    matrix = np.ones((128, 8), dtype=np.float32)
    named = {layer: dict.fromkeys(signals, 1.0) for layer in layers}
    found = []
    for name, values in ((NAMES[2], matrix), (NAMES[3], named)):
        with Telemetry(f"bench-{name}", bootstrap_servers=servers) as run:
            run.layout(Layout(layers, signals))
            took = []
            for step in range(calls):
                began = time.perf_counter()
                run.step(step, loss=1.0, lr=0.1, grad_norm_total=1.0, layers=values)
                took.append(time.perf_counter() - began)
                if step % 50 == 0:
                    time.sleep(0.002)  # the sending thread's turn
        found.append(
            row(name, round(1e6 * statistics.median(took), 1), "µs a call", note="128 layers × 8 signals")
        )
    return found


if __name__ == "__main__":
    for measured in rows("--quick" in sys.argv):
        print(measured)
