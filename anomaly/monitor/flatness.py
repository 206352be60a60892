"""What the last readings of the loss say together: it stands still (F34), or far above where it stood (F32)."""

from __future__ import annotations

import math

from anomaly.incidents.alarm import Alarm, alarm_by
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.context import caution, lr_offset, other_data_explain
from anomaly.monitor.history import KEPT, PIECE
from anomaly.monitor.state import RunState
from anomaly.monitor.stillness import SPEED, STILL_SPEED
from anomaly.records import MILLIONTHS
from detectors.bumps import LEAST, bump
from detectors.flat import Z
from detectors.levels import spike_level
from detectors.rows import Row
from detectors.slab import SPARSE_STEPS

FLAT = ("flat_from_start", "loss_plateau")
LASTING_READINGS = 6
"""A rise that is back within 5 optimiser steps is transient."""
LONGEST = KEPT - LEAST - LASTING_READINGS
WORTH_A_LOOK = 0.25
"""A ratio that no gain makes an alarm of."""
SLOW_START_READINGS = 1000
"""Deep plain networks may take hundreds of steps before their loss begins to fall."""
MOVED, STIRRED = 0.01, 0.001
"""Of their norm: weights whose updates add up to less have not moved; to less than the other, whatever the loss is."""
STAYS = 0.5
"""Of a ratio that is an alarm: a loss that was told to be flat is, until it falls by some times the tolerance."""
LR_AT_REST = 0.05
"""Of the settled learning rate: below it a loss that stands still is what the schedule means to have."""


def flat_alarms(state: RunState, new: int, moment: Moment) -> list[Alarm]:
    """F34: the loss has been level for nearly all of the run, or never fell. `new` readings since the last look."""
    history, context = state.history, state.context
    loss = history.of("loss")[-new:]
    long, start, unfallen = history.flat.take(loss, history.steps[-new:] / MILLIONTHS, Z * caution(state))
    if max(long, start, unfallen) < WORTH_A_LOOK:
        return []
    gain = state.slab.levels.gain("flat", "loss") / (STAYS if _is_told(state) else 1.0)
    long, start = gain * long, gain * start
    if start >= 1 and history.taken < SLOW_START_READINGS and not _hardly_moves(state):
        start = 0.0
    if start < 1 and unfallen >= 1 and not _warms_up(state):
        moved = _moved(state, moment)
        start = STIRRED / max(moved, 1e-9) if moved < STIRRED else start
    if max(long, start) < 1 or not loss[-1] > 0:
        return []
    if context.lr is not None and context.lr < LR_AT_REST * (context.settled_lr or context.lr):
        return []
    kind = "flat_from_start" if start >= 1 else "loss_plateau"
    first_step = round(history.flat.since(kind == "flat_from_start") * MILLIONTHS)
    evidence = Evidence("loss", float(loss[-1]), None, max(long, start), "flat")
    return [alarm_by(kind, first_step, evidence)]


def _is_told(state: RunState) -> bool:
    """Whether an open incident says that the loss is flat."""
    return any(incident.kind in FLAT for incident in state.book.open)


def _hardly_moves(state: RunState) -> bool:
    """Whether the weights of most layers cannot have moved since the start, by their updates or norms."""
    if state.history.known.get(SPEED, math.inf) < STILL_SPEED:
        return True
    return _update(state) * state.history.taken < MOVED


def _moved(state: RunState, moment: Moment) -> float:
    """By how much the weights of the median layer can have moved since step 0, by their updates, of their norm."""
    return _update(state) * max(state.history.taken, moment.step / MILLIONTHS)


def _warms_up(state: RunState) -> bool:
    """Whether the learning rate has risen over the last readings: the updates will be larger."""
    rates = state.history.of("lr")
    return bool(rates[-1] > rates[0])


def _update(state: RunState) -> float:
    """The update of the median layer, of its norm; infinite where none is known."""
    level = state.slab.middle(Row.LEVEL, state.table.slots_of(("update_ratio",)))
    offset = lr_offset(state)
    return math.pow(2.0, level + offset) if math.isfinite(level + offset) else math.inf


def bump_alarms(state: RunState, moment: Moment, steps: float) -> list[Alarm]:
    """F32: readings of the loss all stood far above those before; the last one is enough if it is many `steps`."""
    loss = state.history.of("loss")
    spans = (1, 0, 0) if steps >= SPARSE_STEPS else (LASTING_READINGS, LONGEST, PIECE - 1)
    ratio, value, expected, readings = bump(loss, spike_level(1), *spans)
    if ratio < WORTH_A_LOOK:
        return []
    ratio *= state.slab.levels.gain("bump", "loss") / caution(state)
    if ratio < 1 or other_data_explain(state, value, expected):
        return []
    first_step = int(state.history.steps[-readings])
    evidence = Evidence("loss", value, expected, ratio, "bump")
    return [alarm_by("loss_spike_persistent", first_step, evidence)]
