"""A run's layout as it grows by what its records bring, and the records laid out by it.

Layers and signals stand in order of first appearance and never leave, so that each keeps its place; a signal that the
run never measured is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
from numpy.typing import NDArray

from anomaly.errors import RecordError, ReplayFileError
from anomaly.records import NOT_MEASURED, NOT_MEASURED_BITS, Layout
from anomaly.replay.columns import ABSENT
from anomaly.replay.pieces import WHOLE_MODEL, FileReader, Piece
from anomaly.signals import LAYER_SIGNALS

LaidOut = tuple[Layout, NDArray[np.float32]]
"""A layout and one record's values, shape (1, layout.width)."""
_OF_WEIGHTS = frozenset(name for name in LAYER_SIGNALS if name.startswith(("grad_", "weight_", "update_")))
_VALUES_A_BLOCK = 1 << 21
"""Float32 values laid out at once: 8 MiB, whatever the file's shape."""


class RunLayout:
    """A run's layout so far, and its records laid out by it."""

    def __init__(self, files: FileReader, run: str) -> None:
        self._files = files
        self._run = run
        self._layers: list[int] = []
        # By layer number, ABSENT where unknown: the place in the layout, the mask, the dtype, a signal of its weights.
        # The last entry is never written, so that WHOLE_MODEL, which is -1, may stand where a layer number does.
        self._place = np.full(1, ABSENT)
        self._trainable = np.full(1, ABSENT)
        self._dtype = np.full(1, ABSENT)
        self._weights = np.full(1, ABSENT)
        self._model_signals: list[str] = []
        self._signals: list[str] = []
        self._layout = Layout((), ())

    def lay_out(self, piece: Piece, rows: NDArray[np.int64], record: NDArray[np.int64]) -> Iterator[LaidOut]:
        """Each record's layout and values.

        `rows` are this run's rows in `piece`, `record` the number of each row's record, from 0 without gaps.
        """
        total, start = int(record[-1]) + 1, 0
        self._make_room()
        while start < total:
            stop = min(total, start + max(1, _VALUES_A_BLOCK // max(self._layout.width, 1)))
            inside = slice(*np.searchsorted(record, (start, stop)))
            fresh = self._fresh(piece, rows[inside])
            if fresh.any():
                stop = int(record[inside][np.argmax(fresh)])
                if stop == start:
                    self._grow(piece, rows[slice(*np.searchsorted(record, (start, start + 1)))])
                    continue
                inside = slice(inside.start, int(np.searchsorted(record, stop)))
            block = self._block(piece, rows[inside], record[inside] - start, stop - start)
            for number in range(stop - start):
                yield self._layout, block[number : number + 1]
            start = stop

    def _make_room(self) -> None:
        missing = len(self._files.layers.texts) + 1 - len(self._place)
        if missing:
            for name in ("_place", "_trainable", "_dtype", "_weights"):
                setattr(self, name, np.append(getattr(self, name), np.full(missing, ABSENT)))

    def _fresh(self, piece: Piece, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """True for rows that bring a layer, its weights, a signal, a mask or a dtype that the layout does not have."""
        layer = piece.layer[rows]
        whole = layer == WHOLE_MODEL
        fresh = ~whole & (self._place[layer] == ABSENT)
        for said, known in ((piece.trainable, self._trainable), (piece.dtype, self._dtype)):
            fresh |= ~whole & (said[rows] != ABSENT) & (said[rows] != known[layer])
        unweighted = ~whole & (self._weights[layer] == ABSENT)
        fresh[unweighted] |= _has_weights(piece, rows[unweighted])
        for where, known_signals in ((whole, self._model_signals), (~whole, self._signals)):
            new = [number for number, name in enumerate(piece.signals) if name not in known_signals]
            if new:
                fresh |= where & _measured(piece.values[rows][:, new]).any(axis=1)
        return cast("NDArray[np.bool_]", fresh)

    def _grow(self, piece: Piece, rows: NDArray[np.int64]) -> None:
        """Take in what one record brings."""
        for row in rows.tolist():
            layer = int(piece.layer[row])
            signals = self._model_signals if layer == WHOLE_MODEL else self._signals
            measured = _measured(piece.values[row])
            brought = [piece.signals[number] for number in np.flatnonzero(measured)]
            signals += [name for name in brought if name not in signals]
            if layer != WHOLE_MODEL:
                if self._place[layer] == ABSENT:
                    self._place[layer] = len(self._layers)
                    self._layers.append(layer)
                if _OF_WEIGHTS.intersection(brought):
                    self._weights[layer] = 1
                for said, known in ((piece.trainable, self._trainable), (piece.dtype, self._dtype)):
                    if said[row] != ABSENT:
                        known[layer] = said[row]
        self._layout = self._built()
        try:
            self._layout.check()
        except RecordError as error:
            raise at_row(piece, int(rows[0]), f"run {self._run!r}: {error.detail}") from None

    def _built(self) -> Layout:
        trainable, dtype = self._trainable[self._layers], self._dtype[self._layers]
        unsaid = trainable == ABSENT
        # A mask speaks for every layer or not at all: a guess for one layer would be an alarm or a blind spot. Rows of
        # blocks have none, nor have they weights: those are of the layers in them, and only they can be trained.
        masked = not unsaid.all() and (self._weights[self._layers][unsaid] == ABSENT).all()
        return Layout(
            layers=tuple(self._files.layers.texts[layer] for layer in self._layers),
            signals=tuple(self._signals),
            model_signals=tuple(self._model_signals),
            trainable=tuple((trainable == 1).tolist()) if masked else None,
            dtype=tuple("" if number == ABSENT else self._files.dtypes.texts[number] for number in dtype)
            if (dtype != ABSENT).any()
            else None,
        )

    def _block(
        self, piece: Piece, rows: NDArray[np.int64], record: NDArray[np.int64], records: int
    ) -> NDArray[np.float32]:
        """Float32 of shape (records, width): each row's values where the layout has them."""
        block = np.full((records, self._layout.width), NOT_MEASURED, dtype=np.float32)
        layer, model = piece.layer[rows], len(self._model_signals)
        whole = layer == WHOLE_MODEL
        for where, first, signals in (
            (whole, np.zeros(len(rows), dtype=np.int64), self._model_signals),
            (~whole, model + self._place[layer] * len(self._signals), self._signals),
        ):
            here = [number for number, name in enumerate(signals) if name in piece.signals]
            columns = [piece.signals.index(signals[number]) for number in here]
            target = first[where][:, None] + np.array(here, dtype=np.int64)
            block[record[where][:, None], target] = piece.values[np.ix_(rows[where], columns)]
        return block


def _has_weights(piece: Piece, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each row measures anything of weights or of their gradients."""
    of_weights = [number for number, name in enumerate(piece.signals) if name in _OF_WEIGHTS]
    return cast("NDArray[np.bool_]", _measured(piece.values[rows][:, of_weights]).any(axis=1))


def _measured(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    return cast("NDArray[np.bool_]", values.view(np.uint32) != NOT_MEASURED_BITS)


def at_row(piece: Piece, row: int, problem: str) -> ReplayFileError:
    """The error for one row of a piece."""
    return ReplayFileError(f"{piece.file}: row {piece.row[row]}: {problem}")
