"""A look at the run's last readings, each sixteenth or, where readings are rare, each: what no single record shows."""

from __future__ import annotations

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.open_incident import Moment
from anomaly.monitor.evaluations import evaluation_alarms
from anomaly.monitor.first_steps import profile_alarms
from anomaly.monitor.flatness import bump_alarms, flat_alarms
from anomaly.monitor.growth import gap_alarms, growth_alarms
from anomaly.monitor.history import PIECE
from anomaly.monitor.leaps import leap_alarms
from anomaly.monitor.noise import noise_alarms
from anomaly.monitor.odd_losses import FAR_READINGS, collapse_alarms, far_up_alarms, spike_rate_alarms
from anomaly.monitor.pace import pace_alarms
from anomaly.monitor.resumes import resume_alarms
from anomaly.monitor.rewards import reward_alarms
from anomaly.monitor.scaling import clip_alarms, scale_alarms
from anomaly.monitor.schedule import schedule_alarms
from anomaly.monitor.state import RunState
from anomaly.monitor.strays import stray_alarms
from anomaly.monitor.swelling import swelling_alarms
from detectors.glance import glance
from detectors.slab import SPARSE_STEPS


def note_reading(state: RunState, values: dict[str, float], step: int) -> None:
    """Remember the whole-model values of a charted record, for the next look."""
    state.history.note(step, values)


def survey(state: RunState, moment: Moment, steps: float) -> list[Alarm]:
    """Look, if it is time to; `steps` is what the reading stands for, in optimiser steps."""
    history = state.history
    if not history.due() and steps < SPARSE_STEPS:
        return []
    new = history.read()
    alarms = _of_losses(state, new, moment, steps)
    alarms += resume_alarms(state, moment)
    alarms += schedule_alarms(state, moment)
    signals = state.table.model_slots
    if "loss_scale" in signals:
        alarms += scale_alarms(state, moment, steps)
    if "clip_coef" in signals:
        alarms += clip_alarms(state, new, moment)
    if "grad_norm_total" in signals or len(state.unsteady):
        alarms += growth_alarms(state, new, moment, steps)
    if "grad_norm_total" in signals:
        alarms += gap_alarms(state, new, moment)
    if state.table.reward_slots:
        alarms += reward_alarms(state, moment)
    if "step_seconds" in signals:
        alarms += pace_alarms(state, moment, steps)
    alarms += noise_alarms(state, moment)
    alarms += leap_alarms(state, moment, steps)
    alarms += swelling_alarms(state, moment)
    return alarms + stray_alarms(state, moment) + profile_alarms(state, moment)


def _of_losses(state: RunState, new: int, moment: Moment, steps: float) -> list[Alarm]:
    signals = state.table.model_slots
    alarms = evaluation_alarms(state, new, moment) if "eval_loss" in signals else []
    if "loss" not in signals:
        return alarms
    seen = glance(state.history.of("loss"), new, FAR_READINGS)
    magnitude = not state.table.signed
    if magnitude:
        alarms += far_up_alarms(state, seen, moment)
    alarms += bump_alarms(state, moment, steps)
    alarms += flat_alarms(state, new, moment)
    if magnitude and new >= PIECE:
        alarms += collapse_alarms(state, new, moment)
    return alarms + spike_rate_alarms(state, seen, new, moment)
