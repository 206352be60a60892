"""Which series a run has, and where each value of a record belongs: an immutable table shared by all runs alike.

A series is one signal of one layer, or of the whole model (layer index -1). It has one *slot* in the run's slab;
slots are given in the order in which series are first seen. A table never changes: adding a layout gives another
table, remembered, so that a thousand runs of one model hold one table between them, and a known layout is one
dictionary look-up.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.meaning import Meaning, meaning_of
from anomaly.records import NOT_MEASURED, Layout
from detectors.profiles import profile_index

WHOLE_MODEL = -1
CONTEXT_SIGNALS = ("lr", "tokens", "skipped", "loss_scale")
_REMEMBERED = 64


class SeriesNames(msgspec.Struct, frozen=True, array_like=True):
    """A table in a snapshot. One entry a slot in `slot_layer`, `slot_signal`, `profiles`; raw little-endian bytes."""

    layers: tuple[str, ...]
    signals: tuple[str, ...]
    slot_layer: bytes
    slot_signal: bytes
    profiles: bytes
    trainable: bytes


class Placement:
    """A layout's way into a table.

    ``index`` is int32 of shape (layout.width,), the slot of each value, -1 for a series beyond the limit;
    ``direct`` says that it is 0, 1, 2, …, all slots.
    """

    __slots__ = ("direct", "index", "refused", "table")

    def __init__(self, table: SeriesTable, index: NDArray[np.int32]) -> None:
        self.table = table
        self.index = index
        self.refused = int(np.count_nonzero(index < 0))
        self.direct = bool(index.size == table.slots and np.array_equal(index, np.arange(table.slots)))


class SeriesTable:
    """The series of a run. Arrays have one entry a slot: `slot_layer` int32, `slot_signal` int16, `profiles` uint8.

    `trainable` is int8, one entry a layer: 1, 0, or -1 for not known.
    """

    def __init__(self, names: SeriesNames) -> None:
        self.names = names
        self.layers = names.layers
        self.signals = names.signals
        self.slot_layer = np.frombuffer(names.slot_layer, "<i4")
        self.slot_signal = np.frombuffer(names.slot_signal, "<i2")
        self.profiles = np.frombuffer(names.profiles, np.uint8)
        self.trainable = np.frombuffer(names.trainable, np.int8)
        self.slots = len(self.profiles)
        self.blank = np.repeat(NOT_MEASURED, self.slots)
        self._placements: dict[tuple[bytes, int], Placement] = {}
        self._slots_of_layers: dict[tuple[str | None, str], int] | None = None

    @cached_property
    def meanings(self) -> tuple[Meaning, ...]:
        """One entry a signal."""
        return tuple(meaning_of(signal) for signal in self.signals)

    @cached_property
    def model_only(self) -> NDArray[np.intp]:
        """Slots of the whole model, ascending."""
        return np.flatnonzero(self.slot_layer == WHOLE_MODEL)

    @cached_property
    def model_slots(self) -> dict[str, int]:
        """Slots of the whole-model signals by name; the newest where a signal was charted anew."""
        return {self.signals[self.slot_signal[slot]]: int(slot) for slot in self.model_only}

    @cached_property
    def context_slots(self) -> tuple[tuple[str, int], ...]:
        """The whole-model signals that explain others, with their slots."""
        return tuple((name, self.model_slots[name]) for name in CONTEXT_SIGNALS if name in self.model_slots)

    @cached_property
    def count_slots(self) -> NDArray[np.intp]:
        """Slots that count non-finite values."""
        return self.slots_of(signal for signal in self.signals if meaning_of(signal).count)

    def slots_of(self, signals: Iterable[str]) -> NDArray[np.intp]:
        """The layers' slots of these signals, in slot order."""
        names = set(signals)
        wanted = [index for index, name in enumerate(self.signals) if name in names]
        return np.flatnonzero(np.isin(self.slot_signal, wanted))

    def slot_of(self, layer: str, signal: str) -> int | None:
        """The slot of one series, "" for the whole model; None for one the run does not have."""
        if not layer:
            return self.model_slots.get(signal)
        if self._slots_of_layers is None:
            self._slots_of_layers = {(self.layer_name(s), self.signal_name(s)): s for s in range(self.slots)}
        return self._slots_of_layers.get((layer, signal))

    def layer_name(self, slot: int) -> str | None:
        """The slot's layer, None for the whole model."""
        layer = int(self.slot_layer[slot])
        return None if layer == WHOLE_MODEL else self.layers[layer]

    def signal_name(self, slot: int) -> str:
        """The slot's signal."""
        return self.signals[int(self.slot_signal[slot])]

    def place(self, layout: Layout, limit: int) -> Placement:
        """Where the values of a record of this layout go; `placement.table` holds the series that were new."""
        key = (layout.hash, limit)
        placement = self._placements.get(key)
        if placement is None:
            if len(self._placements) >= _REMEMBERED:
                self._placements.clear()
            placement = self._placements[key] = self._placed(layout, limit)
        return placement

    def charted_as(self, slot: int, profile: str) -> SeriesTable:
        """This table with the slot's series moved to a new slot of another profile."""
        return table_of(
            msgspec.structs.replace(
                self.names,
                slot_layer=self.names.slot_layer + self.slot_layer[slot : slot + 1].tobytes(),
                slot_signal=self.names.slot_signal + self.slot_signal[slot : slot + 1].tobytes(),
                profiles=self.names.profiles + bytes([profile_index(profile)]),
            )
        )

    def _placed(self, layout: Layout, limit: int) -> Placement:
        layers, layer_of = _extended(self.layers, layout.layers)
        signals, signal_of = _extended(self.signals, layout.model_signals + layout.signals)
        known = {  # the newest slot of a series wins
            (layer, signal): slot
            for slot, (layer, signal) in enumerate(
                zip(self.slot_layer.tolist(), self.slot_signal.tolist(), strict=True)
            )
        }
        wanted = [(WHOLE_MODEL, signal_of[name]) for name in layout.model_signals]
        of_layer = [signal_of[name] for name in layout.signals]
        wanted += [(layer_of[layer], signal) for layer in layout.layers for signal in of_layer]
        new = list(dict.fromkeys(series for series in wanted if series not in known))[
            : max(0, limit - self.slots)
        ]
        known.update({series: self.slots + at for at, series in enumerate(new)})
        profiles = [profile_index(meaning_of(signals[signal]).profile) for _, signal in new]
        table = table_of(
            SeriesNames(
                layers,
                signals,
                self.names.slot_layer + np.array([layer for layer, _ in new], "<i4").tobytes(),
                self.names.slot_signal + np.array([signal for _, signal in new], "<i2").tobytes(),
                self.names.profiles + bytes(profiles),
                self._trainable_with(layout, layer_of, len(layers)),
            )
        )
        return Placement(table, np.array([known.get(series, -1) for series in wanted], np.int32))

    def _trainable_with(self, layout: Layout, layer_of: dict[str, int], layers: int) -> bytes:
        trainable = np.full(layers, -1, np.int8)
        trainable[: len(self.trainable)] = self.trainable
        if layout.trainable is not None:
            for layer, is_trainable in zip(layout.layers, layout.trainable, strict=True):
                trainable[layer_of[layer]] = is_trainable
        return trainable.tobytes()


@lru_cache(maxsize=4096)
def table_of(names: SeriesNames) -> SeriesTable:
    """The one table of these names."""
    return SeriesTable(names)


NO_SERIES = table_of(SeriesNames((), (), b"", b"", b"", b""))


def _extended(names: tuple[str, ...], more: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, int]]:
    known = {name: index for index, name in enumerate(names)}
    for name in more:
        known.setdefault(name, len(known))
    return tuple(known), known
