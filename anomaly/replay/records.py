"""Rows become step records: where one record ends and the next begins.

A record is the adjacent rows of equal (run, rank, step); a layer seen again begins the next. What a record is never
depends on where its file was cut into pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.records import Layout, StepMessage
from anomaly.replay.columns import ABSENT
from anomaly.replay.layouts import LaidOut, RunLayout, at_row
from anomaly.replay.pieces import WHOLE_MODEL, FileReader, Piece

_NOTHING: LaidOut = (Layout((), ()), np.zeros((1, 0), dtype=np.float32))
_ONCE_A_RECORD = ("time", "session", "sequence", "events", "tags", "fork", "place")


class RecordReader:
    """Joins rows into messages of one record each, in file order."""

    def __init__(self, files: FileReader) -> None:
        self._files = files
        self._layouts: dict[int, RunLayout] = {}
        self._open: Piece | None = None

    def feed(self, piece: Piece) -> Iterator[StepMessage]:
        """The records that are complete once `piece` is read; the last one stays open. Raises `ReplayFileError`."""
        if self._open is not None:
            piece = self._open.followed_by(piece)
        starts = np.flatnonzero(record_starts(piece))
        last = int(starts[-1])
        self._open = piece.slice(last)
        if last:
            yield from self._messages(piece.slice(0, last), starts[:-1])

    def close(self) -> Iterator[StepMessage]:
        """The last record."""
        if self._open is not None:
            yield from self._messages(self._open, np.zeros(1, dtype=np.int64))
            self._open = None

    def _messages(self, piece: Piece, starts: NDArray[np.int64]) -> Iterator[StepMessage]:
        shared = {name: _first_present(piece, name, starts) for name in _ONCE_A_RECORD}
        once = (dict(zip(shared, entries, strict=True)) for entries in zip(*shared.values(), strict=True))
        keys = (getattr(piece, name)[starts].tolist() for name in ("run", "rank", "step"))
        for start, run, rank, step, said, (layout, values) in zip(
            starts.tolist(), *keys, once, self._laid_out(piece, starts), strict=True
        ):
            if (said["session"] is None) != (said["sequence"] is None):
                raise at_row(piece, start, "got only one of session and sequence; write both or neither")
            yield StepMessage(
                run=self._files.runs.texts[run],
                rank=rank,
                steps=[step],
                times=[said["time"]],
                values=values,
                layout_hash=layout.hash,
                layout=layout,
                session=said["session"],
                sequence=said["sequence"],
                events=[said["events"]] if said["events"] else None,
                tags=said["tags"],
                fork=said["fork"],
                place=said["place"],
            )

    def _laid_out(self, piece: Piece, starts: NDArray[np.int64]) -> list[LaidOut]:
        """Every record's layout and values, run by run, given back in file order."""
        laid_out: list[LaidOut] = [_NOTHING] * len(starts)
        record_of_row = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(piece)))
        runs = np.unique(piece.run)
        for run in runs.tolist():
            rows = np.flatnonzero(piece.run == run) if len(runs) > 1 else np.arange(len(piece))
            layout = self._layouts.setdefault(run, RunLayout(self._files, self._files.runs.texts[run]))
            records, local = np.unique(record_of_row[rows], return_inverse=True)
            for record, one in zip(records.tolist(), layout.lay_out(piece, rows, local), strict=True):
                laid_out[record] = one
        return laid_out


def record_starts(piece: Piece) -> NDArray[np.bool_]:
    """True where a row begins a record."""
    starts = np.ones(len(piece), dtype=np.bool_)
    if (piece.layer == WHOLE_MODEL).all():
        return starts
    starts[1:] = False
    for key in (piece.run, piece.rank, piece.step):
        starts[1:] |= key[1:] != key[:-1]
    in_order = starts[1:] | (piece.layer[1:] > piece.layer[:-1])
    if in_order.all():
        return starts
    group = np.cumsum(starts)
    order = np.lexsort((piece.layer, group))
    layer, group = piece.layer[order], group[order]
    twice = (layer[1:] == layer[:-1]) & (group[1:] == group[:-1])
    for number in np.unique(group[1:][twice]).tolist():
        _split(piece.layer, starts, order[group == number].min(), int((group == number).sum()))
    return starts


def _split(layers: NDArray[np.int64], starts: NDArray[np.bool_], first: int, rows: int) -> None:
    """Begin a record wherever a layer is seen again."""
    seen: set[int] = set()
    for row, layer in enumerate(layers[first : first + rows].tolist(), start=int(first)):
        if layer in seen:
            starts[row] = True
            seen.clear()
        seen.add(layer)


def _first_present(piece: Piece, name: str, starts: NDArray[np.int64]) -> list[Any]:
    """What each record says of itself: the first entry among its rows that is not null."""
    column = getattr(piece, name)
    if column.dtype == np.float64:
        present = ~np.isnan(column)
    else:
        present = column != (ABSENT if column.dtype == np.int64 else None)
    if not present.any():
        return [None] * len(starts)
    nowhere = len(piece)
    first = np.minimum.reduceat(np.where(present, np.arange(nowhere), nowhere), starts)
    entries = np.full(nowhere + 1, None, dtype=object)
    entries[:-1] = column
    return list(entries[first])
