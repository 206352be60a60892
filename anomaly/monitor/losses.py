"""Losses get a second look: one high reading that stands for many steps, the slow climb, the same value again."""

from __future__ import annotations

import math

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.book import Moment
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import Evidence
from anomaly.monitor.context import caution
from anomaly.monitor.state import RunState
from anomaly.records import MILLIONTHS, step_number
from detectors.levels import spike_level

SPARSE_STEPS = 10
"""From this many steps a reading on, one high reading is no single slow step."""
SPARSE_WARM_READINGS = 20
SPARSE_EFFECT = 0.3
"""log2: the least rise of a single reading, about a quarter."""


def loss_alarms(state: RunState, moment: Moment, interval: int) -> list[Alarm]:
    """Alarms on the loss of the record just judged; `interval` in millionths of a step, since the one before."""
    slot = state.table.model_slots.get("loss")
    if slot is None:
        return []
    if interval >= SPARSE_STEPS * MILLIONTHS and (alarm := _sparse_spike(state, slot, moment)) is not None:
        return [alarm]
    return []


def _sparse_spike(state: RunState, slot: int, moment: Moment) -> Alarm | None:
    z = float(state.slab.z[slot])
    level = spike_level(1, state.slab.budget) * caution(state)
    if z < level or state.slab.learned(slot) < SPARSE_WARM_READINGS:
        return None
    reading = state.slab.describe(slot)
    if not (reading.value > 0 and reading.expected > 0):
        return None
    if math.log2(reading.value / reading.expected) < SPARSE_EFFECT:
        return None
    step = step_number(moment.step)
    evidence = Evidence("loss", reading.value, reading.expected, z / level, "sparse_spike", since_step=step)
    kind = "loss_spike_persistent"
    return Alarm(kind, KINDS[kind].severity, moment.step, (evidence,))
