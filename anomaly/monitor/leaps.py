"""Updates that leap (F23, F24): those of one layer, or of all, over the learning rate and over what their gradients do.

Updates are often reported at every tenth step or less, and over the learning rate they wander by a little each time: a
leap stands out from one reading to the next, in a past of three readings.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_by
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.context import CAUTION_READINGS, caution, left_by_clipping, lr_offset, own_data
from anomaly.monitor.kin import beside, kindred_of
from anomaly.monitor.rounded import is_rounding_error
from anomaly.monitor.rules import is_expert, onset_step, updates_are_lost
from anomaly.monitor.state import RunState
from anomaly.monitor.stillness import STANDSTILL
from detectors.leaps import EFFECT, SIDE, Leap, Leaps
from detectors.rows import Row
from detectors.slab import SPARSE_STEPS

UPDATES = ("update_ratio",)
EVERY = 8
"""Readings between two looks; where each stands for many steps, all are looked at."""
UNSETTLED = 50
"""Steps of the run at which twice the evidence is asked for: early on, layers begin to learn at once."""
POLICY_CAUTION = 2.0
"""The ratio from which a leap of most of a policy's updates counts."""
WORTH_A_LOOK = 0.5
"""Of a gap that is an alarm: where none is as large, nothing needs explaining."""


def note_leaps(state: RunState, reading: int, steps: float) -> None:
    """Take where the layers' updates stand now that the slab has judged this reading, if it is time to.

    reading: its number.  steps: that it stands for.
    """
    every = _every(steps)
    if reading % every:
        return
    slots = kindred_of(state.table, UPDATES).slots
    if not len(slots):
        return
    if len(state.leaps) != len(slots):
        state.leaps = Leaps(len(slots))
    slab = state.slab
    readings = max(1, round(every / slab.cadence(slots, state.age)))
    state.leaps.take(slab.last(slots), slab.known(Row.FAST, slots, 1), readings)


def _every(steps: float) -> int:
    return 1 if steps >= SPARSE_STEPS else EVERY


def leap_alarms(state: RunState, moment: Moment, steps: float) -> list[Alarm]:
    """The layer whose updates leapt, or that most did, by a reading that stands for `steps`."""
    chart, kindred = state.leaps, kindred_of(state.table, UPDATES)
    if not len(chart) or len(chart) != len(kindred.slots):
        return []
    gaps = chart.gaps()
    explained = np.zeros(len(chart), np.float32)
    if np.nanmax(np.abs(gaps), initial=0.0) >= WORTH_A_LOOK * EFFECT:
        explained = _explained(state, kindred.slots)
    care = max(caution(state), caution(state, -CAUTION_READINGS))  # the gap is some readings old
    stands_for = steps if steps >= SPARSE_STEPS else 1.0  # a leap is told by the readings before
    care *= (1.0 + (UNSETTLED / max(state.age * stands_for, 1.0)) ** 2) * own_data(state)
    care /= state.slab.levels.gain("leap", "update_ratio")
    found = chart.judge(gaps, explained, kindred.kin[0].blocks, care)
    if state.context.lr is None:  # a schedule moves all
        found = [leap for leap in found if leap.series >= 0]
    if state.table.of_policy:  # so does what it does all at once, as it fails at what it had learned
        found = [leap for leap in found if leap.series >= 0 or leap.ratio >= POLICY_CAUTION]
    slots = kindred.slots
    found = [each for each in found if each.series < 0 or _matters(state, int(slots[each.series]), each)]
    apart = max(_every(steps), state.slab.cadence(slots, state.age))
    return [_alarm(state, leap, slots, apart, moment) for leap in found]


def _matters(state: RunState, slot: int, leap: Leap) -> bool:
    """Whether what a layer's updates leapt by is more than rounding, or than tokens that reach an expert again."""
    if leap.by > 0 and is_expert(state, slot):
        return False
    if leap.ratio < state.table.vector_care(slot):
        return False
    lost = leap.by < 0 and updates_are_lost(state, slot, state.context.lr)
    return not lost and not is_rounding_error(state, slot)


def _explained(state: RunState, slots: NDArray[np.intp]) -> NDArray[np.float32]:
    """By how much, log2, each layer's gradient stands above what is usual, and what clipping took of it of late."""
    slab, gradients = state.slab, beside(state.table, slots, "grad_norm")
    explained = np.full(len(slots), math.log2(left_by_clipping(state)), np.float32)
    having = np.flatnonzero(gradients >= 0)
    of_having = gradients[having]
    moved = slab.known(Row.FAST, of_having, 1) - slab.known(Row.LEVEL, of_having, 1)
    explained[having] += np.nan_to_num(moved)
    return explained


def _alarm(state: RunState, leap: Leap, slots: NDArray[np.intp], apart: float, moment: Moment) -> Alarm:
    """`apart`: readings of the run from one level of a series to the next."""
    layer = state.table.layer_name(int(slots[leap.series])) if leap.series >= 0 else None
    kind = "update_ratio_high" if leap.by > 0 else "update_ratio_low"
    if layer is None and leap.by <= -math.log2(STANDSTILL):
        kind = "loss_plateau"  # as good as no update arrives
    ago = (SIDE if leap.series < 0 else SIDE + 1) * apart
    first_step = onset_step(state, round(ago), moment)
    offset = lr_offset(state)
    value = 2.0 ** (leap.level + (offset if math.isfinite(offset) else 0.0))
    evidence = Evidence("update_ratio", value, value / 2.0**leap.by, leap.ratio, "leap", layer=layer)
    return alarm_by(kind, first_step, evidence)
