"""What is compared between ranks: series, or one over another, in log2, as columns over ranks."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.series import WHOLE_MODEL, SeriesTable

FIRST_LAYERS = 2
"""How many layers, in forward order, tell of a rank's batch: the first to report activations at all."""
LEAST_DATA_SHARE = 0.05
"""Waiting for data below this share of the median step is nobody's concern."""
OUTPUT_FLOOR = 0.1
"""log2: where a layer's input is not reported, its output stands for its gain, and moves with the rank's batch."""
_FIRST_ACTIVATIONS = ("act_rms", "act_in_rms", "act_absmax")

Floats = NDArray[np.float64]


class Compared(enum.IntEnum):
    """What a column is compared for."""

    GRADIENT = 0
    GAIN = 1
    BATCH = 2
    SECONDS = 3


FLOORS = {Compared.GRADIENT: 0.15, Compared.GAIN: 0.02, Compared.BATCH: 0.05, Compared.SECONDS: 0.15}
"""log2: the least offset between ranks that counts."""


@dataclass(frozen=True, slots=True)
class Columns:
    """One entry a column: its slot, the slot it is taken over (-1: none), what it is compared for.

    `names` are integers that stay a column's own while series come, in ascending order.
    """

    slots: NDArray[np.intp]
    over: NDArray[np.intp]
    compared: NDArray[np.int8]
    names: NDArray[np.int64]
    floors: Floats
    statistics: tuple[str, ...]
    layers: tuple[str | None, ...]

    def logs(self, stacked: NDArray[np.float32]) -> Floats:
        """log2 of the columns, float64 [ranks, columns]; what is not a positive number is not finite."""
        having = np.flatnonzero(self.over >= 0)
        with np.errstate(all="ignore"):
            y = np.log2(stacked[:, self.slots].astype(np.float64))
            y[:, having] -= np.log2(stacked[:, self.over[having]].astype(np.float64))
            if "data_seconds" in self.statistics and "step_seconds" in self.statistics:
                waiting, steps = self.statistics.index("data_seconds"), self.statistics.index("step_seconds")
                least = np.median(y[:, steps]) + np.log2(LEAST_DATA_SHARE)
                measured = np.isfinite(stacked[:, self.slots[waiting]])
                y[:, waiting] = np.where(measured, np.maximum(y[:, waiting], least), np.nan)
        return y

    def of(self, compared: Compared) -> NDArray[np.intp]:
        """The columns compared for this."""
        return np.flatnonzero(self.compared == compared)

    def named(self, statistic: str) -> int | None:
        """The whole model's column of a statistic."""
        found = (at for at, name in enumerate(self.statistics) if name == statistic)
        return next((at for at in found if self.layers[at] is None), None)


_known: WeakKeyDictionary[SeriesTable, tuple[Columns, Columns]] = WeakKeyDictionary()


def columns_of(table: SeriesTable, ranks: int, most: int) -> Columns:
    """What there is to compare; of the whole model only, where ranks times columns were more than `most`."""
    known = _known.get(table)
    if known is None:
        entries = sorted(_entries(table))
        of_model = [entry for entry in entries if table.slot_layer[entry[0]] == WHOLE_MODEL]
        known = _known[table] = (_columns(table, entries), _columns(table, of_model))
    every, of_model_only = known
    return every if ranks * len(every.slots) <= most else of_model_only


def _entries(table: SeriesTable) -> list[tuple[int, Compared, int]]:
    """(slot, what for, slot that it is taken over or -1)."""
    entries = [(slot, Compared.GRADIENT, -1) for slot in _slots(table, "grad_norm", "grad_norm_total")]
    input_of = {int(table.slot_layer[slot]): slot for slot in _slots(table, "act_in_rms")}
    entries += [
        (slot, Compared.GAIN, input_of.get(int(table.slot_layer[slot]), -1))
        for slot in _slots(table, "act_rms")
    ]
    activations = [
        slot for slot in _slots(table, *_FIRST_ACTIVATIONS) if table.slot_layer[slot] != WHOLE_MODEL
    ]
    first = sorted({int(table.slot_layer[slot]) for slot in activations})[:FIRST_LAYERS]
    entries += [(slot, Compared.BATCH, -1) for slot in activations if table.slot_layer[slot] in first]
    for name, compared in (
        ("loss", Compared.BATCH),
        ("step_seconds", Compared.SECONDS),
        ("data_seconds", Compared.SECONDS),
    ):
        if name in table.model_slots:
            entries.append((table.model_slots[name], compared, -1))
    return entries


def _slots(table: SeriesTable, *signals: str) -> list[int]:
    slots: list[int] = table.slots_of(signals).tolist()
    return slots


def _columns(table: SeriesTable, entries: list[tuple[int, Compared, int]]) -> Columns:
    """Ascending by slot: new series only add columns at the end."""
    slots = [slot for slot, _, _ in entries]
    return Columns(
        np.array(slots, np.intp),
        np.array([over for _, _, over in entries], np.intp),
        np.array([compared for _, compared, _ in entries], np.int8),
        np.array([slot * len(Compared) + compared for slot, compared, _ in entries], np.int64),
        np.array([_floor(compared, over) for _, compared, over in entries]),
        tuple("residual_gain" if over >= 0 else table.signal_name(slot) for slot, _, over in entries),
        tuple(table.layer_name(slot) for slot in slots),
    )


def _floor(compared: Compared, over: int) -> float:
    return OUTPUT_FLOOR if compared is Compared.GAIN and over < 0 else FLOORS[compared]
