"""Which layers have their like in a run: what strays from its siblings is looked for among them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.cause import block_of
from anomaly.monitor.series import WHOLE_MODEL, SeriesTable
from anomaly.monitor.state import RunState
from detectors.rows import Row

LARGER = 1.6
"""log2: weights of which a quarter of the layers have three times as many are next to nothing."""
FEW_WEIGHTS_CAUTION = 2.0
"""What is next to nothing doubles by what others hardly notice; in its first readings it grows many times over."""
_NUMBERS = re.compile(r"\d+")
_IN_A_ROW = re.compile(r".*#(?:[._/](?:weight|bias|kernel|scale|gamma|beta))?")


def family_of(name: str) -> str:
    """A layer's name with "#" for each number: siblings are named alike but for numbers."""
    return _NUMBERS.sub("#", name)


def is_in_a_row(family: str) -> bool:
    """Whether layers of this family follow one another: their names, without a parameter's, end in a number.

    >>> [is_in_a_row(name) for name in ("features.#", "features.#.bias", "h.#.attn.bias")]
    [True, True, False]
    """
    return _IN_A_ROW.fullmatch(family) is not None


def last_of_no_row(layers: Sequence[str]) -> int:
    """The number of the last layer that is in no row; -1 for none.

    A row that ends behind it gives the output: only other rows, if any, come after it, as a value's after a policy's.
    """
    return max((at for at, name in enumerate(layers) if not is_in_a_row(family_of(name))), default=-1)


def are_next_to_nothing(state: RunState, slot: int) -> bool:
    """Whether a layer has few weights yet: biases and learned tokens begin at next to 0, and grow many times over."""
    slab, slots = state.slab, state.table.weight_slots
    large = float(np.nanquantile(slab.known(Row.FAST, slots, 1), 0.75, method="lower"))
    own = float(slab.known(Row.FAST, np.array([slot]), 1)[0])
    return own < large - LARGER


class Kin:
    """Of one signal: its layers' slots int [n]; which of them have their like, bool [n]; their blocks, int32 [n].

    Names that are alike but for numbers are of one kind. The last layer is no like of the others, whatever its name,
    nor is the first of layers in a row, which takes the input, nor their last where it gives the output, nor are a
    mixture's experts: they get what a router sends them.
    """

    __slots__ = ("alike", "any_alike", "blocks", "slots")

    def __init__(self, table: SeriesTable, signal: str) -> None:
        slots = table.slots_of((signal,))
        self.slots: NDArray[np.intp] = slots[table.slot_layer[slots] != WHOLE_MODEL]
        layers = table.slot_layer[self.slots]
        names = [table.layers[layer] for layer in layers.tolist()]
        kinds = [family_of(name) for name in names]
        many = {kind for kind, count in Counter(kinds).items() if count > 1}
        last = layers.max(initial=-1)
        first: dict[str, int] = {}
        for kind, layer in zip(kinds, layers.tolist(), strict=True):
            first.setdefault(kind, layer)
        final = dict(zip(kinds, layers.tolist(), strict=True))
        in_no_row = last_of_no_row(table.layers)
        self.alike: NDArray[np.bool_] = np.array(
            [
                kind in many
                and layer != last
                and not (is_in_a_row(kind) and (layer == first[kind] or layer == final[kind] > in_no_row))
                and not table.parts[layer]
                for kind, layer in zip(kinds, layers.tolist(), strict=True)
            ],
            np.bool_,
        )
        self.any_alike = bool(self.alike.any())
        numbers: dict[str, int] = {}
        blocks = [numbers.setdefault(block_of(name), len(numbers)) for name in names]
        self.blocks: NDArray[np.int32] = np.array(blocks, np.int32)


class Kindred:
    """Of some signals: the `Kin` of each, and all their slots one after the other, int [n]."""

    __slots__ = ("kin", "slots")

    def __init__(self, table: SeriesTable, signals: tuple[str, ...]) -> None:
        self.kin = tuple(Kin(table, signal) for signal in signals)
        self.slots: NDArray[np.intp] = np.concatenate([each.slots for each in self.kin])


def beside(table: SeriesTable, slots: NDArray[np.intp], signal: str) -> NDArray[np.intp]:
    """The slot of `signal` in the layer of each of `slots`, int [n]; -1 where it has none."""
    others = table.slots_of((signal,))
    slot_of = dict(zip(table.slot_layer[others].tolist(), others.tolist(), strict=True))
    return np.array([slot_of.get(layer, -1) for layer in table.slot_layer[slots].tolist()], np.intp)


_known: WeakKeyDictionary[SeriesTable, dict[tuple[str, ...], Kindred]] = WeakKeyDictionary()


def kindred_of(table: SeriesTable, signals: tuple[str, ...]) -> Kindred:
    """Of this table and these signals; worked out once for all runs alike."""
    by_signals = _known.get(table)
    if by_signals is None:
        by_signals = _known[table] = {}
    kindred = by_signals.get(signals)
    if kindred is None:
        kindred = by_signals[signals] = Kindred(table, signals)
    return kindred
