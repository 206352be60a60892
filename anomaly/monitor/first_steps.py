"""The layer profile in the first steps (F27): one look, at layers against their siblings and at sheer size."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_of
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import MAX_EVIDENCE, MAX_LAYERS_NAMED, Evidence
from anomaly.monitor.state import RunState
from anomaly.records import MILLIONTHS, step_number
from detectors.rows import Row

LOOK_AT = 16
"""Readings after which the profile is looked at, once; the run's first step must be near 0."""
FIRST_STEPS = 100
PROFILED = ("weight_norm", "act_rms", "grad_norm")
SIBLINGS = 4
LEAST_OFF = 2.0
"""log2: a layer four times what its siblings are."""
LEAST_OFF_IN_A_ROW = 3.0
SPREADS = 8.0
WILD_RMS = 100.0
WILD_SHARE = 0.5
_DIGITS = re.compile(r"\d+")


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
        slots = table.slots_of((signal,))
        slots = slots[learned[slots] & (table.trainable[table.slot_layer[slots]] != 0)]
        families = _families(state, slots)
        off |= _off_siblings(state, families, level)
        if signal == "weight_norm":
            off |= _off_few(state, families, level)
    if off:
        worst = sorted(off, key=lambda slot: -abs(off[slot]))
        return [_alarm(state, worst, [2.0 ** abs(off[slot] - LEAST_OFF) for slot in worst], moment)]
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


def _families(state: RunState, slots: NDArray[np.intp]) -> dict[str, list[int]]:
    """The slots by their layers' names but for numbers."""
    families: dict[str, list[int]] = {}
    for slot in slots.tolist():
        families.setdefault(_DIGITS.sub("#", state.table.layer_name(slot) or ""), []).append(slot)
    return families


def _off_few(state: RunState, families: dict[str, list[int]], level: NDArray[np.float32]) -> dict[int, float]:
    """As `_off_siblings`, for two or three siblings: their weights, which are what somebody made them.

    Layers in a row have shapes of their own and may differ more than parts of blocks; the last of them may as it likes.
    """
    off = {}
    for name, members in families.items():
        if not 2 <= len(members) < SIBLINGS:
            continue
        in_a_row = name.endswith("#")
        last = max(members, key=lambda slot: int(state.table.slot_layer[slot]))
        for slot in members:
            others = level[[other for other in members if other != slot]].astype(np.float64)
            away = float(level[slot]) - float(np.median(others))
            least = LEAST_OFF_IN_A_ROW if in_a_row else LEAST_OFF
            if abs(away) > max(least, SPREADS * float(np.ptp(others))) and not (in_a_row and slot == last):
                off[slot] = away
    return off


def _off_siblings(
    state: RunState, families: dict[str, list[int]], level: NDArray[np.float32]
) -> dict[int, float]:
    """Slot -> log2 of how far it is off the line through its siblings, for those clearly off."""
    off = {}
    for members in families.values():
        if len(members) < SIBLINGS:
            continue
        y = level[members].astype(np.float64)
        unlike = _at_the_ends(state, members)
        for at, slot in enumerate(members):
            if slot in unlike:
                continue
            others = np.delete(y, at)
            middle = float(np.median(others))
            spread = 1.4826 * float(np.median(np.abs(others - middle)))
            reach = max(float(others.max()) - middle, middle - float(others.min()))
            away = float(y[at]) - middle
            if abs(away) > max(LEAST_OFF, SPREADS * spread, 2 * reach):
                off[slot] = away
    return off


def _at_the_ends(state: RunState, members: list[int]) -> set[int]:
    """The first and the last of layers that are but numbered: of other shapes, so their norms are of other sizes."""
    names = [state.table.layer_name(slot) or "" for slot in members]
    numbered = all(name.rpartition(".")[2].isdigit() for name in names)
    by_shape = state.table.signal_name(members[0]) != "act_rms"
    return {members[0], members[-1]} if numbered and by_shape else set()


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
                since_step=step_number(0),
            )
        )
    names = [state.table.layer_name(slot) or "" for slot in slots]
    layers = tuple(dict.fromkeys(names))[:MAX_LAYERS_NAMED]
    return alarm_of("poor_initialisation", 0, tuple(evidence), layers)
