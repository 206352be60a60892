"""Losses get a second look: the slow climb, one high reading that stands for many steps, the same value again."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.book import Moment
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import Evidence
from anomaly.monitor.context import caution
from anomaly.monitor.rules import onset_step
from anomaly.monitor.state import REPEATED, RunState
from anomaly.records import MILLIONTHS, step_number
from detectors.levels import spike_level

CLIMBING = ("loss", "eval_loss")
_CLIMB_KINDS = {"loss": "loss_divergence", "eval_loss": "eval_regression"}
VARIED_READINGS = 10
SPARSE_STEPS = 10
"""From this many steps a reading on, one high reading is no single slow step."""
MOST_STEPS = 100
"""Steps that one reading stands for at the most."""
SPARSE_WARM_READINGS = 20
SPARSE_EFFECT = 0.3
"""log2: the least rise of a single reading, about a quarter."""


def loss_alarms(state: RunState, values: NDArray[np.float32], moment: Moment, interval: int) -> list[Alarm]:
    """Alarms on the losses of the record just judged (`values` float32 [slots]).

    `interval` is in millionths of a step, since the record before.
    """
    slots = state.table.model_slots
    alarms = _climbs(state, values, moment)
    loss = slots.get("loss")
    if loss is not None and interval >= SPARSE_STEPS * MILLIONTHS:
        alarms += _sparse_spike(state, loss, moment, interval // MILLIONTHS)
    return alarms + _repeats(state, values, moment)


def _climbs(state: RunState, values: NDArray[np.float32], moment: Moment) -> list[Alarm]:
    """F33, the slow climb; a climb of the evaluation's loss is F39."""
    slots = state.table.model_slots
    x = np.array([values[slots[name]] if name in slots else np.nan for name in CLIMBING], np.float32)
    ratios = state.climb.judge(x, caution(state)).tolist()
    if max(ratios) < 1:
        return []
    alarms = []
    for at in (at for at, ratio in enumerate(ratios) if ratio >= 1):
        reading = state.slab.describe(slots[CLIMBING[at]])
        first_step = onset_step(state, int(state.climb.since[at]) - 1, moment)
        since = step_number(first_step)
        expected = state.climb.expected(at)
        evidence = Evidence(CLIMBING[at], reading.value, expected, ratios[at], "climb", since_step=since)
        kind = _CLIMB_KINDS[CLIMBING[at]]
        alarms.append(Alarm(kind, KINDS[kind].severity, first_step, (evidence,)))
    return alarms


def _sparse_spike(state: RunState, slot: int, moment: Moment, steps: int) -> list[Alarm]:
    """F32 where a reading stands for many `steps`: nothing is known of those between, and they share their budget."""
    z = float(state.slab.z[slot])
    level = spike_level(1, state.slab.budget * min(steps, MOST_STEPS)) * caution(state)
    if z < level or state.slab.learned(slot) < SPARSE_WARM_READINGS:
        return []
    reading = state.slab.describe(slot)
    if not (reading.value > 0 and reading.expected > 0):
        return []
    if math.log2(reading.value / reading.expected) < SPARSE_EFFECT:
        return []
    step = step_number(moment.step)
    evidence = Evidence("loss", reading.value, reading.expected, z / level, "sparse_spike", since_step=step)
    kind = "loss_spike_persistent"
    return [Alarm(kind, KINDS[kind].severity, moment.step, (evidence,))]


def _repeats(state: RunState, values: NDArray[np.float32], moment: Moment) -> list[Alarm]:
    """F42: the same loss or the same input again and again, bit for bit."""
    slots, last = state.table.model_slots, state.last_values
    seen = [float(values[slots[name]]) if name in slots else math.nan for name in REPEATED]
    measured = [math.isfinite(value) for value in seen]
    holds = [value == before for value, before in zip(seen, last, strict=True)]
    state.last_values = [now if has else old for now, old, has in zip(seen, last, measured, strict=True)]
    if seen[0] != last[0] and measured[0]:
        state.context.loss_changes += 1
    if state.context.loss_changes < VARIED_READINGS:
        return []  # a series that has always been constant is not stuck
    if not any(holds) and not state.repeats.run.any():
        return []  # nothing to learn: a run of length 0 that ends
    ratios = state.repeats.judge(np.array(holds), np.array(measured))
    worst = int(np.argmax(ratios))
    if ratios[worst] < 1:
        return []
    first_step = onset_step(state, int(state.repeats.run[worst]), moment)
    evidence = Evidence(
        REPEATED[worst],
        seen[worst],
        None,
        float(ratios[worst]),
        "run_length",
        since_step=step_number(first_step),
    )
    return [Alarm("repeated_batch", KINDS["repeated_batch"].severity, first_step, (evidence,))]
