"""Runs of the corpus's form, made by hand: healthy noise, and what a test puts into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.detection.labels import Label

Values = dict[str, NDArray[np.float64]]
"""Per signal: (steps,) for the whole model, (steps, layers) for layers. NaN with `absent` False is a measured NaN."""


def healthy_values(steps: int, layers: int, seed: int = 0) -> tuple[Values, Values]:
    """(whole model, per layer): a falling loss, lognormal gradient norms."""
    random = np.random.default_rng(seed)
    falling = 4 * (1 + np.arange(steps)) ** -0.1
    model = {
        "loss": falling * np.exp(random.normal(0, 0.02, steps)),
        "lr": np.full(steps, 1e-3),
        "grad_norm_total": np.exp(random.normal(0, 0.1, steps)),
    }
    layered = {
        "grad_norm": np.exp(random.normal(0, 0.1, (steps, layers))) / np.sqrt(layers),
        "weight_norm": 10 + np.cumsum(random.normal(0, 1e-3, (steps, layers)), axis=0),
    }
    return model, layered


def write_run(
    folder: Path,
    label: Label,
    model: Mapping[str, NDArray[np.float64]],
    layered: Mapping[str, NDArray[np.float64]] | None = None,
    change: Callable[[Values, Values], None] | None = None,
) -> Path:
    """Write ``<run>.parquet`` and ``<run>.json``; `change` may alter the values (copies) first."""
    whole: Values = {name: series.copy() for name, series in model.items()}
    inner: Values = {name: series.copy() for name, series in (layered or {}).items()}
    if change is not None:
        change(whole, inner)
    steps = len(next(iter(whole.values())))
    layers = next(iter(inner.values())).shape[1] if inner else 0
    rows = steps * (1 + layers)
    names = ["", *(f"blocks.{number}" for number in range(layers))]
    columns: dict[str, object] = {
        "run": pa.array([label.run] * rows).dictionary_encode(),
        "step": np.repeat(np.arange(steps), 1 + layers),
        "layer": pa.array(names * steps).dictionary_encode(),
    }
    for name, series in whole.items():
        filled = np.zeros((steps, 1 + layers))
        filled[:, 0] = series
        columns[name] = _float32(filled, absent=np.arange(1 + layers) > 0)
    for name, series in inner.items():
        filled = np.zeros((steps, 1 + layers))
        filled[:, 1:] = series
        columns[name] = _float32(filled, absent=np.arange(1 + layers) == 0)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / f"{label.run}.parquet", compression="zstd")
    (folder / f"{label.run}.json").write_bytes(msgspec.json.encode(label))
    return folder / f"{label.run}.parquet"


def _float32(values: NDArray[np.float64], absent: NDArray[np.bool_]) -> pa.Array:
    mask = np.broadcast_to(absent, values.shape).ravel()
    return pa.array(values.astype(np.float32).ravel(), mask=mask, from_pandas=False)
