"""Weights by their norms: those that no longer move although they should (F22), and all that hardly do (F34, F24).

An update that is computed and lost shows in no update ratio; a norm that is bit for bit what it was does. Looked at
with each third reading that has norms, or each one where they are rarer.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_by, alarm_of
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import MAX_EVIDENCE, Evidence
from anomaly.monitor.context import left_by_clipping
from anomaly.monitor.history import PIECE
from anomaly.monitor.jumps import jump_alarms
from anomaly.monitor.resumes import weights_alarms
from anomaly.monitor.rules import (
    EXPERT_ZERO_READINGS,
    is_expert,
    may_be_rounding,
    onset_step,
    updates_are_lost,
)
from anomaly.monitor.state import RunState
from detectors.unmoved import Unmoved

EVERY = 3
"""Readings between two checks, at the least, while all moves."""
FIRST_CHECKS = 8
"""None of the first is skimmed; later only one with each look at the history counts moves and speed."""
SLOW_CHECKS = 2
ALL_AT_ONCE = 10
"""Checks, where no layer moves."""
LR_AT_REST = 0.2
SPEEDS = 6
"""Speeds that one is held against."""
SLOWER = 20.0
STANDSTILL = 100.0
STILL_SPEED = 1e-6
"""Of its norm per reading: weights that move less have not moved in some hundred readings."""
SPEED = "weights.speed"
"""Of the median layer's norm, relative, per reading, at the last check."""
_LAST, _STEP, _CHECKS, _SLOW = "weights.reading", "weights.step", "weights.checks", "weights.slow"


def is_due(state: RunState, values: NDArray[np.float32], further: int = 0) -> bool:
    """Whether the weights' norms of a record (float32 [slots]) are to be checked: the reading `further` on."""
    slots = state.table.weight_slots
    if not len(slots):
        return False
    gap = state.readings + further - state.history.known.get(_LAST, 0.0)
    if gap < EVERY and (gap < 1 or not (state.unmoved.running or state.history.due(1))):
        return False
    return math.isfinite(values.item(slots[0]))


def is_calm(state: RunState, norms: NDArray[np.float32]) -> bool:
    """Whether nothing can come of norms that are due (float32 [weight slots]); `note_calm` takes them then."""
    return len(state.unmoved) == len(norms) and not _is_close(state, 1) and state.unmoved.is_calm(norms)


def _is_close(state: RunState, further: int = 0) -> bool:
    """Whether a check of the reading `further` on also counts moves and takes the speed."""
    known = state.history.known
    gap = state.readings + further - known.get(_LAST, 0.0)
    return known.get(_CHECKS, 0.0) < FIRST_CHECKS or gap >= PIECE or state.history.due(1)


def note_calm(state: RunState, norms: NDArray[np.float32]) -> None:
    """Learn norms that are calm, of the present reading."""
    state.unmoved.take(norms)
    _note_check(state)


def _note_check(state: RunState) -> None:
    """A check was made with the present reading."""
    known = state.history.known
    known[_LAST], known[_CHECKS] = float(state.readings), known.get(_CHECKS, 0.0) + 1.0
    known[_STEP] = float(state.newest_step or 0)


def stillness_alarms(state: RunState, values: NDArray[np.float32], moment: Moment) -> list[Alarm]:
    """F22 by the norms of a record that is due, and F34 or F24 by how little they all move; learns them."""
    slots = state.table.weight_slots
    if len(state.unmoved) != len(slots):
        state.unmoved = Unmoved(len(slots))
    gap = max(1.0, state.readings - state.history.known.get(_LAST, 0.0))
    close = _is_close(state)
    step = state.history.known.get(_STEP, math.nan)
    other = weights_alarms(state, state.unmoved.last, values[slots], gap, moment)
    other = other or jump_alarms(state, state.unmoved.last, values[slots], step, moment)
    ratios, speed = state.unmoved.judge(values[slots], close)
    _note_check(state)
    if other:
        return other
    if _at_rest(state):
        state.unmoved.rest()
        return []
    if state.context.skipped:
        return []
    found = slots[ratios >= 1]
    if len(found):
        pages = [_is_frozen(state, values, slot, gap) for slot in found.tolist()]
        found = found[pages]
    if not len(found):
        return _slow_alarms(state, speed / gap, moment) if close else []
    if kind := _standstill(state, speed / gap):
        return [_speed_alarm(state, kind, speed / gap, moment)]
    run = int(state.unmoved.run[np.isin(slots, found)].max())
    if len(found) >= state.unmoved.moving and run < ALL_AT_ONCE:
        return []  # skipped or accumulated, and not reported so
    return [_frozen_alarm(state, found, values, run, gap, moment)]


def _at_rest(state: RunState) -> bool:
    context = state.context
    return (
        context.lr is not None and context.lr < LR_AT_REST * (context.settled_lr or context.lr)
    ) or context.lr == 0


def _is_frozen(state: RunState, values: NDArray[np.float32], slot: int, gap: float) -> bool:
    """Whether nothing explains that the slot's weights stand still."""
    still = gap * float(state.unmoved.run[state.table.weight_slots == slot].max())
    if is_expert(state, slot) and still < EXPERT_ZERO_READINGS:
        return False  # few tokens may reach it
    return _has_gradient(state, values, slot) and not may_be_rounding(state, slot, state.context.lr, still)


def _has_gradient(state: RunState, values: NDArray[np.float32], slot: int) -> bool:
    """Whether the slot's layer has a gradient now, or where none is reported, is known to be trained."""
    table = state.table
    layer = int(table.slot_layer[slot])
    if table.trainable[layer] == 0:
        return False
    gradient = table.slot_of(table.layers[layer], "grad_norm")
    if gradient is None:
        return int(table.trainable[layer]) == 1
    return bool(math.isfinite(values[gradient]) and values[gradient] > 0)


def _frozen_alarm(
    state: RunState,
    found: NDArray[np.intp],
    values: NDArray[np.float32],
    run: int,
    gap: float,
    moment: Moment,
) -> Alarm:
    first_step = onset_step(state, round(run * gap), moment)
    names = tuple(state.table.layer_name(slot) or "" for slot in found.tolist())
    evidence = tuple(
        Evidence("weight_norm", float(values[slot]), None, float(run), "unmoved", layer=name)
        for slot, name in zip(found[:MAX_EVIDENCE].tolist(), names, strict=False)
    )
    return alarm_of("weights_frozen", first_step, evidence, names)


def _slow_alarms(state: RunState, speed: float, moment: Moment) -> list[Alarm]:
    """Next to nothing of the updates arrives: the median layer's norm moves far less than it did, over the rate."""
    history, lr = state.history, state.context.lr
    if not math.isfinite(speed):
        return []
    history.known[SPEED] = speed
    rate = speed / lr if lr else speed
    usual = history.speeds
    slow = len(usual) >= SPEEDS and rate * SLOWER < min(usual)
    slow = slow and rate * SLOWER < min(usual) * left_by_clipping(state)  # last, as it takes two medians
    count = history.known[_SLOW] = history.known.get(_SLOW, 0.0) + 1 if slow else 0.0
    if not slow:
        history.speeds = [*usual, rate][-SPEEDS:]
        return []
    if count < SLOW_CHECKS or _are_lost(state):
        return []
    kind = "loss_plateau" if rate * STANDSTILL <= float(np.median(usual)) else "update_ratio_low"
    return [_speed_alarm(state, kind, speed, moment)]


def _are_lost(state: RunState) -> bool:
    """Whether the updates of most layers are too small for their 16 bits."""
    slots = state.table.weight_slots.tolist()
    return 2 * sum(updates_are_lost(state, slot, state.context.lr) for slot in slots) > len(slots)


def _standstill(state: RunState, speed: float) -> str | None:
    """The kind where nearly all weights stand still, so that those that do to the last bit are no layers' fault."""
    usual, rate = state.history.speeds, speed / (state.context.lr or 1.0)
    if not math.isfinite(speed):
        return None
    if len(usual) >= SPEEDS and rate * STANDSTILL <= float(np.median(usual)):
        return "loss_plateau"
    always = max(usual, default=0.0) * (state.context.lr or 1.0)
    return "flat_from_start" if max(speed, always) < STILL_SPEED else None


def _speed_alarm(state: RunState, kind: str, speed: float, moment: Moment) -> Alarm:
    usual, rate = state.history.speeds, speed / (state.context.lr or 1.0)
    expected = float(np.median(usual)) if usual else None
    times = (expected or rate) / max(rate, 1e-30)
    evidence = Evidence("weight_norm", rate, expected, max(times / SLOWER, 1.0), "speed")
    return alarm_by(kind, moment.step, evidence)
