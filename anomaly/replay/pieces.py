"""Parquet and CSV in long form, read a piece at a time into arrays.

A `Piece` holds adjacent rows of one file: ``run`` and ``layer`` as numbers of a `Names`, the step in int64 millionths,
the signals as one float32 matrix in which null is `NOT_MEASURED` and NaN is a measured NaN. Rows are counted from 1,
the header not included, and every error names file, row and column. Nothing here runs Python per cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly import json_records
from anomaly.errors import ReplayFileError
from anomaly.records import MAX_RANK, NOT_MEASURED
from anomaly.replay import tables
from anomaly.replay.columns import ABSENT, Columns, Names, events_of, float32_of, parsed, session_of

WHOLE_MODEL = -1
"""The layer number of a row that speaks of the whole model."""


@dataclass(slots=True)
class Piece:
    """Adjacent rows: one entry a row in every array; `signals` name the columns of `values`."""

    file: str
    signals: tuple[str, ...]
    row: NDArray[np.int64]
    run: NDArray[np.int64]
    rank: NDArray[np.int64]
    step: NDArray[np.int64]
    layer: NDArray[np.int64]
    trainable: NDArray[np.int64]
    dtype: NDArray[np.int64]
    sequence: NDArray[np.int64]
    time: NDArray[np.float64]
    session: NDArray[np.object_]
    events: NDArray[np.object_]
    tags: NDArray[np.object_]
    fork: NDArray[np.object_]
    place: NDArray[np.object_]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.row)

    def slice(self, start: int, stop: int | None = None) -> Piece:
        """The rows from `start` to before `stop`, as views."""
        arrays = {name: getattr(self, name)[start:stop] for name in _ARRAYS}
        return Piece(self.file, self.signals, **arrays)

    def followed_by(self, later: Piece) -> Piece:
        """Both pieces as one; their columns are united where they come from different files."""
        signals = tuple(dict.fromkeys(self.signals + later.signals))
        arrays = {name: np.concatenate((getattr(self, name), getattr(later, name))) for name in _ARRAYS[:-1]}
        values = np.concatenate((self._spread(signals), later._spread(signals)))
        return Piece(later.file, signals, **arrays, values=values)

    def _spread(self, signals: tuple[str, ...]) -> NDArray[np.float32]:
        if signals == self.signals:
            return self.values
        values = np.full((len(self), len(signals)), NOT_MEASURED, dtype=np.float32)
        values[:, [signals.index(name) for name in self.signals]] = self.values
        return values


_ARRAYS = tuple(Piece.__dataclass_fields__)[2:]


class FileReader:
    """Reads files into pieces of at most `rows_a_piece`; names keep their numbers from file to file."""

    def __init__(self, rows_a_piece: int = 16_384) -> None:
        self._rows_a_piece = rows_a_piece
        self.runs = Names()
        self.layers = Names()
        self.dtypes = Names()

    def pieces(self, path: Path) -> Iterator[Piece]:
        """Every row of `path`, in order. Raises `ReplayFileError`."""
        row = 0
        for batch in tables.batches(path, self._rows_a_piece):
            if len(batch):
                yield self._readable(str(path), batch, row)
            row += len(batch)

    def _readable(self, file: str, batch: pa.RecordBatch, first: int) -> Piece:
        """The piece; what the columns' own checks do not foresee, as text that is no UTF-8, is told by its rows."""
        try:
            return self._piece(file, batch, first)
        except (pa.ArrowException, ArithmeticError, TypeError, ValueError) as error:
            rows = f"rows {first + 1} to {first + len(batch)}"
            raise ReplayFileError(f"{file}: {rows}: cannot be read: {str(error)[:500]}") from None

    def _piece(self, file: str, batch: pa.RecordBatch, first: int) -> Piece:
        columns = Columns(file, batch, first)
        signals = tables.signal_columns(batch.schema)
        values = np.empty((len(batch), len(signals)), dtype=np.float32)
        for number, name in enumerate(signals):
            values[:, number] = float32_of(batch.column(name))
        piece = Piece(
            file=file,
            signals=signals,
            row=np.arange(first + 1, first + 1 + len(batch)),
            run=columns.names("run", self.runs),
            rank=columns.integers("rank", MAX_RANK, default=0),
            step=columns.steps(),
            layer=columns.names("layer", self.layers),
            trainable=columns.integers("trainable", 1),
            dtype=columns.names("dtype", self.dtypes),
            sequence=columns.integers("sequence", 1 << 62),
            time=columns.times(),
            session=columns.objects("session", session_of),
            events=columns.objects("events", events_of),
            tags=columns.objects("tags", parsed(json_records.tags_of)),
            fork=columns.objects("fork", parsed(json_records.fork_of)),
            place=columns.objects("place", parsed(json_records.place_of)),
            values=values,
        )
        columns.refuse("run", piece.run == ABSENT, "null", "every row needs a run id")
        return piece
