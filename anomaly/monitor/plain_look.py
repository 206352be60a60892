"""A plain record with which the run's last readings are due for a look: every sixteenth.

What is asked of it, and what it leaves behind, is what `plain` says; the look may find something.
"""

from __future__ import annotations

from anomaly.incidents.transition import Source, Transition
from anomaly.monitor.judge import conclude
from anomaly.monitor.plain import Records, advance, in_line, learn, now_of, remembered, stretch_of
from anomaly.monitor.state import RankState, RunState, SlotRecord
from anomaly.monitor.stillness import is_due, stillness_alarms
from anomaly.monitor.survey import survey
from detectors.stretch import Checks

_NEVER = 1 << 62
_NO_CHECKS = Checks(_NEVER, 0, 0, 0)
"""The check of the weights' norms that goes with a look is a close one, and not made by the stretch."""


def take_due(
    state: RunState, rank: RankState, records: Records, source: Source | None
) -> tuple[int, int | None, list[Transition]]:
    """Judge the first of these records, if the history is due with it and it is plain else.

    Returns as `take_plain`, and what comes of it.
    """
    fits = len(state.unmoved) == len(state.table.weight_slots)
    if not state.history.due(1) or not fits or not in_line(state, rank, records, 1):
        return 0, None, []
    stretch = stretch_of(state, rank)
    if stretch is None:
        return 0, None, []
    passed = stretch.steady.take(records.values[:1], now_of(state), _NO_CHECKS)
    if not passed.records:
        return 0, passed.flags, []
    step, reading = records.steps[0], passed.readings[0]
    steps = rank.stands_for(step)
    learn(state, stretch, step, reading)
    moment = state.moment(SlotRecord(step, records.times[0], b"", (), source))
    values = records.values[0]
    alarms = stillness_alarms(state, values, moment) if is_due(state, values) else []
    state.history.note_packed([step], remembered(passed.readings))
    alarms += survey(state, moment, steps)
    transitions = conclude(state, alarms, moment)
    if alarms:
        state.stretch = None
    advance(state, rank, records, 1)
    return 1, None, transitions
