"""Whether a resumed run is the run that stopped (F51), with its optimiser's state (F30)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_by, alarm_of
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import MAX_EVIDENCE, Evidence
from anomaly.monitor.before_resume import (
    DEVIATION_KEY,
    INTERVAL_KEY,
    LEVEL_KEY,
    NEWEST_KEY,
    WANDER_KEY,
    log2_of,
)
from anomaly.monitor.history import RESUME_READINGS
from anomaly.monitor.jumps import moved_too_far, moves_of
from anomaly.monitor.kin import beside
from anomaly.monitor.state import RunState
from anomaly.records import MILLIONTHS
from detectors.rows import DEVIATION, FAST_RATE, Row
from detectors.samples import Before, rise

UPDATE_RISE = 0.8
"""log2: how much larger the median layer's updates are without the optimiser's state, at the least."""
UPDATE_FALL = 1.5
CLEAR_Z = 4.0
BROAD_SHARE = 0.6
LEAST_KNOWN = 4
"""Readings from which on it is known how fast weights move, or how large updates are."""
OTHER_WEIGHTS = 6.0
"""Times the fastest of late: the norms of weights that go on move at most three times as fast at a resume."""
LEAST_MOVED = 3e-4
"""Of their norm: weights that are other ones by less are nobody's concern."""
LEAST_OF_LAYER = 0.01
"""As `LEAST_MOVED`, of one layer."""
RESHAPING = ("world_size", "precision")
"""Events with which a norm may be another of the same weights."""


def resume_alarms(state: RunState, moment: Moment) -> list[Alarm]:
    """What the first readings after a resume say."""
    since = state.history.taken - state.history.resumed
    if state.history.resumed < 0 or since > RESUME_READINGS + 8:
        return []
    alarms = _optimiser_alarms(state, moment) if since <= RESUME_READINGS else []
    return alarms + _loss_alarms(state, moment, since)


def _loss_alarms(state: RunState, moment: Moment, since: int) -> list[Alarm]:
    """F51: the loss is not the one before, nor the one that the same steps had."""
    history, known = state.history, state.history.known
    if LEVEL_KEY not in known:
        return []
    before = Before(known[LEVEL_KEY], known[DEVIATION_KEY], known[WANDER_KEY])
    after = history.of("loss")[-since:]
    first_step = int(history.steps[-min(since, len(history.steps))])
    repeats = first_step <= known[NEWEST_KEY]
    earlier = history.flat.level_at(first_step / MILLIONTHS) if repeats else -math.inf
    ratio = rise(before, log2_of(after), earlier)
    if ratio < 1 or not after[-1] > 0:
        return []
    evidence = Evidence("loss", float(after[-1]), 2.0**before.level, ratio, "two_samples")
    return [alarm_by("resume_corruption", first_step, evidence)]


def weights_alarms(
    state: RunState, before: NDArray[np.float32], norms: NDArray[np.float32], gap: float, moment: Moment
) -> list[Alarm]:
    """F51 by the first norms of weights after a resume: they have moved as no few updates move them.

    before, norms: at the check before and now, float32 [weight slots]; gap: the readings between.
    """
    known, changes = state.history.known, state.context.changes
    interval = known.pop(INTERVAL_KEY, 0.0)
    if not interval:
        return []
    reshaped = any(state.readings - changes.get(event, (-math.inf, 0))[0] <= gap for event in RESHAPING)
    away = moment.step - known[NEWEST_KEY]
    if reshaped or away <= 0:
        return []  # steps that are repeated have the weights of then
    readings = gap + max(away / interval - 1.0, 0.0)
    moved = moves_of(norms, before)
    far = np.flatnonzero(moved >= LEAST_OF_LAYER).tolist()
    steps = readings * interval / MILLIONTHS
    return _most_moved(state, moved, readings, moment) or moved_too_far(
        state, before, norms, far, steps, moment, "resume_corruption"
    )


def _most_moved(state: RunState, moved: NDArray[np.float64], readings: float, moment: Moment) -> list[Alarm]:
    """The median layer's norm has moved far more than in so many readings of late."""
    usual = state.history.speeds
    told = moved[np.isfinite(moved) & (moved > 0)]
    speed = float(np.median(told)) if len(told) else 0.0
    if speed < LEAST_MOVED or len(usual) < LEAST_KNOWN:
        return []
    rate = speed / readings / (state.context.lr or 1.0)
    ratio = rate / (OTHER_WEIGHTS * max(usual))
    if ratio < 1:
        return []
    evidence = Evidence("weight_norm", rate, max(usual), ratio, "speed")
    return [alarm_by("resume_corruption", moment.step, evidence)]


def _optimiser_alarms(state: RunState, moment: Moment) -> list[Alarm]:
    """F30: the updates of most layers jump, over the learning rate, at the first reading that has any."""
    history, table, slab = state.history, state.table, state.slab
    if history.known.get("resume.updates") == history.resumed:
        return []
    slots = table.slots_of(("update_ratio",))
    z = slab.z[slots]
    slots, z = slots[z != 0], z[z != 0]
    if not len(slots):
        return []
    history.known["resume.updates"] = float(history.resumed)
    if slab.middle(Row.N, slots) < LEAST_KNOWN:
        return []
    moved = _moved(state, slots)
    middle = float(np.median(moved))
    clear = np.abs(z) >= CLEAR_Z
    if _follows_gradients(state, slots, moved):
        return []
    of_late = _moved_of_late(state, slots, middle)
    jumped = not (-UPDATE_FALL < middle < UPDATE_RISE or -UPDATE_FALL < of_late < UPDATE_RISE)
    if jumped and np.mean(clear & (moved * middle > 0)) >= BROAD_SHARE:
        return [_updates_alarm(state, slots, moved, middle, moment)]
    return []


def _moved(state: RunState, slots: NDArray[np.intp]) -> NDArray[np.float32]:
    """By how much the last readings of these slots are above what is expected of them, log2."""
    moved: NDArray[np.float32] = state.slab.z[slots] * state.slab.row(Row.SCALE)[slots] * DEVIATION
    return moved


def _moved_of_late(state: RunState, slots: NDArray[np.intp], otherwise: float) -> float:
    """The median of how far they are above where these slots were of late: what has drifted is expected there."""
    moved = (state.slab.last(slots) - state.slab.row(Row.FAST)[slots]) / (1.0 - FAST_RATE)
    known = moved[np.isfinite(moved)]
    return float(np.median(known)) if len(known) else otherwise


def _follows_gradients(state: RunState, slots: NDArray[np.intp], moved: NDArray[np.float32]) -> bool:
    """Whether the updates moved as the gradients did: plain descent, which has no state to lose.

    With a state a step is of many gradients, and without it of the last one, however large that is.
    """
    gradients = beside(state.table, slots, "grad_norm")
    at = np.flatnonzero((gradients >= 0) & (state.slab.z[gradients] != 0))
    if not len(at):
        return False
    apart = moved[at] - _moved(state, gradients[at])
    return bool(-UPDATE_FALL < float(np.median(apart)) < UPDATE_RISE)


def _updates_alarm(
    state: RunState, slots: NDArray[np.intp], moved: NDArray[np.float32], middle: float, moment: Moment
) -> Alarm:
    order = slots[np.argsort(-np.abs(moved), kind="stable")]
    evidence = []
    for slot in order[:MAX_EVIDENCE].tolist():
        reading = state.slab.describe(slot)
        evidence.append(
            Evidence(
                "update_ratio",
                reading.value,
                reading.expected,
                abs(middle) / UPDATE_RISE,
                "resume",
                layer=state.table.layer_name(slot),
            )
        )
    names = tuple(state.table.layer_name(slot) or "" for slot in order.tolist())
    return alarm_of("optimizer_state_lost", moment.step, tuple(evidence), names)
