"""Layers that stray from their siblings (F09, F11, F23 to F25): found without much of a past, so early in a run."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_by
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.context import caution, lr_offset, own_data
from anomaly.monitor.history import PIECE
from anomaly.monitor.kin import FEW_WEIGHTS_CAUTION, Kin, Kindred, are_next_to_nothing, kindred_of
from anomaly.monitor.meaning import meaning_of
from anomaly.monitor.rounded import is_rounding_error
from anomaly.monitor.rules import onset_step
from anomaly.monitor.state import RunState
from detectors.rows import Row
from detectors.stray import LEAST, stray

EFFECTS = {"weight_norm": 0.5, "grad_norm": 2.2, "update_ratio": 1.4}
"""log2, by the signal: what a layer must go further than its siblings, at the least."""
GAPS = {"weight_norm": 2.0, "grad_norm": 3.0, "update_ratio": 2.0}
"""How many times the furthest of its siblings that is: a run that leaves a plateau moves gradients layer by layer."""
SIGNALS = tuple(EFFECTS)
WORTH_A_LOOK = 0.9
"""Of a ratio that is an alarm: what is below need not be known exactly."""
FOLLOWED = 0.5
LEARNED = 3
"""Readings from which on a level is known."""


def stray_alarms(state: RunState, moment: Moment) -> list[Alarm]:
    """One layer whose weights, gradients or updates went where no sibling's did; learns where they are now."""
    anchors, reading = state.anchors, state.history.taken
    if anchors.looked >= 0 and reading - anchors.looked < PIECE:
        return []
    kindred = kindred_of(state.table, SIGNALS)
    if not any(len(each.slots) >= LEAST for each in kindred.kin):
        return []
    now = state.slab.known(Row.FAST, kindred.slots, LEARNED)
    if not anchors.fits(len(now)):
        anchors.begin(reading, now, len(EFFECTS))
        return []
    alarms, first, then = [], 0, anchors.oldest
    for at, each in enumerate(kindred.kin):
        end = first + len(each.slots)
        alarms += _judged(state, at, each, now[first:end], then[first:end], moment)
        first = end
    alarms = [each for each in alarms if not _is_explained(state, kindred, now - then, each)]
    anchors.take(reading, now)
    return alarms


def _is_explained(state: RunState, kindred: Kindred, moved: NDArray[np.float32], alarm: Alarm) -> bool:
    """Whether it is of updates, and the layer's gradient strayed as they did, half as far: they follow it.

    So is what a gradient of nothing but rounding errors does. `moved`: float32, log2, of each of the kindred slots.
    """
    (evidence,) = alarm.evidence
    if evidence.statistic == "weight_norm" or evidence.layer is None or evidence.expected is None:
        return False
    gradient = state.table.slot_of(evidence.layer, "grad_norm")
    if gradient is not None and is_rounding_error(state, gradient):
        return True
    if evidence.statistic != "update_ratio":
        return False
    at = np.flatnonzero(kindred.slots == (-1 if gradient is None else gradient))
    if not len(at):
        return False
    first = len(kindred.kin[0].slots)
    of_all = moved[first : first + len(kindred.kin[1].slots)]
    strayed = float(moved[at[0]]) - float(np.nanmedian(of_all))
    return strayed / math.log2(evidence.value / evidence.expected) >= FOLLOWED


def _judged(
    state: RunState,
    at: int,
    kin: Kin,
    now: NDArray[np.float32],
    then: NDArray[np.float32],
    moment: Moment,
) -> list[Alarm]:
    """Of the signal number `at`: its layers' levels, float32 [layers], now and at the older anchor."""
    if not kin.any_alike:
        return []
    signal, anchors = SIGNALS[at], state.anchors
    meaning = meaning_of(signal)
    tail = anchors.tails[3 * at]
    gain, care = state.slab.levels.gain("stray", meaning.profile), caution(state) * own_data(state)
    least = WORTH_A_LOOK * care / gain
    upwards = meaning.down is None
    found = stray(now, then, kin.alike, kin.blocks, EFFECTS[signal], tail, upwards, least, GAPS[signal])
    ratio = found.ratio * gain / care
    if ratio < 1:
        anchors.tails[3 * at + 2] = max(anchors.tails[3 * at + 2], abs(found.excess))
        return []
    kind = meaning.up if found.excess > 0 else meaning.down
    if kind is None:
        return []
    slot = int(kin.slots[found.series])
    if ratio < state.table.vector_care(slot):
        return []
    if kind == "weight_blowup" and ratio < FEW_WEIGHTS_CAUTION and are_next_to_nothing(state, slot):
        return []
    layer = state.table.layer_name(slot) or ""
    offset = lr_offset(state) if signal == "update_ratio" else 0.0
    level = float(now[found.series])  # the last reading may have left this series out
    level = 2.0 ** (level + (offset if math.isfinite(offset) else 0.0))
    first_step = onset_step(state, state.history.taken - anchors.older, moment)
    evidence = Evidence(
        signal,
        level,
        level / 2.0**found.excess,
        ratio,
        "stray",
        layer=layer,
    )
    return [alarm_by(kind, first_step, evidence)]
