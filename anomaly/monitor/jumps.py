"""Weights that were changed otherwise than by updates: no norm moves by more than the sum of its updates' norms.

An exact rule but for what rounding and rare reports of updates leave open: a layer was overwritten, by another
checkpoint (F51), by another job (F54), by a fault of the memory or of somebody's code (F25, F16, F18).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_of
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import MAX_EVIDENCE, Evidence
from anomaly.monitor.context import lr_offset
from anomaly.monitor.kin import are_next_to_nothing, beside
from anomaly.monitor.state import RunState
from anomaly.records import MILLIONTHS
from detectors.rows import Row
from detectors.unmoved import JUMP

KNOWN = 8
"""Readings of a layer's updates from which on they tell how far they reach."""
UNSEEN = 2.0
"""Times what is known of updates: those between two checks may have been larger than the last one."""
FURTHER = 3.0
"""Times the updates of the steps between: of 36,000 healthy moves by a twentieth, from one reading to the next, none of
more than next to nothing went half as far."""


def jump_alarms(
    state: RunState, before: NDArray[np.float32], norms: NDArray[np.float32], step: float, moment: Moment
) -> list[Alarm]:
    """Layers that were overwritten while the run went on.

    before, norms: at the check before, which was at `step` (millionths), and now, float32 [weight slots].
    """
    slots = state.table.weight_slots
    far = np.flatnonzero(moves_of(norms, before) >= JUMP).tolist()
    if not far or not moment.step > step:
        return []
    far = [at for at in far if not are_next_to_nothing(state, int(slots[at]))]
    rare = max(1.0, state.slab.cadence(slots, state.age))  # those that are reported in turns are older
    steps = UNSEEN * rare * (moment.step - step) / MILLIONTHS
    return moved_too_far(state, before, norms, far, steps, moment, "weight_blowup")


def moves_of(norms: NDArray[np.float32], before: NDArray[np.float32]) -> NDArray[np.float64]:
    """By how much of itself each norm has moved."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(norms.astype(np.float64) / before - 1.0)


def moved_too_far(
    state: RunState,
    before: NDArray[np.float32],
    norms: NDArray[np.float32],
    asked: list[int],
    steps: float,
    moment: Moment,
    kind: str,
) -> list[Alarm]:
    """Those of the layers `asked` for that no updates of so many steps move so far.

    asked: places in the weight slots.  before, norms: float32 [weight slots].
    """
    table = state.table
    updates = beside(table, table.weight_slots, "update_ratio")
    far = np.array([at for at in asked if updates[at] >= 0], np.intp)
    usual = np.array([_update(state, slot) for slot in updates[far].tolist()])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = moves_of(norms, before)[far] / (FURTHER * usual * steps)
    found = np.argsort(-ratios, kind="stable")[: np.count_nonzero(ratios >= 1)]
    if not len(found):
        return []
    names = tuple(table.layer_name(slot) or "" for slot in table.weight_slots[far[found]].tolist())
    evidence = tuple(
        Evidence(
            "weight_norm", float(norms[far[at]]), float(before[far[at]]), float(ratios[at]), "speed", name
        )
        for at, name in zip(found[:MAX_EVIDENCE].tolist(), names, strict=False)
    )
    return [alarm_of(kind, moment.step, evidence, names)]


def _update(state: RunState, slot: int) -> float:
    """A layer's update ratio as expected, of late or at last, whichever is largest; infinite where little is known."""
    slab, offset = state.slab, lr_offset(state)
    if slab.learned(slot) < KNOWN or not math.isfinite(offset):
        return math.inf
    reading = slab.describe(slot)
    of_late = 2.0 ** (float(slab.known(Row.FAST, np.array([slot]), 1)[0]) + offset)
    return float(np.nanmax((reading.expected, of_late, reading.value)))
