"""One layer's gradient against all others' at every reading: it jumps to and fro (F13), or up, and stays (F09)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_by
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.context import caution, own_data
from anomaly.monitor.kin import are_next_to_nothing, kindred_of
from anomaly.monitor.rounded import is_rounding_error
from anomaly.monitor.rules import onset_step
from anomaly.monitor.state import RunState
from anomaly.monitor.vectors import VECTOR_CAUTION
from detectors.lone import NONE, Leader, Lone
from detectors.slab import SPARSE_STEPS, readings_that_last
from detectors.unsteady import SAMPLES, Unsteady

GRADIENTS = ("grad_norm",)
LEAST_PARAMETERS = 8
"""The gradient of a learned scale, a number or two, passes 0 again and again: its logarithm is nearly all noise."""
_LEARNED = "noise.samples"
_SEEN = "noise.seen"


def note_gradients(state: RunState, values: NDArray[np.float32], steps: float) -> Leader:
    """Take the gradients of the record that the slab has just judged: `values` float32 [slots]. Who leapt, and stays.

    `steps`: that the record stands for; of few, nobody unless `state.lone.due` before.
    """
    kindred = kindred_of(state.table, GRADIENTS)
    slots, chart = kindred.slots, state.unsteady
    if not len(slots):
        return NONE
    if len(chart) != len(slots):
        chart = state.unsteady = Unsteady(len(slots))
        state.lone = Lone(len(slots))
        state.history.known.pop(_LEARNED, None)
    moves = chart.take(values, slots)
    lasting = readings_that_last(steps)
    return state.lone.take(moves, chart.jumps, kindred.kin[0].blocks, chart.samples, lasting)


def gradient_alarms(
    state: RunState, values: NDArray[np.float32], moment: Moment, steps: float
) -> list[Alarm]:
    """Note the gradients; the layer whose own leapt, as long as it stays up and is not at home there."""
    found = note_gradients(state, values, steps)
    ratio = found.ratio * state.slab.levels.gain("lone", "gradient") / (caution(state) * own_data(state))
    if ratio < 1:
        return []
    slot = int(kindred_of(state.table, GRADIENTS).slots[found.series])
    if is_rounding_error(state, slot):
        return []
    if steps < SPARSE_STEPS and ratio < state.table.vector_care(slot):
        return []  # there will be more to see of it
    value, layer = float(values[slot]), state.table.layer_name(slot)
    first_step = onset_step(state, found.readings - 1, moment)
    evidence = Evidence("grad_norm", value, value / 2.0**found.gone, ratio, "lone", layer=layer)
    return [alarm_by("layer_gradient_spike", first_step, evidence)]


def noise_alarms(state: RunState, moment: Moment) -> list[Alarm]:
    """The layer whose gradient jumps most, if it is far out."""
    chart, slots = state.unsteady, kindred_of(state.table, GRADIENTS).slots
    if len(chart) != len(slots) or not len(slots):
        return []
    found = chart.judge()
    if chart.learn(int(state.history.known.get(_LEARNED, 0.0))):
        state.history.known[_LEARNED] = float(chart.samples)
    ratio = found.ratio * state.slab.levels.gain("noise", "gradient") / (caution(state) * own_data(state))
    before = state.history.known.pop(_SEEN, -1.0)
    if ratio < 1:
        return []
    slot = int(slots[found.series])
    layer = state.table.layer_name(slot) or ""
    weights = state.table.slot_of(layer, "weight_norm")
    few = weights is not None and are_next_to_nothing(state, weights)
    if ratio < (VECTOR_CAUTION if few else state.table.vector_care(slot)):
        return []
    state.history.known[_SEEN] = float(slot)
    if before != slot:  # noise that has grown is there at the next look as well
        return []
    if _parameters(state, layer) < LEAST_PARAMETERS or is_rounding_error(state, slot):
        return []
    reading = state.slab.describe(slot)
    first_step = onset_step(state, SAMPLES // 2, moment)
    value = reading.value if math.isfinite(reading.value) else reading.expected
    evidence = Evidence("grad_norm", value, reading.expected, ratio, "noise", layer=layer)
    return [alarm_by("gradient_noise", first_step, evidence)]


def _parameters(state: RunState, layer: str) -> float:
    """How many numbers the layer learns; infinite where no layout tells."""
    for layout in state.layouts.values():
        if layout.parameters is not None and layer in layout.layers:
            return layout.parameters[layout.layers.index(layer)]
    return math.inf
