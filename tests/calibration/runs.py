"""Small past runs as Parquet, made from known noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LAYERS = ("", "h.0", "h.1", "h.2")


def healthy(path: Path, name: str = "calm", steps: int = 1500, seed: int = 1, spread: float = 0.4) -> Path:
    """A loss that falls and three layers' gradients with heavy-tailed noise, one step a second."""
    return write(path, name, *curves(steps, seed, spread))


def faulty(path: Path, name: str = "broken", steps: int = 600, onset: int = 400) -> Path:
    """The same, and from `onset` on the loss is NaN."""
    loss, gradients = curves(steps, 3, 0.15)
    loss[onset:] = np.nan
    return write(path, name, loss, gradients)


def jumping(path: Path, name: str = "jumps", steps: int = 900, onset: int = 500) -> Path:
    """The same, and from `onset` on the gradient of h.1 is 60 times what it was."""
    loss, gradients = curves(steps, 4, 0.15)
    gradients[onset:, 1] *= 60
    return write(path, name, loss, gradients)


def curves(steps: int, seed: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    r = np.random.default_rng(seed)
    loss = (2.0 + 2.0 * np.exp(-np.arange(steps) / 300)) * np.exp2(r.normal(0, 0.05, steps))
    gradients = np.exp2(spread * r.standard_t(4, (steps, len(LAYERS) - 1)))
    return loss, gradients


def write(path: Path, name: str, loss: np.ndarray, gradients: np.ndarray) -> Path:
    steps, rows = len(loss), len(LAYERS)
    model = np.full((steps, rows), np.nan)
    model[:, 0] = loss
    layers = np.column_stack([np.linalg.norm(gradients, axis=1), gradients])
    table = {
        "run": [name] * (steps * rows),
        "step": np.repeat(np.arange(steps), rows),
        "time": np.repeat(1_790_000_000.0 + np.arange(steps), rows),
        "layer": list(LAYERS) * steps,
        # null is not measured, NaN a measured NaN
        "loss": pa.array(model.reshape(-1), pa.float32(), mask=np.tile(np.arange(rows) > 0, steps)),
        "grad_norm_total": pa.array(layers.reshape(-1), pa.float32(), mask=np.tile(np.arange(rows) > 0, steps)),
        "grad_norm": pa.array(layers.reshape(-1), pa.float32(), mask=np.tile(np.arange(rows) == 0, steps)),
    }  # fmt: skip
    pq.write_table(pa.table(table), path)
    return path
