"""Exact rules: no statistic, no warm-up. Learning rate, dead gradients, frozen weights, the same batch again."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_by, alarm_of
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import MAX_EVIDENCE, Evidence
from anomaly.monitor.context import batch_factor, is_announced, left_by_clipping
from anomaly.monitor.rounded import is_rounding_error
from anomaly.monitor.series import WHOLE_MODEL
from anomaly.monitor.state import Context, RunState

LR_ABOVE_SETTLED = 2.8
"""Without a word of it, and beyond what a larger batch explains."""
LR_KNOWN_READINGS = 200
"""A rate that stays so high for so long is what the run goes on with."""
LR_SINGLE_JUMP = 8.0
LR_WARM_UP_READINGS = 20
LR_ZERO_READINGS = 5
LR_ENDED_READINGS = 100
LR_ENDED_SHARE = 0.25
"""After a decay to 0, which is how many schedules end: readings, and a share of those since the run began."""
LR_FADED = 0.05
_FADED = "lr.faded"
ZERO_READINGS = 3
ALL_FROZEN_READINGS = 5
WITH_THE_BATCH = 1.1
EXPERT_ZERO_READINGS = 200
EQUAL_READINGS = 30
"""Without a gradient in several layers of a policy: its samples may be worth the same for so long."""
COARSE_ZERO_READINGS = 32
SMALLEST_STEP = 2.0**-9
"""Of a weight, in bfloat16: what is smaller is lost."""
LR_LOW = 0.5
"""Of what the learning rate had settled at."""


def lr_alarms(state: RunState, values: dict[str, float], moment: Moment) -> list[Alarm]:
    """A learning rate far above anything it had settled at, or stuck at 0 (F28). Learns the schedule's own range.

    A warm restart returns to what the run has had before and is no alarm; a warm-up has not settled yet, so in it
    only a single jump counts, and not among the first readings. In a run that was joined in a decay the peak is what
    it next returns to.
    """
    return [_lr_alarm(values["lr"], state.context.settled_lr, moment)] if note_lr(state, values) else []


def note_lr(state: RunState, values: dict[str, float]) -> bool:
    """Learn the schedule's range; whether the learning rate is out of it."""
    lr, context = values.get("lr"), state.context
    if lr is None or not lr >= 0:
        return False
    known, context.lr = context.lr, lr
    context.zero_lr = context.zero_lr + 1 if lr == 0 and context.settled_lr is not None else 0
    if context.zero_lr >= LR_ZERO_READINGS:
        looks = state.history.known
        if context.zero_lr == LR_ZERO_READINGS:
            looks[_FADED] = float(_faded(state))
        ended = max(LR_ENDED_READINGS, LR_ENDED_SHARE * state.age)
        return context.zero_lr >= ended or not looks.get(_FADED)
    if known is None:
        context.first_lr_step = state.newest_step
    if known is None or known <= 0:
        return False
    if context.settled_lr is None:
        if lr <= known:
            context.settled_lr = known
        elif lr >= LR_SINGLE_JUMP * known and state.readings > LR_WARM_UP_READINGS:
            context.settled_lr = known
            return True
    elif context.peak_unseen and lr > context.settled_lr:
        context.settled_lr = lr
    elif lr > LR_ABOVE_SETTLED * context.settled_lr:
        context.high_lr += 1
        if _is_explained(state, values, lr) or context.high_lr > LR_KNOWN_READINGS:
            context.settled_lr, context.high_lr = lr, 0
            return False
        return True
    elif lr <= known:
        context.settled_lr = max(context.settled_lr, known)
        _note_decay(state, lr)
    return False


def _note_decay(state: RunState, lr: float) -> None:
    """A run joined midway whose rate has halved was in a decay; the first return from there shows the peak."""
    context, now = state.context, state.newest_step
    if context.peak_unseen:
        context.peak_unseen = lr < LR_LOW * (context.settled_lr or 0.0)
    elif context.first_lr_step is not None and now is not None and lr <= LR_LOW * (context.settled_lr or 0.0):
        seen = now - context.first_lr_step
        context.peak_unseen = context.first_lr_step * state.readings > LR_WARM_UP_READINGS * seen
        context.first_lr_step = None


def _is_explained(state: RunState, values: dict[str, float], lr: float) -> bool:
    """Whether the run said so, or its batch grew as much: learning rates are scaled with it."""
    context = state.context
    tokens, grown = values.get("tokens"), batch_factor(state)
    if tokens and context.tokens:
        grown = max(grown, tokens / context.tokens)
    return is_announced(state) or lr <= WITH_THE_BATCH * grown * (context.settled_lr or 0.0)


def _faded(state: RunState) -> bool:
    """Whether the learning rate was nearly 0 before it was 0."""
    before = state.history.of_all("lr")
    before = before[before > 0]
    return bool(len(before)) and float(before[-1]) <= LR_FADED * (state.context.settled_lr or 0.0)


def smooth_lr(context: Context) -> float:
    """Above 0 and below this `note_lr` finds nothing in a learning rate, whatever the run's readings."""
    if context.lr is None:
        return 0.0
    settled = math.inf if context.settled_lr is None else LR_ABOVE_SETTLED * context.settled_lr
    return min(LR_SINGLE_JUMP * context.lr, settled)


def zero_alarms(
    state: RunState, values: NDArray[np.float32], lr: float | None, moment: Moment
) -> list[Alarm]:
    """Gradients that are exactly 0 while trainable (F12), weights that do not move although they should (F22).

    `values` is float32 [slots]. A layer's own longest healthy run of zeros raises its bar threefold.
    """
    if state.context.skipped:
        return []
    slots = state.slab.dead(ZERO_READINGS)
    slots = slots[(values[slots] == 0) & (state.table.slot_layer[slots] != WHOLE_MODEL)]
    if not len(slots):
        return []
    alarms = []
    dead = _of_signal(state, slots, "grad_norm")
    dead = [slot for slot in dead if _should_learn(state, slot) and _patient(state, slot, len(dead))]
    frozen = _of_signal(state, slots, "update_ratio")
    if frozen:
        gradients = _gradients(state)
        frozen = [
            slot
            for slot in frozen
            if _should_move(state, values, slot, gradients)
            and not may_be_rounding(state, slot, lr, state.slab.zero_run(slot))
            and not is_rounding_error(state, slot)
        ]
    if dead:
        alarms.append(_zero_alarm("gradient_dead", state, dead, moment))
    if frozen and (lr is None or lr > 0) and _long_enough(state, frozen):
        alarms.append(_zero_alarm("weights_frozen", state, frozen, moment))
    return alarms


def _should_learn(state: RunState, slot: int) -> bool:
    trainable = int(state.table.trainable[state.table.slot_layer[slot]])
    return trainable == 1 or (trainable == -1 and state.slab.learned(slot) > 0)


def is_expert(state: RunState, slot: int) -> bool:
    """Whether the slot is of one of the parallel parts of a mixture of experts, or may be."""
    layer = int(state.table.slot_layer[slot])
    return layer != WHOLE_MODEL and (bool(state.table.parts[layer]) or state.table.any_part)


def _patient(state: RunState, slot: int, together: int) -> bool:
    """Whether zeros have lasted for longer than is usual where they may be.

    An expert that no token reached has a gradient of exactly 0, and in the early phase of routing that is usual. So
    have all layers of a policy whose samples were all worth the same; `together` are at 0.
    """
    run = state.slab.zero_run(slot)
    if is_expert(state, slot):
        return run >= EXPERT_ZERO_READINGS
    return run >= EQUAL_READINGS or not (state.table.of_policy and together > 1)


def _gradients(state: RunState) -> dict[int, int]:
    """Layer → the slot of its gradient's norm, the newest."""
    table = state.table
    slots = table.slots_of(("grad_norm",))
    return dict(zip(table.slot_layer[slots].tolist(), slots.tolist(), strict=True))


def _should_move(state: RunState, values: NDArray[np.float32], slot: int, gradients: dict[int, int]) -> bool:
    """Whether the slot's layer has a gradient now, or had updates before where gradients are not reported."""
    layer = int(state.table.slot_layer[slot])
    if state.table.trainable[layer] == 0:
        return False
    gradient = gradients.get(layer)
    if gradient is not None:
        return bool(values[gradient] != 0) and bool(np.isfinite(values[gradient]))
    return state.slab.learned(slot) > 0


def may_be_rounding(state: RunState, slot: int, lr: float | None, still: float) -> bool:
    """Whether a layer that has not moved for `still` readings may only get updates too small for its 16 bits."""
    coarse = bool(state.table.coarse[state.table.slot_layer[slot]] == 1)
    return coarse and (still < COARSE_ZERO_READINGS or updates_are_lost(state, slot, lr))


def updates_are_lost(state: RunState, slot: int, lr: float | None) -> bool:
    """Whether most updates of the slot's layer are too small for its 16 bits: usually, or by a low learning
    rate or the clipping of gradients.

    A weight of 1 in bfloat16 takes no step below 1/512: a normalisation layer stands still early in a warm-up, late in
    a decay, and now and then between.
    """
    table, settled = state.table, state.context.settled_lr
    if table.coarse[table.slot_layer[slot]] != 1:
        return False
    if lr is not None and (settled is None or lr < LR_LOW * settled):
        return True
    updates = table.slot_of(table.layer_name(slot) or "", "update_ratio")
    usual = (
        1.0 if updates is None or not state.slab.learned(updates) else state.slab.describe(updates).expected
    )
    return usual * left_by_clipping(state) < SMALLEST_STEP


def _long_enough(state: RunState, frozen: list[int]) -> bool:
    """Three readings for some layers; longer when nothing moves at all, which a skipped step explains as well."""
    having = np.count_nonzero(
        (state.table.slot_signal == state.table.slot_signal[frozen[0]])
        & (state.table.slot_layer != WHOLE_MODEL)
    )
    return len(frozen) < int(having) or state.slab.zero_run(frozen[0]) >= ALL_FROZEN_READINGS


def _of_signal(state: RunState, slots: NDArray[np.intp], signal: str) -> list[int]:
    return [int(slot) for slot in slots if state.table.signal_name(int(slot)) == signal]


def _zero_alarm(kind: str, state: RunState, slots: list[int], moment: Moment) -> Alarm:
    readings = max(state.slab.zero_run(slot) for slot in slots)
    first_step = onset_step(state, readings - 1, moment)
    layers = tuple(state.table.layer_name(slot) or "" for slot in slots)
    evidence = tuple(
        Evidence(
            statistic=state.table.signal_name(slot),
            value=0.0,
            expected=state.slab.describe(slot).expected if state.slab.learned(slot) else None,
            score=float(state.slab.zero_run(slot)),
            detector="run_length",
            layer=state.table.layer_name(slot),
        )
        for slot in slots[:MAX_EVIDENCE]
    )
    return alarm_of(kind, first_step, evidence, layers)


def onset_step(state: RunState, readings_ago: int, moment: Moment) -> int:
    """The step judged that many readings of the run ago, as far back as is remembered; in millionths."""
    recent = state.recent
    if readings_ago <= 0 or not recent:
        return moment.step
    return recent.ago(readings_ago)


def last_good_step(state: RunState, first_step: int) -> int | None:
    """The last judged step before the onset at which nothing was suspicious; in millionths."""
    return next(
        (packed >> 1 for packed in state.recent.newest_first() if packed & 1 and packed >> 1 < first_step),
        None,
    )


def _lr_alarm(lr: float, settled: float | None, moment: Moment) -> Alarm:
    score = lr / settled if settled else 1.0
    return alarm_by("lr_schedule", moment.step, Evidence("lr", lr, settled, score, "lr_schedule"))
