"""Names as numbers, and a series as one number, so that a layout is looked up in a table as a whole."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from anomaly.records import Layout

WHOLE_MODEL = -1
SIGNAL_BITS = 32
SIGNAL = (1 << SIGNAL_BITS) - 1
"""A series is (layer + 1) << 32 | signal."""


class Numbered:
    """Numbers of names: of those known, and of new ones in the order in which they are asked for."""

    def __init__(self, known: dict[str, int]) -> None:
        self._known = known
        self._new: dict[str, int] = {}

    def of(self, names: Iterable[str]) -> NDArray[np.int64]:
        """One number a name."""
        known, new = self._known, self._new
        numbers = [
            known[name] if name in known else new.setdefault(name, len(known) + len(new)) for name in names
        ]
        return np.array(numbers, np.int64)

    def kept(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """The numbers once only the new names among them are kept, and those names."""
        kept = np.unique(numbers[numbers >= len(self._known)])
        names = list(self._new)
        numbers = np.where(
            numbers >= len(self._known), len(self._known) + np.searchsorted(kept, numbers), numbers
        )
        return numbers, tuple(names[number - len(self._known)] for number in kept.tolist())


def series_number(layers: NDArray[np.int64], signals: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each (layer, signal) as one number."""
    return (layers - WHOLE_MODEL << SIGNAL_BITS) + signals


def layer_number(series: NDArray[np.int64]) -> NDArray[np.int64]:
    """The layer of each series."""
    return (series >> SIGNAL_BITS) + WHOLE_MODEL


def series_of(layout: Layout, layers: Numbered, signals: Numbered) -> NDArray[np.int64]:
    """The series of a record's values, in their order."""
    model, of_layers = signals.of(layout.model_signals), signals.of(layout.signals)
    whole = np.full(len(model), WHOLE_MODEL, np.int64)
    matrix = series_number(layers.of(layout.layers)[:, None], of_layers[None, :])
    return np.concatenate((series_number(whole, model), matrix.ravel()))
