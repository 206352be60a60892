"""A look at the run's last readings, each eighth or, where readings are rare, each: what no single record shows."""

from __future__ import annotations

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.book import Moment
from anomaly.monitor.flatness import bump_alarms, flat_alarms
from anomaly.monitor.history import PIECE
from anomaly.monitor.losses import SPARSE_STEPS
from anomaly.monitor.state import RunState


def note_reading(state: RunState, values: dict[str, float], step: int) -> None:
    """Remember the whole-model values of a charted record, for the next look."""
    state.history.unread.append((step, values))


def survey(state: RunState, moment: Moment, steps: int) -> list[Alarm]:
    """Look, if it is time to; `steps` is what the reading stands for, in optimiser steps."""
    history = state.history
    if len(history.unread) < PIECE and steps < SPARSE_STEPS:
        return []
    new = history.read()
    return flat_alarms(state, new, moment) + bump_alarms(state, moment, steps)
