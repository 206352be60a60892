"""The learning rate against the schedule it shows and the one it was declared to follow (F28)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_by
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.context import is_announced
from anomaly.monitor.state import RunState
from anomaly.records import MILLIONTHS
from detectors.glance import steps_of
from detectors.slab import SPARSE_STEPS

CREEP = 1.15
"""Times the settled rate: above it a rate that rises on and on leaves its schedule."""
CREEP_READINGS = 16
SMOOTH_READINGS = 12
"""A rate that fell a little with each of so many readings is in a decay."""
SMOOTH_STEP = 1.2
FALL = 15.0
"""At once: a step decay is by ten, and may come in the middle of another."""
RISE = 2.5
"""Out of a decay."""
RISE_READINGS = 4
RISE_BACK = 1.2
BELOW_PEAK = 0.9
"""Of the settled rate: a warm restart returns to that, or comes at the end of a decay."""
AT_THE_END = 0.1
"""Of the settled rate: a decay that has come to that may be at its end, as one whose falls shrink is."""
EVEN = 0.5
MATCHED_READINGS = 16
MATCHED = 0.02
OFF_DECLARED = 0.1
OFF_READINGS = 4
_ROSE = "lr.rose"
"""The reading from which on it has done nothing but rise."""
LEAST_SHAPE = 0.3
"""Of the declared peak: where a floor that was not declared no longer matters."""


def schedule_alarms(state: RunState, moment: Moment) -> list[Alarm]:
    """F28 where no single reading shows it: a creep, a drop or rise out of a smooth decay, a rate off the declared."""
    history = state.history
    count, least, most, rising, last = steps_of(history.of("lr"))
    if rising < count - 1:
        history.known[_ROSE] = float(history.taken - rising)
    creeps = rising >= CREEP_READINGS - 1 and last >= CREEP * (state.context.settled_lr or math.inf)
    jumps = least < 1 / FALL or most > RISE
    if count < CREEP_READINGS or not (creeps or jumps or state.context.declared):
        return []
    lr = history.of("lr").astype(np.float64)
    measured = np.isfinite(lr) & (lr > 0)
    lr, steps = lr[measured], history.steps[measured]
    if is_announced(state):
        return []
    for find in (_creep, _drop, _rise, _off_declared):
        found = find(state, lr, steps)
        if found is not None:
            at, expected = found
            score = float(max(lr[-1] / expected, expected / lr[-1]))
            evidence = Evidence("lr", float(lr[-1]), expected, score, find.__name__[1:])
            return [alarm_by("lr_schedule", int(steps[at]), evidence)]
    return []


_Found = tuple[int, float]
"""Which reading it began with, and what was expected."""


def _creep(state: RunState, lr: NDArray[np.float64], steps: NDArray[np.int64]) -> _Found | None:
    """It has settled, and rises again with each reading, above anything it has had."""
    settled = state.context.settled_lr
    last = lr[-CREEP_READINGS:]
    if settled is None or last[-1] < CREEP * settled or np.any(np.diff(last) <= 0):
        return None
    if state.history.known.get(_ROSE, 0.0) < CREEP_READINGS:
        return None  # it had not settled
    falls = np.flatnonzero(np.diff(lr) <= 0)
    return (int(falls[-1]) + 1 if len(falls) else 0), settled


def _drop(state: RunState, lr: NDArray[np.float64], steps: NDArray[np.int64]) -> _Found | None:
    """It falls at once by more than any step decay does, and goes on from there; a re-warm rises."""
    steps_of = lr[1:] / lr[:-1]
    for at in np.flatnonzero(steps_of < 1 / FALL).tolist():
        if (
            at + 2 < len(lr)
            and steps[at + 1] - steps[at] < SPARSE_STEPS * MILLIONTHS
            and lr[-1] < RISE_BACK * lr[at + 1]
        ):
            return at + 1, float(lr[at])
    return None


def _rise(state: RunState, lr: NDArray[np.float64], steps: NDArray[np.int64]) -> _Found | None:
    """A decay in full swing rises at once, not back to its peak, and goes on from there."""
    peak = state.context.settled_lr
    if peak is None or np.any(np.diff(steps) <= 0):
        return None
    for at in np.flatnonzero(lr[1:] > RISE * lr[:-1]).tolist():
        before, after = lr[max(0, at - SMOOTH_READINGS) : at + 1], lr[at + 1 :]
        if len(before) <= SMOOTH_READINGS or len(after) <= RISE_READINGS:
            continue
        falls = -np.diff(before)
        decays = falls.min() > EVEN * falls.max() and before[0] < SMOOTH_STEP**SMOOTH_READINGS * before[-1]
        between = before[-1] > AT_THE_END * peak and after[0] < BELOW_PEAK * peak
        goes_on = np.all(after[1:] < SMOOTH_STEP * after[:-1]) and after[-1] > before[-1]
        if decays and between and goes_on:
            return at + 1, float(lr[at])
    return None


def _off_declared(state: RunState, lr: NDArray[np.float64], steps: NDArray[np.int64]) -> _Found | None:
    """It had followed the declared schedule, and leaves it by a tenth or more."""
    declared = state.context.declared
    if not declared or len(lr) < MATCHED_READINGS + OFF_READINGS:
        return None
    shape = np.array([_shape(declared, step / MILLIONTHS) for step in steps.tolist()])
    if not np.all(shape > LEAST_SHAPE):
        return None
    peak = lr / shape
    matched = peak[:MATCHED_READINGS]
    usual = float(np.median(matched))
    off = peak / usual - 1
    if np.any(np.abs(off[:MATCHED_READINGS]) > MATCHED) or np.any(np.abs(off[-OFF_READINGS:]) < OFF_DECLARED):
        return None
    first = MATCHED_READINGS + int(np.argmax(np.abs(off[MATCHED_READINGS:]) >= OFF_DECLARED))
    return first, usual * float(shape[-1])


def _shape(declared: dict[str, float | str], step: float) -> float:
    """The declared factor on the peak at `step`; NaN for what is not known."""
    warmup, total = declared.get("warmup_steps", 0), declared.get("total_steps", 0)
    name = next((declared[field] for field in ("name", "schedule", "type") if field in declared), "")
    if isinstance(warmup, str) or isinstance(total, str):
        return math.nan
    if step < warmup:
        return math.nan
    if name in ("constant", "const", "constant_with_warmup"):
        return 1.0
    if total <= warmup:
        return math.nan
    done = min((step - warmup) / (total - warmup), 1.0)
    if name == "linear":
        return 1.0 - done
    if name == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return math.nan
