"""The short way of a record that says nothing but "as before": most do.

A record is *plain* when only the slab's charts can have anything to say of it: one rank, no open incident, and
learning rate, batch and loss scale are what they were. It is charted, and what else it would leave behind on the long
way (`apply`) is noted at once; if the charts speak, it goes the long way after all. Which way a record goes changes no
bit of state: what is asked here is more than it must be, never less. What need not be asked of each record is
worked out at the first plain one behind a record of the long way, and holds until the next of those (`Stretch`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.context import caution, lr_offset, usual_lr
from anomaly.monitor.leaps import note_leaps
from anomaly.monitor.losses import CLIMBING, note_last
from anomaly.monitor.noise import note_gradients
from anomaly.monitor.recent import LEAST_PACKED
from anomaly.monitor.restarts import Admission, admission_of, note_session
from anomaly.monitor.rules import note_lr, smooth_lr
from anomaly.monitor.series import EXPLAINING_SIGNALS, REMEMBERED_SIGNALS
from anomaly.monitor.state import Context, RankState, RunState
from anomaly.monitor.stillness import is_calm, is_due, note_calm
from anomaly.monitor.stretch import Stretch
from anomaly.records import MILLIONTHS
from detectors.fences import Fences
from detectors.rows import Flag
from detectors.slab import SPARSE_STEPS

QUIET = 0
HEARD = 1 << 8
"""Beyond all flags of the slab: it has judged the record and has nothing to say, something else may have."""
_SPEAKS = int(Flag.NONFINITE | Flag.ALARM | Flag.SUSPECT | Flag.ZERO | Flag.NEGATIVE)
_SPARSE = SPARSE_STEPS * MILLIONTHS
_LR, _LOSS, _INPUT_HASH, _TOKENS, _SKIPPED, _SCALE = (
    EXPLAINING_SIGNALS.index(name) for name in ("lr", "loss", "input_hash", "tokens", "skipped", "loss_scale")
)
_CLIMBING, _REMEMBERED = len(CLIMBING), len(REMEMBERED_SIGNALS)
assert EXPLAINING_SIGNALS[:_CLIMBING] == CLIMBING
_WELL_BELOW, _WELL_ABOVE = 1.0 - 1e-9, 1.0 + 1e-9
"""So that rounding takes no record for plain that is not."""
_ABOVE_0 = 1e-300


def take_plain(
    state: RunState,
    rank: RankState,
    session: int | None,
    sequence: int | None,
    step: int,
    time: float | None,
    values: NDArray[np.float32],
) -> int | None:
    """Judge a record without events of the run's only rank (`values` float32 [slots]), if it is plain.

    Returns `QUIET`: it is done. Else the record must go the long way: None if nothing has changed; the slab's flags or
    `HEARD` if the slab has judged it, and nothing else has changed.
    """
    before, newest = rank.step, state.newest_step
    if (
        before is None
        or newest is None
        or not before < step < before + _SPARSE
        or step <= newest
        or state.history.due(1)
        or admission_of(rank, session, sequence, step) is not Admission.JUDGED
    ):
        return None
    stretch = state.stretch
    if stretch is None or stretch.table is not state.table:
        stretch = state.stretch = _stretch_of(state) if _is_settled(state, rank) else None
    if stretch is None or not stretch.fences.within(values):
        return None
    norms = values.take(state.table.weight_slots) if is_due(state, values, 1) else None
    if norms is not None and not is_calm(state, norms):
        return None
    found = _charted(state, stretch.fences.reading, values, rank.stands_for(step))
    if found == QUIET:
        rank.step, rank.interval = step, step - before
        note_session(rank, session, sequence)
        state.newest_step, state.last_time = step, time
        _note(state, stretch, step, values)
        if norms is not None:
            note_calm(state, norms)
    return found


def _charted(state: RunState, reading: NDArray[np.float32], values: NDArray[np.float32], steps: float) -> int:
    """What the charts say of the next record, which stands for `steps`; see `take_plain`.

    values: float32 [slots].  reading: as in `Fences`.
    """
    evidence, lr = caution(state, 1), reading.item(_LR)
    offset = lr_offset(state, lr if lr == lr else None)
    flags = state.slab.judge(values, evidence, offset, state.age + 1, steps)
    if flags & _SPEAKS:
        return flags
    return QUIET if not state.lone.due and state.climb.calm(reading[:_CLIMBING], evidence) else HEARD


def _note(state: RunState, stretch: Stretch, step: int, values: NDArray[np.float32]) -> None:
    """Learn from the record of this step what others are held against; the charts have learned it already."""
    state.readings += 1
    state.recent.append(max(step * 2 + 1, LEAST_PACKED))
    reading = stretch.fences.reading
    lr = reading.item(_LR)
    if lr == lr and lr != stretch.learned_lr:
        _learn_lr(state, stretch, lr)
    note_last(state, reading.item(_LOSS), reading.item(_INPUT_HASH))
    state.history.note_packed(step, reading[:_REMEMBERED].tobytes())
    note_gradients(state, values, 1.0)
    note_leaps(state, state.readings, 1.0)


def _stretch_of(state: RunState) -> Stretch:
    """What the next record must be like: what explains others is as it was, and nothing is repeated."""
    context, fences = state.context, Fences(state.table.explaining_index)
    for at, known in ((_TOKENS, context.tokens), (_SCALE, context.loss_scale)):
        same = math.nan if known is None else known
        fences.put(at, same, same, may_miss=known is None)
    fences.put(_SKIPPED, 0.0, 0.0)
    for at, last in zip((_LOSS, _INPUT_HASH), state.last_values, strict=True):
        fences.vary(at, last)
    _fence_lr(context, fences)
    return Stretch(state.table, fences)


def _fence_lr(context: Context, fences: Fences) -> None:
    low, high = usual_lr(context)
    fences.put(_LR, max(low * _WELL_ABOVE, _ABOVE_0), min(high, smooth_lr(context)) * _WELL_BELOW)


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
