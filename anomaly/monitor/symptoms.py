"""What else the suspected layers show while an incident is young: too little for an alarm, enough to tell its cause.

Weights are charted at every step and tightly, activations often at every tenth: a layer whose units die is first seen
as weights that jumped. So the other series of the first suspects, and of their block where a signal is about one
(attention, a router), are looked at in the first records of an incident, well below their alarm levels.

Updates as large as the change of their weights' norm are that change: somebody scales the weights, up or down. Updates
that are too large of themselves go elsewhere each time, and the norm hardly follows.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec.structs import replace

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.cause import block_of
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.origin import SCALING
from anomaly.incidents.transition import MAX_EVIDENCE, MAX_LAYERS_NAMED, Evidence, Severity
from anomaly.monitor.meaning import Stage
from anomaly.monitor.rules import onset_step
from anomaly.monitor.series import WHOLE_MODEL
from anomaly.monitor.state import RunState
from anomaly.records import MILLIONTHS, step_number

YOUNG_READINGS = 40
SUSPECTS = 2
SYMPTOM_Z = 5.0
"""Deviations from its reference at which a series shows something, given that its layer is suspected already."""
FEW = 3
"""One of so many layers, or less, makes a spike of the total one of layers."""
OF_BLOCK = ("attn_logit_max", "attn_entropy", "router_entropy")
TELLING = (Stage.WEIGHT, Stage.ACTIVATION)
ALONG = 0.5**0.5
"""The cosine of updates and weights from which on they lie along each other by the larger part, up or down."""


def symptoms(state: RunState, alarms: list[Alarm], moment: Moment) -> list[Alarm]:
    """Symptoms of the first suspects of this record's alarms and of young incidents, in the record just judged."""
    suspects = [layer for alarm in alarms if _is_charted(alarm.evidence) for layer in alarm.layers[:SUSPECTS]]
    for incident in state.book.open:
        if moment.reading - incident.first_reading <= YOUNG_READINGS and _is_charted(incident.evidence):
            suspects += incident.layers[:SUSPECTS]
    found: dict[str, Alarm] = {}
    for layer in dict.fromkeys(suspects):
        for symptom in _of_layer(state, layer, moment):
            if symptom.kind not in found or _change(symptom) > _change(found[symptom.kind]):
                found[symptom.kind] = symptom
        found |= {symptom.kind: symptom for symptom in _scaled(state, layer, moment)}
    if any(alarm.kind == "gradient_spike" and not alarm.layers for alarm in alarms):
        found.update(_few_layers(state, moment))
    known = {alarm.kind for alarm in alarms}
    return [each for kind, each in found.items() if kind not in known or each.evidence[0].detector == SCALING]


def _few_layers(state: RunState, moment: Moment) -> dict[str, Alarm]:
    """The layers whose gradients make a total that stands out, where they are few."""
    table, z = state.table, state.slab.z
    slots = table.slots_of(("grad_norm",))
    slots = slots[table.slot_layer[slots] != WHOLE_MODEL]
    out = slots[z[slots] >= SYMPTOM_Z]
    if not 0 < FEW * len(out) <= len(slots):
        return {}
    out = out[np.argsort(-z[out], kind="stable")]
    kind = "layer_gradient_spike"
    layers = tuple(table.layer_name(slot) or "" for slot in out[:MAX_LAYERS_NAMED].tolist())
    entries = tuple(_entry(state, slot, moment) for slot in out[:MAX_EVIDENCE].tolist())
    return {kind: Alarm(kind, Severity.INFO, moment.step, entries, layers, symptom=True)}


def _change(symptom: Alarm) -> float:
    """By how much it changed, log2; 0 where that is not to be said."""
    entry = symptom.evidence[0]
    ratio = entry.value / entry.expected if entry.expected else 1.0
    return abs(math.log2(ratio)) if 0 < ratio < math.inf else 0.0


def _is_charted(evidence: tuple[Evidence, ...] | list[Evidence]) -> bool:
    return bool(evidence) and evidence[0].detector in ("spike", "shift", "stray", "leap", "swelling")


def _scaled(state: RunState, layer: str, moment: Moment) -> list[Alarm]:
    """Whether the layer's weights grow or shrink by as much as they are updated, in a record that has both."""
    table, slab = state.table, state.slab
    weights, updates = table.slot_of(layer, "weight_norm"), table.slot_of(layer, "update_ratio")
    if weights is None or updates is None:
        return []
    norm, update = slab.describe(weights).value, slab.describe(updates).value
    steps = max((rank.interval for rank in state.ranks.values()), default=0) / MILLIONTHS
    if not (0 < norm < math.inf and 0 < update < math.inf and steps > 0):
        return []
    cosine = math.log(2) * slab.drift(weights) / steps / update
    if abs(cosine) < ALONG:
        return []
    entry = replace(_entry(state, weights, moment), score=abs(cosine) / ALONG, detector=SCALING)
    kind = "weight_blowup" if cosine > 0 else "variance_collapse"
    return [Alarm(kind, Severity.INFO, moment.step, (entry,), (layer,), symptom=True)]


def _of_layer(state: RunState, layer: str, moment: Moment) -> list[Alarm]:
    table, slab = state.table, state.slab
    block = block_of(layer)
    out = np.flatnonzero(np.abs(slab.z) >= SYMPTOM_Z)
    found = []
    for slot in out.tolist():
        name, signal = table.layer_name(slot), table.signal_name(slot)
        if name is None or not (name == layer or (signal in OF_BLOCK and block_of(name) == block)):
            continue
        meaning = table.meanings[table.slot_signal[slot]]
        reading = slab.describe(slot)
        kind = meaning.up if reading.z > 0 else meaning.down
        if kind is None or (meaning.stage not in TELLING and kind != "gradient_vanishing"):
            continue
        entry = _entry(state, slot, moment)
        first = onset_step(state, max(0, reading.since - 1), moment)
        found.append(Alarm(kind, Severity.INFO, first, (entry,), (layer,), symptom=True))
    return found


def _entry(state: RunState, slot: int, moment: Moment) -> Evidence:
    reading, table = state.slab.describe(slot), state.table
    first = onset_step(state, max(0, reading.since - 1), moment)
    return Evidence(
        table.signal_name(slot),
        reading.value,
        reading.expected,
        abs(reading.z) / SYMPTOM_Z,
        "symptom",
        table.layer_name(slot),
        step_number(first),
    )
