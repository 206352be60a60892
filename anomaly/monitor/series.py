"""Which series a run has, and where each value of a record belongs: an immutable table shared by all runs alike.

A series is one signal of one layer, or of the whole model (layer index -1). It has one *slot* in the run's slab;
slots are given in the order in which series are first seen. A table never changes: adding a layout gives another
table, remembered, so that a thousand runs of one model hold one table between them, and a known layout is one
dictionary look-up.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from weakref import WeakValueDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.meaning import Meaning, meaning_of
from anomaly.monitor.mixture import is_mixture, is_nameless, parts_of
from anomaly.monitor.numbering import WHOLE_MODEL as WHOLE_MODEL
from anomaly.monitor.numbering import SeriesIndex, SeriesNames, layer_number
from anomaly.monitor.objectives import has_players, is_policy
from anomaly.monitor.vectors import VECTOR_CAUTION, are_vectors
from anomaly.records import NOT_MEASURED, Layout
from detectors.profiles import profile_index

SERIES_LIMIT = "series_limit"
LAYER_LIMIT = "layer_limit"
REMEMBERED_SIGNALS = (
    "loss",
    "eval_loss",
    "grad_norm_total",
    "lr",
    "loss_scale",
    "skipped",
    "clip_coef",
    "step_seconds",
)
"""Whole-model signals whose last readings a run knows (`history`)."""
EXPLAINING_SIGNALS = (*REMEMBERED_SIGNALS, "tokens", "input_hash")
"""Those that are looked at or shown one by one, beside their charts."""
_REMEMBERED = 64


class Placement:
    """A layout's way into a table.

    ``index`` is int32 of shape (layout.width,), the slot of each value, -1 for a series beyond a limit;
    ``refused`` says how many there are by the limit's name; ``direct`` that it is 0, 1, 2, …, all slots.
    """

    __slots__ = ("direct", "index", "refused")

    def __init__(self, slots: int, index: NDArray[np.int32], beyond_layers: NDArray[np.bool_]) -> None:
        self.index = index
        of_layers = int(np.count_nonzero(beyond_layers & (index < 0)))
        others = int(np.count_nonzero(index < 0)) - of_layers
        reasons = ((LAYER_LIMIT, of_layers), (SERIES_LIMIT, others))
        self.refused = tuple((reason, count) for reason, count in reasons if count)
        self.direct = bool(index.size == slots and np.array_equal(index, np.arange(slots)))


class SeriesTable:
    """The series of a run. Arrays have one entry a slot: `slot_layer` int32, `slot_signal` int16, `profiles` uint8.

    `trainable` is int8, one entry a layer: 1, 0, or -1 for not known; so is `coarse`, whether its weights have no more
    than 16 bits.
    """

    def __init__(self, names: SeriesNames) -> None:
        self.names = names
        self.layers = names.layers
        self.signals = names.signals
        self.slot_layer = np.frombuffer(names.slot_layer, "<i4")
        self.slot_signal = np.frombuffer(names.slot_signal, "<i2")
        self.profiles = np.frombuffer(names.profiles, np.uint8)
        self.trainable = np.frombuffer(names.trainable, np.int8)
        self.coarse = np.frombuffer(names.coarse, np.int8)
        self.slots = len(self.profiles)
        self.blank = np.repeat(NOT_MEASURED, self.slots)
        self._placements: dict[tuple[bytes, int, int], Placement] = {}
        # Weak: a run whose names change all the time must not leave every table behind that it has ever had.
        self._larger: WeakValueDictionary[tuple[bytes, int, int], SeriesTable] = WeakValueDictionary()
        self._slots_of_signals: dict[frozenset[str], NDArray[np.intp]] = {}
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
    def explaining_slots(self) -> tuple[tuple[str, int], ...]:
        """Those of `EXPLAINING_SIGNALS` that there are, with their slots."""
        return tuple(
            (name, self.model_slots[name]) for name in EXPLAINING_SIGNALS if name in self.model_slots
        )

    @cached_property
    def explaining_index(self) -> NDArray[np.int32]:
        """The slot of each of `EXPLAINING_SIGNALS`, -1 for what there is not."""
        return np.array([self.model_slots.get(name, -1) for name in EXPLAINING_SIGNALS], np.int32)

    @cached_property
    def reward_slots(self) -> tuple[tuple[str, int], ...]:
        """The rewards of the whole model, with their slots."""
        slots = self.model_slots.items()
        return tuple((name, slot) for name, slot in slots if meaning_of(name).profile == "reward")

    @cached_property
    def of_policy(self) -> bool:
        """Whether a policy learns by rewards here."""
        return is_policy(self.signals)

    @cached_property
    def contested(self) -> bool:
        """Whether the loss is not what the run is after (`objectives`)."""
        return self.of_policy or has_players((*self.layers, *self.signals))

    @cached_property
    def weight_slots(self) -> NDArray[np.intp]:
        """The layers' slots of their weights' norms."""
        slots = self.slots_of(("weight_norm",))
        of_layers: NDArray[np.intp] = slots[self.slot_layer[slots] != WHOLE_MODEL]
        return of_layers

    @cached_property
    def count_slots(self) -> NDArray[np.intp]:
        """Slots that count non-finite values."""
        return self.slots_of(signal for signal in self.signals if meaning_of(signal).count)

    @cached_property
    def learning_slots(self) -> NDArray[np.intp]:
        """Slots that move when the run learns faster than before: the whole gradient's norm, and all of the layers.

        But not what share of a gradient is 0.
        """
        total = self.model_slots.get("grad_norm_total")
        layers = np.flatnonzero(self.slot_layer != WHOLE_MODEL)
        layers = np.setdiff1d(layers, self.slots_of(("grad_zero_frac",)))
        return layers if total is None else np.append(layers, total)

    @cached_property
    def gradient_slots(self) -> NDArray[np.intp]:
        """Those of them that are of gradients' norms."""
        norms = self.slots_of(("grad_norm", "grad_absmax", "grad_norm_total"))
        return np.intersect1d(self.learning_slots, norms)

    @cached_property
    def signed(self) -> bool:
        """Whether the loss has been negative: then it is no magnitude."""
        slot = self.model_slots.get("loss")
        return slot is not None and int(self.profiles[slot]) == profile_index("signed_loss")

    @cached_property
    def update_slots(self) -> NDArray[np.intp]:
        """Slots of updates."""
        return self.slots_of(("update_ratio",))

    @cached_property
    def output_slots(self) -> NDArray[np.intp]:
        """Slots of the activations of the last layer: what a model puts out grows as it becomes sure."""
        slots = self.slots_of(("act_rms", "act_absmax"))
        return slots[np.flatnonzero(self.slot_layer[slots] == self.slot_layer[slots].max(initial=0))]

    @cached_property
    def routed_slots(self) -> NDArray[np.intp]:
        """Slots of the parallel parts of a mixture of experts."""
        return np.flatnonzero(np.append(self.parts, False)[self.slot_layer])

    @cached_property
    def parts(self) -> NDArray[np.bool_]:
        """Which layers are parts of a mixture's experts, bool [layers]."""
        return parts_of(self.layers, self.signals)

    @cached_property
    def vectors(self) -> NDArray[np.bool_]:
        """Which layers have a vector for weights, as their names tell: bool [layers]."""
        return are_vectors(self.layers)

    @cached_property
    def vector_slots(self) -> NDArray[np.intp]:
        """Slots of the weights, updates and gradients of those."""
        slots = self.slots_of(("weight_norm", "update_ratio", "grad_norm", "grad_absmax"))
        of_vectors: NDArray[np.intp] = slots[np.append(self.vectors, False)[self.slot_layer[slots]]]
        return of_vectors

    @cached_property
    def any_part(self) -> bool:
        """Whether every layer may be a part of an expert, for all that its name says."""
        return is_nameless(self.layers) and is_mixture(self.layers, self.signals)

    def slots_of(self, signals: Iterable[str]) -> NDArray[np.intp]:
        """The layers' slots of these signals, in slot order."""
        names = frozenset(signals)
        slots = self._slots_of_signals.get(names)
        if slots is None:
            wanted = [index for index, name in enumerate(self.signals) if name in names]
            slots = self._slots_of_signals[names] = np.flatnonzero(np.isin(self.slot_signal, wanted))
        return slots

    def slot_of(self, layer: str, signal: str) -> int | None:
        """The slot of one series, "" for the whole model; None for one the run does not have."""
        if not layer:
            return self.model_slots.get(signal)
        if self._slots_of_layers is None:
            self._slots_of_layers = {(self.layer_name(s), self.signal_name(s)): s for s in range(self.slots)}
        return self._slots_of_layers.get((layer, signal))

    def vector_care(self, slot: int) -> float:
        """The factor on the evidence for what the slot's layer does by itself: more for a vector of weights."""
        layer = int(self.slot_layer[slot])
        return VECTOR_CAUTION if layer != WHOLE_MODEL and self.vectors[layer] else 1.0

    def layer_name(self, slot: int) -> str | None:
        """The slot's layer, None for the whole model."""
        layer = int(self.slot_layer[slot])
        return None if layer == WHOLE_MODEL else self.layers[layer]

    def signal_name(self, slot: int) -> str:
        """The slot's signal."""
        return self.signals[int(self.slot_signal[slot])]

    def place(self, layout: Layout, limit: int, layer_limit: int) -> Placement | None:
        """Where the values of a record of this layout go; None if it has series for which `larger` has room."""
        key = (layout.hash, limit, layer_limit)
        placement = self._placements.get(key)
        if placement is None and self.larger(layout, limit, layer_limit) is self:
            if len(self._placements) >= _REMEMBERED:
                self._placements.clear()
            wanted = self._index.series_of(layout)
            beyond = layer_number(wanted) >= layer_limit
            placement = self._placements[key] = Placement(self.slots, self._index.slots_of(wanted), beyond)
        return placement

    def larger(self, layout: Layout, limit: int, layer_limit: int) -> SeriesTable:
        """The table that also has this layout's series, as far as the limits allow; itself if there is nothing new."""
        key = (layout.hash, limit, layer_limit)
        table = self._larger.get(key)
        if table is None:
            names = self._index.names_with(layout, limit, layer_limit)
            if names is self.names:
                return self
            table = self._larger[key] = table_of(names)
        return table

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

    @cached_property
    def _index(self) -> SeriesIndex:
        return SeriesIndex(self.names)


_tables: WeakValueDictionary[SeriesNames, SeriesTable] = WeakValueDictionary()


def table_of(names: SeriesNames) -> SeriesTable:
    """The one table of these names, for as long as a run has it."""
    table = _tables.get(names)
    if table is None:
        table = _tables[names] = SeriesTable(names)
    return table


NO_SERIES = table_of(SeriesNames((), (), b"", b"", b"", b"", b""))
