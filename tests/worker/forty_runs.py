"""Forty runs on four partitions, some with a fault."""

from __future__ import annotations

from tests.worker.topic_tools import step

PARTITIONS = 4
RUNS = 40


def record(run: int, at: int) -> tuple[bytes, bytes]:
    """Quiet, save for faults in every fourth run: NaN in one layer, or a gradient that jumps."""
    wave = 1 + 0.02 * ((at * 7 + run * 3) % 11)
    layers = {f"h.{layer}": {"grad_norm": 0.1 * wave * (layer + 1), "act_rms": wave} for layer in range(4)}
    if run % 8 == 0 and at == 15 + run:
        layers["h.2"]["grad_norm"] = float("nan")
    factor = 50.0 if run % 8 == 4 and at >= 60 + run else 1.0
    name = f"run-{run}"
    return name.encode(), step(name, at, loss=2.0 * wave, grad_norm_total=wave * factor, layers=layers)
