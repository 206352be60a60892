"""One layer's weights (F25) or activations (F07) that grow by the same factor again and again; gradients that vanish so
(F11).

Looked at over one to two hundred readings.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_by
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.context import caution, own_data
from anomaly.monitor.kin import FEW_WEIGHTS_CAUTION, are_next_to_nothing, kindred_of
from anomaly.monitor.meaning import meaning_of
from anomaly.monitor.norms import SIGNALS, Norms
from anomaly.monitor.rounded import is_rounding_error
from anomaly.monitor.rules import onset_step
from anomaly.monitor.state import RunState
from detectors.rows import Row
from detectors.swelling import BLOATS, GROWS, PIECES, VANISHES, swelling

EVERY = 32
"""Readings of the run from one level to the next, at the least."""
PER_READING = 8.0
"""Readings of the norms from one level to the next, at the least: it matters little then when each one came."""
LEARNED = 3


_SHAPES: Final = {
    "weight_norm": (GROWS, "weight_blowup"),
    "grad_norm": (VANISHES, "gradient_vanishing"),
    "act_absmax": (BLOATS, "outlier_growth"),
}
"""What is looked for, and its kind."""
HEAD_CAUTION = 2.0
"""A head begins small, and its weights grow with what it learns to say."""


def swelling_alarms(state: RunState, moment: Moment) -> list[Alarm]:
    """The layer whose weights or activations grew evenly, or whose gradient so shrank, far more than any other's."""
    alarms = []
    for signal, norms in zip(SIGNALS, state.norms, strict=True):
        alarms += _look(state, signal, norms, moment)
    return alarms


def _look(state: RunState, signal: str, norms: Norms, moment: Moment) -> list[Alarm]:
    kindred, reading = kindred_of(state.table, (signal,)), state.history.taken
    slots = kindred.slots
    if not len(slots) or (norms.looked >= 0 and reading - norms.looked < EVERY):
        return []
    learned = state.slab.middle(Row.N, slots)
    every = max(EVERY, PER_READING * state.age / learned if learned > 0 else EVERY)
    if norms.looked >= 0 and reading - norms.looked < every:
        return []
    since = reading - norms.looked
    levels = norms.take(reading, state.slab.known(Row.FAST, slots, LEARNED))
    if len(levels) <= PIECES:
        return []
    shape, kind = _SHAPES[signal]
    found = swelling(levels, kindred.kin[0].blocks, shape)
    gain = state.slab.levels.gain("swelling", meaning_of(signal).profile)
    ratio = found.ratio * gain / (caution(state) * own_data(state))
    if ratio < 1 or not _matters(state, kind, slots, found.series, ratio):
        return []
    layer = state.table.layer_name(int(slots[found.series])) or ""
    value = 2.0 ** float(levels[-1, found.series])
    first_step = onset_step(state, found.pieces * since, moment)
    evidence = Evidence(signal, value, value / 2.0**found.moved, ratio, "swelling", layer=layer)
    return [alarm_by(kind, first_step, evidence)]


def _matters(state: RunState, kind: str, slots: NDArray[np.intp], at: int, ratio: float) -> bool:
    """Whether it is more than what few or a head's weights do, or than rounding errors of a gradient that is none."""
    if kind == "outlier_growth":
        return int(slots[at]) not in state.table.output_slots
    if kind == "gradient_vanishing":
        return not is_rounding_error(state, int(slots[at]))
    if ratio < state.table.vector_care(int(slots[at])):
        return False
    if ratio < FEW_WEIGHTS_CAUTION and are_next_to_nothing(state, int(slots[at])):
        return False
    of_layers = state.table.slot_layer[slots]
    return bool(ratio >= HEAD_CAUTION or of_layers[at] != of_layers.max())
