"""Weights that grow by the same factor again and again (F25): looked at over one to two hundred readings."""

from __future__ import annotations

from anomaly.incidents.alarm import Alarm, alarm_by
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.context import caution
from anomaly.monitor.kin import kindred_of
from anomaly.monitor.rules import onset_step
from anomaly.monitor.state import RunState
from detectors.rows import Row
from detectors.swelling import PIECES, swelling

WEIGHTS = ("weight_norm",)
EVERY = 32
"""Readings of the run from one level to the next, at the least."""
PER_READING = 8.0
"""Readings of the norms from one level to the next, at the least: it matters little then when each one came."""
LEARNED = 3
HEAD_CAUTION = 2.0
"""A head begins small and grows with what it learns to say."""


def swelling_alarms(state: RunState, moment: Moment) -> list[Alarm]:
    """The layer whose weights have grown evenly, far more than any other's; learns where they are now."""
    kindred, norms, reading = kindred_of(state.table, WEIGHTS), state.norms, state.history.taken
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
    found = swelling(levels, kindred.kin[0].blocks)
    ratio = found.ratio * state.slab.levels.gain("swelling", "weight") / caution(state)
    of_layers = state.table.slot_layer[slots]
    if ratio < (HEAD_CAUTION if of_layers[found.series] == of_layers.max() else 1.0):
        return []
    layer = state.table.layer_name(int(slots[found.series])) or ""
    value = 2.0 ** float(levels[-1, found.series])
    first_step = onset_step(state, found.pieces * since, moment)
    evidence = Evidence("weight_norm", value, value / 2.0**found.grown, ratio, "swelling", layer=layer)
    return [alarm_by("weight_blowup", first_step, evidence)]
