"""What rounding makes of numbers: loggers keep four decimals, or a few digits; gradients that cancel leave an error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm
from anomaly.monitor.kin import beside
from anomaly.monitor.series import WHOLE_MODEL
from anomaly.monitor.state import RunState
from detectors.rounding import are_short, unit_of
from detectors.rows import Row

ZERO_UNITS = 5.0
"""A value that is usually so many units is not rounded to 0 by chance."""
CHANGE_UNITS = 20.0
"""A loss that changes by so many units from reading to reading is hardly ever the same three times by chance."""
NEWEST = 32
ERROR = 20.0
"""log2: a gradient that is usually a millionth of the largest is what float32 leaves of a sum that is 0."""


def sure_zeros(state: RunState, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The record's values, float32 [slots], without those of layers that are 0 for want of decimals: NaN instead."""
    of_layers = state.table.slot_layer != WHOLE_MODEL
    unit = unit_of(values[of_layers])
    if not unit:
        return values
    slab, values = state.slab, values.copy()
    for slot in np.flatnonzero((values == 0) & of_layers).tolist():
        if not (slab.learned(slot) and slab.describe(slot).expected >= ZERO_UNITS * unit):
            values[slot] = np.nan
    return values


def stands_by_rounding(state: RunState, values: NDArray[np.float32], alarm: Alarm) -> bool:
    """Whether it is of norms that stand still, and rounded ones do so as they move by less than their last digit."""
    by_norms = alarm.kind == "weights_frozen" and alarm.evidence[0].statistic == "weight_norm"
    return by_norms and are_short(values[state.table.weight_slots])


def may_be_same(state: RunState) -> bool:
    """Whether the loss is rounded so much that it may be the same again and again by chance."""
    loss = state.history.of("loss")[-NEWEST:]
    unit = unit_of(loss)
    change = np.abs(np.diff(loss[np.isfinite(loss)].astype(np.float64)))
    change = change[change > 0.0]
    return bool(unit) and len(change) > 0 and bool(np.median(change) < CHANGE_UNITS * unit)


def is_rounding_error(state: RunState, slot: int) -> bool:
    """Whether the gradient of the slot's layer is nothing but rounding errors, as a key's bias has under a softmax.

    Such a gradient goes where it likes, and so do the updates that Adam makes of it.
    """
    gradients, level = state.table.slots_of(("grad_norm",)), state.slab.row(Row.LEVEL)
    known = gradients[state.slab.row(Row.N)[gradients] > 0]
    own = int(beside(state.table, np.array([slot], np.intp), "grad_norm")[0])
    return own in known and bool(level[own] < level[known].max() - ERROR)
