"""What may have moved because a run learns: slowly, and of no harm while the loss falls or stands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.state import RunState
from anomaly.records import MILLIONTHS
from detectors.glance import hastens
from detectors.rows import Row

SLOW_READINGS = 10
VERY_SLOW_READINGS = 60
"""Gradients that grow for so long harm nobody while the loss does not rise."""
CREEPING_READINGS = 150
"""Nor do updates, that creep up for longer still."""
LEARNED = 0.1
"""log2 of the loss, at the least, where a run has just begun to learn."""
FALLING, RISEN = 1.5, 1.0
"""Deviations of the loss's fast mean below its reference, and above."""


def what_learns(state: RunState, top: NDArray[np.float32]) -> NDArray[np.intp]:
    """The slots that may have moved because the run learns.

    A run that leaves a plateau, and whose loss falls faster than it did, moves its gradients and activations; the
    gradients grow long before the loss shows it, and the updates with them. Where the loss is not what the run is
    after, nothing tells when; a policy's data are others at once.
    """
    table = state.table
    if table.of_policy:
        return table.learning_slots
    if table.contested:
        return moving_slowly(state, table.learning_slots, SLOW_READINGS)
    loss = table.model_slots.get("loss")
    if loss is None:
        return np.zeros(0, np.intp)
    moved = state.slab.moved(loss)
    if moved < -FALLING or hastens(state.history.of("loss")) or has_just_begun(state):
        return moving_slowly(state, table.learning_slots, SLOW_READINGS)
    if moved > RISEN:
        return np.zeros(0, np.intp)
    gradients = table.gradient_slots[top[table.gradient_slots] > 0]
    return np.append(moving_slowly(state, gradients, VERY_SLOW_READINGS), _creeping(state, top))


def has_just_begun(state: RunState) -> bool:
    """Whether a run has learned more in the later half of its steps than before: it leaves the plateau of its start."""
    flat, loss = state.history.flat, state.table.model_slots["loss"]
    before = flat.level_at((state.newest_step or 0) / MILLIONTHS / 2)
    now = 0.0 if state.table.signed else float(state.slab.row(Row.FAST)[loss])
    return before - now > max(flat.first - before, LEARNED)


def _creeping(state: RunState, top: NDArray[np.float32]) -> NDArray[np.intp]:
    """The slots of updates that have grown for long, by how often most are reported, or have just arrived.

    None while an incident is open: what has been told of goes on until it is over.
    """
    updates = state.table.update_slots
    if state.book.open:
        return updates[:0]
    rate = state.slab.middle(Row.N, updates) / max(state.age, 1)
    ages = state.slab.row(Row.AGE)[updates]
    slow: NDArray[np.intp] = updates[(top[updates] > 0) & ((ages == 0) | (ages > rate * CREEPING_READINGS))]
    return slow


def moving_slowly(state: RunState, slots: NDArray[np.intp], readings: int) -> NDArray[np.intp]:
    """Those of the slots that have been on their way for so many readings of the run, or have just arrived."""
    ages, learned = state.slab.row(Row.AGE)[slots], state.slab.row(Row.N)[slots]
    slow: NDArray[np.intp] = slots[(ages == 0) | (ages * max(state.age, 1) >= readings * learned)]
    return slow
