"""Losses get a second look: the slow climb, one high reading that stands for many steps, the same value again."""

from __future__ import annotations

import math

import numpy as np

from anomaly.incidents.alarm import Alarm, alarm_by
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.context import caution
from anomaly.monitor.rounded import may_be_same
from anomaly.monitor.rules import onset_step
from anomaly.monitor.state import REPEATED, RunState
from detectors.levels import BUDGET, spike_level
from detectors.slab import SPARSE_STEPS

CLIMBING = ("loss", "eval_loss")
_CLIMB_KINDS = {"loss": "loss_divergence", "eval_loss": "eval_regression"}
VARIED_READINGS = 10
SPARSE_WARM_READINGS = 20
SPARSE_EFFECT = 0.3
"""log2: the least rise of a single reading, about a quarter."""
UNSETTLED = 100.0
"""Readings: at this age about twice the evidence, as in the slab."""
FIRST_READINGS = 256
LOST = 1.5
"""Of what was learned, two thirds."""
SIGNED_READINGS = 512


def loss_alarms(state: RunState, values: dict[str, float], moment: Moment, steps: float) -> list[Alarm]:
    """Alarms on the losses of the record just judged; `values` are the measured, finite ones of the whole model.

    `steps`: that the record stands for.
    """
    alarms = _climbs(state, values, moment)
    if steps >= SPARSE_STEPS and "loss" in state.table.model_slots:
        alarms += _sparse_spike(state, state.table.model_slots["loss"], moment, steps)
    return alarms + _repeats(state, values, moment)


def note_last(state: RunState, loss: float, batch: float) -> None:
    """Remember the values that may be repeated, NaN where not measured, and count how often the loss was another."""
    last = state.last_values
    if loss == loss:
        state.context.loss_changes += loss != last[0]
        last[0] = loss
    if batch == batch:
        last[1] = batch


def _climbs(state: RunState, values: dict[str, float], moment: Moment) -> list[Alarm]:
    """F33, the slow climb; a climb of the evaluation's loss is F39."""
    readings = [values.get(name, math.nan) for name in CLIMBING]
    if not state.climb.alarms(readings, caution(state)):
        return []
    slots, ratios = state.table.model_slots, state.climb.ratio.tolist()
    ratios[0] /= _as_nature(state)
    alarms = []
    for at in (at for at, ratio in enumerate(ratios) if ratio >= 1):
        reading = state.slab.describe(slots[CLIMBING[at]])
        first_step = onset_step(state, int(state.climb.since[at]) - 1, moment)
        expected = state.climb.expected(at)
        evidence = Evidence(CLIMBING[at], reading.value, expected, ratios[at], "climb")
        alarms.append(alarm_by(_CLIMB_KINDS[CLIMBING[at]], first_step, evidence))
    return alarms


def _as_nature(state: RunState) -> float:
    """The factor on what a climb of the loss must be, for it may be what such a loss does.

    A run that is young has not shown how its loss swings. And one whose loss stands near where it began, or above it,
    since its first readings has lost little of what it learned: where two players learn, a loss rises before it falls.
    """
    factor = 1.0 + (UNSETTLED / (state.age + 8)) ** 2
    began = state.age - int(state.climb.since[0])
    if state.table.signed:
        return factor if began >= SIGNED_READINGS else math.inf
    if began > FIRST_READINGS:
        return 1.0
    learned = state.history.flat.first - math.log2(max(state.climb.expected(0), 1e-300))
    lost = state.climb.height(0) / max(learned, 1e-9)
    return factor * max(1.0, LOST * lost)


def is_young(state: RunState) -> bool:
    """Whether the loss takes either sign, and the run is too young to have shown how far such a one swings."""
    return state.table.signed and state.age < SIGNED_READINGS


SPARSE_READINGS = 40
"""From so many on the last readings themselves are the better reference (`flatness.bump_alarms`)."""


def _sparse_spike(state: RunState, slot: int, moment: Moment, steps: float) -> list[Alarm]:
    """F32 where a reading stands for many `steps`: nothing is known of those between, and they share their budget."""
    if state.history.seen >= SPARSE_READINGS:
        return []
    z = float(state.slab.z[slot])
    gain = state.slab.levels.gain("sparse_spike", "loss", steps=steps)
    level = spike_level(1, BUDGET * steps) * caution(state) / gain
    if z < level or state.slab.learned(slot) < SPARSE_WARM_READINGS:
        return []
    reading = state.slab.describe(slot)
    if not (reading.value > 0 and reading.expected > 0):
        return []
    if math.log2(reading.value / reading.expected) < SPARSE_EFFECT:
        return []
    evidence = Evidence("loss", reading.value, reading.expected, z / level, "sparse_spike")
    return [alarm_by("loss_spike_persistent", moment.step, evidence)]


def _repeats(state: RunState, values: dict[str, float], moment: Moment) -> list[Alarm]:
    """F42: the same loss or the same input again and again, bit for bit."""
    last = state.last_values
    holds = [values.get(name) == before for name, before in zip(REPEATED, last, strict=True)]
    note_last(state, values.get("loss", math.nan), values.get("input_hash", math.nan))
    if state.context.loss_changes < VARIED_READINGS:
        return []  # a series that has always been constant is not stuck
    if state.repeats.idle and True not in holds:
        return []  # nothing to learn: a run of length 0 that ends
    measured = np.array([name in values for name in REPEATED])
    ratios = state.repeats.judge(np.array(holds), measured)
    worst = int(np.argmax(ratios))
    if ratios[worst] < 1 or (worst == 0 and may_be_same(state)):
        return []
    first_step = onset_step(state, int(state.repeats.run[worst]), moment)
    evidence = Evidence(REPEATED[worst], last[worst], None, float(ratios[worst]), "run_length")
    return [alarm_by("repeated_batch", first_step, evidence)]
