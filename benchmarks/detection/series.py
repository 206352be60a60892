"""A run's records as dense arrays: what peers, the oracle and the plots read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_KEYS = frozenset(
    (
        *("run", "step", "rank", "time", "session", "sequence", "events", "tags", "fork", "place", "layer"),
        *("trainable", "dtype"),
    )
)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RankSeries:
    """One rank's records in file order.

    ``values[signal]`` is (records, 1 + layers), column 0 the whole model, NaN where measured NaN or not measured;
    ``measured[signal]`` tells these apart. ``layers[0]`` is "".
    """

    rank: int
    steps: Floats
    times: Floats
    layers: tuple[str, ...]
    values: dict[str, Floats]
    measured: dict[str, NDArray[np.bool_]]

    def column(self, signal: str, layer: str = "") -> tuple[Floats, Floats]:
        """(steps, values) of one series, only what was measured; empty where it is not there."""
        if signal not in self.values or layer not in self.layers:
            return np.empty(0), np.empty(0)
        at = self.layers.index(layer)
        there = self.measured[signal][:, at]
        return self.steps[there], self.values[signal][there, at]

    def has(self, signal: str, layer: str = "") -> bool:
        """Whether the series was ever measured."""
        return len(self.column(signal, layer)[0]) > 0


def read(file: Path) -> list[RankSeries]:
    """Every rank of a file of one run, the lowest first."""
    return ranks_of(pq.read_table(file))


def ranks_of(table: pa.Table) -> list[RankSeries]:
    """Every rank of the rows of one run, the lowest first."""
    if "time" in table.column_names and pa.types.is_null(table["time"].type):
        table = table.drop_columns(["time"])
    ranks = _numbers(table, "rank", 0.0)
    return [_of_rank(table.filter(pa.array(ranks == rank)), int(rank)) for rank in np.unique(ranks)]


def _of_rank(table: pa.Table, rank: int) -> RankSeries:
    layer, names = _layers(table)
    steps = _numbers(table, "step", np.nan)
    starts = np.r_[True, (np.diff(steps) != 0) | (layer[1:] <= layer[:-1])]
    starts |= layer == 0
    record = np.cumsum(starts) - 1
    shape = (int(record[-1]) + 1, len(names))
    values, measured = {}, {}
    for name in _signals(table.column_names):
        column = table[name].combine_chunks()
        dense, there = np.full(shape, np.nan), np.zeros(shape, dtype=np.bool_)
        dense[record, layer] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        there[record, layer] = column.is_valid().to_numpy(zero_copy_only=False)
        if there.any():
            values[name], measured[name] = dense, there
    return RankSeries(
        rank=rank,
        steps=steps[starts],
        times=_numbers(table, "time", np.nan)[starts],
        layers=tuple(names),
        values=values,
        measured=measured,
    )


def _signals(columns: Iterable[str]) -> list[str]:
    return [name for name in columns if name not in _KEYS]


def _layers(table: pa.Table) -> tuple[NDArray[np.int64], list[str]]:
    """Each row's layer as a number, 0 the whole model, others in order of appearance."""
    if "layer" not in table.column_names:
        return np.zeros(len(table), dtype=np.int64), [""]
    given = table["layer"].combine_chunks().cast(pa.string()).fill_null("").dictionary_encode()
    texts: list[str] = given.dictionary.to_pylist()
    names = ["", *(text for text in texts if text)]
    number = np.array([names.index(text) for text in texts], dtype=np.int64)
    return number[given.indices.to_numpy()], names


def _numbers(table: pa.Table, name: str, default: float) -> Floats:
    if name not in table.column_names:
        return np.full(len(table), default)
    column = table[name].combine_chunks().cast(pa.float64()).fill_null(default)
    numbers: Floats = column.to_numpy(zero_copy_only=False)
    return numbers
