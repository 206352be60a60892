"""The layer profile in the first steps (F27): one look, at layers against their siblings and at sheer size."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_of
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import MAX_EVIDENCE, Evidence
from anomaly.monitor.kin import beside, family_of, is_in_a_row, last_of_no_row
from anomaly.monitor.rounded import is_rounding_error
from anomaly.monitor.series import SeriesTable
from anomaly.monitor.state import RunState
from anomaly.records import MILLIONTHS
from detectors.outlying import SPREADS, outlying
from detectors.rows import Row

LOOK_AT = 16
"""Readings after which the profile is looked at, once; the run's first step must be near 0."""
FIRST_STEPS = 100
PROFILED = ("weight_norm", "act_rms", "grad_norm")
SIBLINGS = 4
LEAST_OFF = 2.0
"""log2: a layer four times what its siblings are."""
LEAST_OFF_IN_A_ROW = 3.0
ROW = 8
"""Of fewer layers in a row one in fifty is four times what the others are, by chance or by its shape."""
WILD_RMS = 100.0
WILD_SHARE = 0.5


def profile_alarms(state: RunState, moment: Moment) -> list[Alarm]:
    """F27: a layer far from its siblings (names alike but for numbers), or activations far too large in most layers."""
    history, table = state.history, state.table
    if history.known.get("profiled") or history.taken < LOOK_AT:
        return []
    history.known["profiled"] = 1.0
    if history.taken > 2 * LOOK_AT or not 0 <= moment.step <= FIRST_STEPS * MILLIONTHS:
        return []
    level = state.slab.row(Row.LEVEL)
    learned = state.slab.row(Row.N) > 0
    off: dict[int, float] = {}
    for signal in PROFILED:
        families = {}
        for name, members in _families_of(table, signal).items():
            families[name] = members[learned[members] & (table.trainable[table.slot_layer[members]] != 0)]
            if signal == "grad_norm":  # where a layer's weights are known, they say whether they are poor
                weights = beside(table, families[name], "weight_norm")
                families[name] = families[name][(weights < 0) | ~learned[weights]]
        off |= _off_siblings(families, level, signal)
        if signal == "weight_norm":
            off |= _off_few(state, families, level)
    off = {slot: away for slot, away in off.items() if not is_rounding_error(state, slot)}
    if off:
        worst = sorted(off, key=lambda slot: -abs(off[slot]))
        return [_alarm(state, worst, [2.0 ** (abs(off[slot]) - LEAST_OFF) for slot in worst], moment)]
    slots = table.slots_of(("act_rms",))
    slots = slots[learned[slots]]
    wild = slots[level[slots] > np.log2(WILD_RMS)]
    if len(slots) and (len(wild) >= max(2, WILD_SHARE * len(slots)) or _grow(level[slots])):
        worst = wild[np.argsort(-level[wild], kind="stable")].tolist()
        return [_alarm(state, worst, (2.0 ** level[worst] / WILD_RMS).tolist(), moment)]
    return []


def _grow(level: NDArray[np.float32]) -> bool:
    """Whether activations (log2, in forward order) are wild for a few layers, and as much above the first layer's."""
    return bool(np.count_nonzero(level > np.log2(WILD_RMS) + max(0.0, float(level[0]))) >= 2)


_Families = dict[str, NDArray[np.intp]]
_known: WeakKeyDictionary[SeriesTable, dict[str, _Families]] = WeakKeyDictionary()


def _families_of(table: SeriesTable, signal: str) -> _Families:
    """A signal's slots by their layers' names but for numbers; worked out once for all runs alike."""
    by_signal = _known.get(table)
    if by_signal is None:
        by_signal = _known[table] = {}
    if signal not in by_signal:
        families: dict[str, list[int]] = {}
        for slot in table.slots_of((signal,)).tolist():
            families.setdefault(family_of(table.layer_name(slot) or ""), []).append(slot)
        by_signal[signal] = {name: np.array(members, np.intp) for name, members in families.items()}
    return by_signal[signal]


def _off_few(state: RunState, families: _Families, level: NDArray[np.float32]) -> dict[int, float]:
    """As `_off_siblings`, for two or three siblings: their weights, which are what somebody made them.

    Layers in a row have shapes of their own and may differ more than parts of blocks, if their outputs do not; where
    the last of them gives the output, which may be a single number, it is no like of the others at all.
    """
    off = {}
    in_no_row = last_of_no_row(state.table.layers)
    for name, members in families.items():
        if not 2 <= len(members) < SIBLINGS:
            continue
        in_a_row = is_in_a_row(name)
        of_layers = state.table.slot_layer[members]
        if in_a_row and of_layers.max() > in_no_row:
            members = np.delete(members, np.argmax(of_layers))
        if len(members) < 2:
            continue
        for slot, away in zip(members.tolist(), _away(level[members]), strict=True):
            least = (
                LEAST_OFF_IN_A_ROW
                if in_a_row and not _puts_out_as_much(state, members, slot, away)
                else LEAST_OFF
            )
            if abs(away) > least:
                off[slot] = away
    return off


def _away(levels: NDArray[np.float32]) -> list[float]:
    """How far each of two or three levels is from the others' mean, log2; 0 if that is no more than they differ."""
    found = []
    for at, own in enumerate(levels.tolist()):
        others = np.delete(levels, at)
        away = own - float(others.mean())
        found.append(away if abs(away) > SPREADS * float(np.ptp(others)) else 0.0)
    return found


def _puts_out_as_much(state: RunState, members: NDArray[np.intp], slot: int, away: float) -> bool:
    """Whether the layer's output is off the other members' as its weights are, to the same side; the first has none."""
    outputs = beside(state.table, members, "act_rms")
    if not state.table.slot_layer[slot] or np.any(outputs < 0):
        return False
    levels = state.slab.known(Row.LEVEL, outputs, 1)
    put_out = _away(levels)[members.tolist().index(slot)] if np.isfinite(levels).all() else 0.0
    return bool(put_out * np.sign(away) > LEAST_OFF)


def _off_siblings(families: _Families, level: NDArray[np.float32], signal: str) -> dict[int, float]:
    """Slot -> log2 of how far it is off its siblings, for those clearly off.

    The first and the last of layers that are but numbered take and give something else than the others, so their sizes
    are others, too. Gradients are largest where they come from, and a first block is given what no block has made.
    Where one word and a number is all that any name says (`layer_17`), the first two may be embeddings, and gradients
    are those of convolutions and of normalisations.
    """
    off: dict[int, float] = {}
    for name, members in families.items():
        nameless = len(families) == 1 and name.endswith("#")
        if len(members) < SIBLINGS or (nameless and signal == "grad_norm"):
            continue
        last, few = len(members) - 1, is_in_a_row(name) and len(members) < ROW
        ends = _ends_of(name, nameless, last, signal)
        found = outlying(level[members].astype(np.float64), LEAST_OFF_IN_A_ROW if few else LEAST_OFF)
        off |= {int(members[at]): away for at, away in found.items() if at not in ends}
    return off


def _ends_of(name: str, nameless: bool, last: int, signal: str) -> tuple[int, ...]:
    """Which of a family's `last` + 1 layers are no like of the others; `nameless`: no name says what a layer is."""
    if name.replace("/", ".").rpartition(".")[2] == "#":
        return 0, last
    if nameless:
        return 0, 1, last
    return {"grad_norm": (last,), "act_rms": (0,)}.get(signal, ())


def _alarm(state: RunState, slots: list[int], scores: list[float], moment: Moment) -> Alarm:
    evidence = []
    for slot, score in zip(slots[:MAX_EVIDENCE], scores[:MAX_EVIDENCE], strict=True):
        reading = state.slab.describe(slot)
        value = reading.expected  # of the first readings: the level is what they were
        evidence.append(
            Evidence(
                state.table.signal_name(slot),
                value,
                None,
                max(score, 1.0),
                "profile",
                layer=state.table.layer_name(slot),
            )
        )
    names = dict.fromkeys(state.table.layer_name(slot) or "" for slot in slots)
    return alarm_of("poor_initialisation", 0, tuple(evidence), tuple(names))
