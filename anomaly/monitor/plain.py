"""The short way of a record that says nothing but "as before": most do.

A record is *plain* when only the slab's charts can have anything to say of it: one rank, no open incident, and
learning rate, batch and loss scale are what they were. It is charted, and what else it would leave behind on the long
way (`apply`) is noted at once; if the charts speak, it goes the long way after all. Which way a record goes changes no
bit of state: what is asked here is more than it must be, never less.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.context import caution, is_usual, lr_offset
from anomaly.monitor.judge import model_values
from anomaly.monitor.losses import SPARSE_STEPS, are_losses_calm, is_repeated
from anomaly.monitor.noise import note_noise
from anomaly.monitor.recent import LEAST_PACKED
from anomaly.monitor.restarts import Admission, admission_of, note_session
from anomaly.monitor.rules import is_smooth, note_lr
from anomaly.monitor.state import RankState, RunState
from anomaly.monitor.stillness import is_calm, is_due, note_calm
from anomaly.monitor.survey import note_reading
from anomaly.records import MILLIONTHS
from detectors.rows import Flag

QUIET = 0
HEARD = 1 << 8
"""Beyond all flags of the slab: it has judged the record and has nothing to say, something else may have."""
_SPEAKS = int(Flag.NONFINITE | Flag.ALARM | Flag.SUSPECT | Flag.ZERO | Flag.NEGATIVE)
_SPARSE = SPARSE_STEPS * MILLIONTHS


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
        or not _is_settled(state, rank)
        or admission_of(rank, session, sequence, step) is not Admission.JUDGED
    ):
        return None
    model = model_values(state, values)
    if not is_usual(state, model) or not is_smooth(state.context, model) or is_repeated(state, model):
        return None
    norms = values.take(state.table.weight_slots) if is_due(state, values, 1) else None
    if norms is not None and not is_calm(state, norms):
        return None
    evidence = caution(state, 1)
    flags = state.slab.judge(values, evidence, lr_offset(state, model), state.age + 1)
    if flags & _SPEAKS:
        return flags
    if not are_losses_calm(state, model, evidence):
        return HEARD
    state.latest = model
    state.newest_step = rank.step = step
    state.readings += 1
    state.last_time = time
    state.recent.append(max(step * 2 + 1, LEAST_PACKED))
    rank.interval = step - before
    note_session(rank, session, sequence)
    note_lr(state, model)
    note_reading(state, model, step)
    note_noise(state, values)
    if norms is not None:
        note_calm(state, norms)
    return QUIET


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
        and not state.history.due(1)
    )
