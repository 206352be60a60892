"""Names as numbers, a series as one number: how a layout is looked up in a table as a whole, and added to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.meaning import meaning_of
from anomaly.records import Layout
from detectors.profiles import profile_index

WHOLE_MODEL = -1
SIGNAL_BITS = 32
SIGNAL = (1 << SIGNAL_BITS) - 1
"""A series is (layer + 1) << 32 | signal."""

MAX_SIGNALS_A_RUN = 1 << 15
"""Different names of signals; a table numbers them with 16 bits."""
COARSE = ("bfloat16", "float16", "float8")
"""How the names of types begin in which an update far smaller than its weight is lost."""


class SeriesNames(msgspec.Struct, frozen=True, array_like=True):
    """A table in a snapshot. One entry a slot in `slot_layer`, `slot_signal`, `profiles`; raw little-endian bytes."""

    layers: tuple[str, ...]
    signals: tuple[str, ...]
    slot_layer: bytes
    slot_signal: bytes
    profiles: bytes
    trainable: bytes
    coarse: bytes


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


class SeriesIndex:
    """Which number each name of a table has, and which slot each series; how a layout adds to them."""

    def __init__(self, names: SeriesNames) -> None:
        self.names = names
        self._layers = {name: number for number, name in enumerate(names.layers)}
        self._signals = {name: number for number, name in enumerate(names.signals)}
        layers, signals = np.frombuffer(names.slot_layer, "<i4"), np.frombuffer(names.slot_signal, "<i2")
        series = series_number(layers.astype(np.int64), signals.astype(np.int64))
        # Ascending; of equal ones the newest is the last.
        self._slots = np.argsort(series, kind="stable")
        self._series = series[self._slots]

    def series_of(self, layout: Layout) -> NDArray[np.int64]:
        """The series of a record's values, in their order."""
        return series_of(layout, Numbered(self._layers), Numbered(self._signals))

    def slots_of(self, series: NDArray[np.int64]) -> NDArray[np.int32]:
        """The slot of each series, the newest where it was charted anew; -1 where there is none."""
        if not len(self._series):
            return np.full(len(series), -1, np.int32)
        at = np.searchsorted(self._series, series, side="right") - 1
        return np.where((at >= 0) & (self._series[at] == series), self._slots[at], -1).astype(np.int32)

    def names_with(self, layout: Layout, limit: int, layer_limit: int) -> SeriesNames:
        """These names and the layout's new series, as far as there is room; the same object if nothing is new.

        Only what gets a slot gets a name here: whoever invents names for ever fills the table once.
        """
        layers, signals = Numbered(self._layers), Numbered(self._signals)
        wanted = series_of(layout, layers, signals)
        fits = (self.slots_of(wanted) < 0) & ((wanted & SIGNAL) < MAX_SIGNALS_A_RUN)
        new = wanted[fits & (layer_number(wanted) < layer_limit)][: max(0, limit - len(self._slots))]
        slot_layer, layer_names = layers.kept(layer_number(new))
        slot_signal, signal_names = signals.kept(new & SIGNAL)
        known = self.names
        sixteen = None if layout.dtype is None else tuple(each.startswith(COARSE) for each in layout.dtype)
        trainable = self._of_layers(known.trainable, layout, layout.trainable, layer_names)
        coarse = self._of_layers(known.coarse, layout, sixteen, layer_names)
        if not len(new) and (trainable, coarse) == (known.trainable, known.coarse):
            return known
        names = known.signals + signal_names
        numbers = slot_signal.tolist()
        profile_of = {number: profile_index(meaning_of(names[number]).profile) for number in set(numbers)}
        return SeriesNames(
            known.layers + layer_names,
            names,
            known.slot_layer + slot_layer.astype("<i4").tobytes(),
            known.slot_signal + slot_signal.astype("<i2").tobytes(),
            known.profiles + bytes(profile_of[number] for number in numbers),
            trainable,
            coarse,
        )

    def _of_layers(
        self, known: bytes, layout: Layout, said: Sequence[bool] | None, new_layers: tuple[str, ...]
    ) -> bytes:
        """What was known of each layer, and what the layout says of its own: int8 [layers], -1 for not known."""
        flags = np.full(len(self._layers) + len(new_layers), -1, np.int8)
        flags[: len(known)] = np.frombuffer(known, np.int8)
        if said is not None:
            new = {name: len(self._layers) + at for at, name in enumerate(new_layers)}
            for layer, flag in zip(layout.layers, said, strict=True):
                number = self._layers.get(layer, new.get(layer))
                if number is not None:
                    flags[number] = flag
        return flags.tobytes()
