"""The short way of records that say nothing but "as before": most do.

A record is *plain* when only the slab's charts can have anything to say of it: one rank, no open incident, and
learning rate, batch and loss scale are what they were. Plain records that follow each other are charted in one
compiled call (`detectors.stretch`), and what else they would leave behind on the long way (`apply`) is noted at once;
the first of which the charts speak goes the long way after all. Which way a record goes, and how many go together,
changes no bit of state: what is asked here is more than it must be, never less. What need not be asked of each record
is worked out at the first plain one behind a record of the long way, and holds until the next of those (`Stretch`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.context import CAUTION_FACTOR, LR_JUMP
from anomaly.monitor.leaps import EVERY, leaping_slots
from anomaly.monitor.limits import Limits
from anomaly.monitor.losses import CLIMBING, note_last
from anomaly.monitor.noise import noisy_slots
from anomaly.monitor.restarts import Admission, admission_of, note_session
from anomaly.monitor.rules import LR_SINGLE_JUMP, note_lr, top_lr
from anomaly.monitor.series import EXPLAINING_SIGNALS, REMEMBERED_SIGNALS
from anomaly.monitor.state import Context, RankState, RunState
from anomaly.monitor.stillness import checks_of, note_checks
from anomaly.monitor.stretch import Stretch
from anomaly.records import MILLIONTHS, StepMessage
from detectors.fences import Fences
from detectors.slab import SPARSE_STEPS
from detectors.stretch import Now, Steady

_SPARSE = SPARSE_STEPS * MILLIONTHS
_LR, _LOSS, _INPUT_HASH, _TOKENS, _SKIPPED, _SCALE = (
    EXPLAINING_SIGNALS.index(name) for name in ("lr", "loss", "input_hash", "tokens", "skipped", "loss_scale")
)
_CLIMBING, _REMEMBERED = len(CLIMBING), len(REMEMBERED_SIGNALS)
assert EXPLAINING_SIGNALS[:_CLIMBING] == CLIMBING
_WELL_BELOW, _WELL_ABOVE = 1.0 - 1e-9, 1.0 + 1e-9
"""So that rounding takes no record for plain that is not."""


class Records(NamedTuple):
    """Records without events of a run's only rank: `values` is float32 [n, slots], the others have n entries."""

    session: int | None
    sequences: list[int] | None
    steps: list[int]
    times: list[float | None]
    values: NDArray[np.float32]

    def behind(self, at: int, values: NDArray[np.float32]) -> Records:
        """Those from number `at` on, with these values of all in slot order."""
        if not at and values is self.values:
            return self
        sequences = None if self.sequences is None else self.sequences[at:]
        return Records(self.session, sequences, self.steps[at:], self.times[at:], values[at:])


def together(message: StepMessage, following: Sequence[StepMessage]) -> Records:
    """The records of all of these messages, in the order of their layout; `following` are of one record each."""
    first, records = message.sequence, len(message.steps)
    sequences = None if first is None else [*range(first, first + records)]
    if not following:
        return Records(message.session, sequences, message.steps, message.times, message.values)
    if sequences is not None:
        sequences += [each.sequence for each in following if each.sequence is not None]
    return Records(
        message.session,
        sequences,
        message.steps + [each.steps[0] for each in following],
        message.times + [each.times[0] for each in following],
        np.concatenate([message.values, *(each.values for each in following)]),
    )


def may_be_plain(state: RunState, message: StepMessage, limits: Limits) -> bool:
    """Whether nothing about the run or the message rules it out."""
    return not (message.events or state.owners is not None or limits.watches or len(state.table.count_slots))


def take_plain(state: RunState, rank: RankState, records: Records) -> tuple[int, int | None]:
    """Judge as many of these records as are plain, from the first on, and may go in one call.

    Returns how many were, and what is known of the next: None if nothing has changed; if the slab has judged it, and
    nothing else has changed, the slab's flags, 0 where something else speaks.
    """
    room = min(len(records.steps), state.history.room)
    count, stretch = in_line(state, rank, records, room), stretch_of(state, rank)
    if not count or stretch is None:
        return 0, None
    values = records.values if count == len(records.steps) else records.values[:count]
    passed = stretch.steady.take(values, now_of(state), checks_of(state))
    if passed.records:
        steps, readings = records.steps[: passed.records], passed.readings[: passed.records]
        for step, reading in zip(steps, readings, strict=True):
            learn(state, stretch, step, reading)
        state.recent.extend_quiet(steps)
        state.history.note_packed(steps, remembered(readings))
        if passed.checks:
            note_checks(state, passed.checks, passed.checked)
        advance(state, rank, records, passed.records)
    return passed.records, passed.flags


def now_of(state: RunState) -> Now:
    """Where the run stands before its next record."""
    context = state.context
    lr = math.nan if context.lr is None else context.lr
    settled = context.settled_lr is not None
    return Now(state.readings, state.age, context.cautious_until, CAUTION_FACTOR, lr, settled)


def in_line(state: RunState, rank: RankState, records: Records, room: int) -> int:
    """How many come as they are expected to, `room` at the most."""
    before, newest, sequences = rank.step, state.newest_step, records.sequences
    if before is None or newest is None or not room:
        return 0
    step, sequence = records.steps[0], sequences[0] if sequences else None
    if step <= newest or admission_of(rank, records.session, sequence, step) is not Admission.JUDGED:
        return 0
    for at in range(room):
        step = records.steps[at]
        if not before < step < before + _SPARSE:
            return at
        if sequences and at and sequences[at] <= sequences[at - 1]:
            return at
        before = step
    return room


def learn(state: RunState, stretch: Stretch, step: int, reading: NDArray[np.float32]) -> None:
    """Learn from the record of this step what others are held against; the charts have learned it already.

    `reading` is float32 of EXPLAINING_SIGNALS, NaN where not measured.
    """
    state.readings += 1
    state.newest_step = step
    lr = reading.item(_LR)
    if lr == lr and lr != stretch.learned_lr:
        _learn_lr(state, stretch, lr)
    note_last(state, reading.item(_LOSS), reading.item(_INPUT_HASH))


def remembered(readings: NDArray[np.float32]) -> bytes:
    """What the history takes of readings, float32 [n, EXPLAINING_SIGNALS]."""
    return readings[:, :_REMEMBERED].tobytes()


def advance(state: RunState, rank: RankState, records: Records, done: int) -> None:
    """So many records have been judged, one at least."""
    before = rank.step if done == 1 else records.steps[done - 2]
    rank.step = records.steps[done - 1]
    rank.interval = rank.step - (before or 0)
    note_session(rank, records.session, records.sequences[done - 1] if records.sequences else None)
    state.last_time = records.times[done - 1]


def stretch_of(state: RunState, rank: RankState) -> Stretch | None:
    """What the next record must be like to be plain; None where none can be."""
    stretch = state.stretch
    if stretch is None or stretch.table is not state.table:
        stretch = state.stretch = _new_stretch(state) if _is_settled(state, rank) else None
    return stretch


def _new_stretch(state: RunState) -> Stretch | None:
    """What the next record must be like: what explains others is as it was, and nothing is repeated."""
    noisy, leaping = noisy_slots(state), leaping_slots(state)
    if len(noisy) != len(state.unsteady) or len(leaping) != len(state.leaps):
        return None  # the charts begin with the first reading they take, on the long way
    context, fences = state.context, Fences(state.table.explaining_index)
    for at, known in ((_TOKENS, context.tokens), (_SCALE, context.loss_scale)):
        same = math.nan if known is None else known
        fences.put(at, same, same, may_miss=known is None)
    fences.put(_SKIPPED, 0.0, 0.0)
    for at, last in zip((_LOSS, _INPUT_HASH), state.last_values, strict=True):
        fences.vary(at, last)
    _fence_lr(context, fences)
    normed = state.table.weight_slots
    charts = (
        state.slab,
        state.climb,
        state.unsteady,
        noisy,
        state.unmoved,
        normed,
        state.leaps,
        leaping,
        EVERY,
    )
    return Stretch(state.table, fences, Steady(fences, _CLIMBING, _LR, *charts))


def _fence_lr(context: Context, fences: Fences) -> None:
    """Where `note_values` calls for no care because of a learning rate, and `note_lr` finds nothing in it."""
    if context.lr is None or context.lr <= 0:
        fences.put(_LR, math.nan, math.nan)
        return
    most = min(LR_JUMP, LR_SINGLE_JUMP) * _WELL_BELOW
    fences.follow(_LR, context.lr, _WELL_ABOVE / LR_JUMP, most, top_lr(context) * _WELL_BELOW)


def _learn_lr(state: RunState, stretch: Stretch, lr: float) -> None:
    stretch.learned_lr = lr if lr == state.context.lr else None
    note_lr(state, {"lr": lr})
    _fence_lr(state.context, stretch.fences)


def _is_settled(state: RunState, rank: RankState) -> bool:
    """Whether the run is in nothing that the next record could end or go on with."""
    context = state.context
    return (
        not state.book.open
        and not rank.waiting
        and not rank.strays
        and rank.attempt == state.attempt
        and state.first_time is not None
        and state.repeats.idle
        and context.nonfinite_step is None
        and context.outcome is None
        and not context.skipped
    )
