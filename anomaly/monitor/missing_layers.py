"""A layer that no longer reports, while most others go on (F49): absent for ten times the longest it was ever absent.

Looked for every 24 readings, not in every record: whether a layer reported since is read from how many readings the
slab has learned of its series. That misses what is measured and not learned (exact zeros, values that are not finite,
an alarm that lasts), so a layer found absent is a *suspect* first, and every message is then searched for it, once
more for as long as it was ever absent. Only a layer with no measured value in all of that is missed.

Quiet by these rules: statistics measured rarely, at evaluations or never (a layer must have been there for 300
readings); a layer that its layout no longer has; new layers in the place of old ones; half of the layers or more
leaving at once, which is another way of logging. A missed layer is told of once, and again after it has been back for
as long.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_of
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import MAX_EVIDENCE, Evidence
from anomaly.monitor.layer_looks import LayerLooks
from anomaly.monitor.rules import onset_step
from anomaly.monitor.series import WHOLE_MODEL, Placement
from anomaly.monitor.state import RunState
from anomaly.records import NOT_MEASURED_BITS, StepMessage

LOOK_READINGS = 24
INTERVALS = 10
KNOWN_READINGS = 300


def missing_layers(
    state: RunState, message: StepMessage, placement: Placement, moment: Moment
) -> list[Alarm]:
    """Take a message whose last record was just judged at `moment`; what is missed by now."""
    looks = state.looks
    if looks.suspects:
        _search(looks, state, message, placement)
    if state.readings < looks.due:
        return []
    passed = state.readings - looks.due + LOOK_READINGS
    looks.due = state.readings + LOOK_READINGS
    if len(looks.learned) != len(state.table.layers):
        looks.grow(len(state.table.layers))
        return []
    if _all_there(looks, state, passed):
        return []
    declared = None if message.layout is not None else _layers_of(state, placement)
    missed = _missed(looks, state.readings, declared)
    alarms = [_alarm(state, missed, moment)] if missed else []
    looks.seen[missed] = 0
    return alarms


def _all_there(looks: LayerLooks, state: RunState, passed: int) -> bool:
    """See which layers have learned anything in the `passed` readings since the last look; whether all have."""
    learned = state.slab.readings(state.table.slot_layer, len(looks.learned))
    there = learned != looks.learned
    looks.learned = learned
    if looks.absent.any():
        looks.returned(there)
    looks.seen[there] += passed
    if there.all():
        looks.suspects = {}
        return True
    looks.absent[~there] += passed
    return False


def _missed(looks: LayerLooks, reading: int, declared: NDArray[np.bool_] | None) -> list[int]:
    """The layers that are missed for certain by now. Others become suspects, or are let go."""
    limit = INTERVALS * np.maximum(looks.longest, LOOK_READINGS)
    known = looks.seen >= KNOWN_READINGS
    gone = known & (looks.absent >= limit)
    if not gone.any():
        looks.suspects = {}
        return []
    if declared is not None:
        looks.seen[gone & ~declared] = 0
        gone &= declared
    if 2 * np.count_nonzero(gone) >= np.count_nonzero(known):
        looks.seen[gone] = 0
        gone[:] = False
    suspects = {int(layer): looks.suspects.get(int(layer), reading) for layer in np.flatnonzero(gone)}
    missed = [
        layer
        for layer, since in suspects.items()
        if reading - since >= max(int(looks.longest[layer]), LOOK_READINGS)
    ]
    looks.suspects = {layer: since for layer, since in suspects.items() if layer not in missed}
    return missed


def _search(looks: LayerLooks, state: RunState, message: StepMessage, placement: Placement) -> None:
    """Let go the suspects of which this message has a measured value."""
    columns = (message.values.view(np.uint32) != NOT_MEASURED_BITS).any(axis=0)
    slots = placement.index[columns & (placement.index >= 0)]
    there = np.zeros(len(looks.learned), bool)
    layers = state.table.slot_layer[slots]
    there[layers[layers != WHOLE_MODEL]] = True
    looks.returned(there)
    looks.suspects = {layer: since for layer, since in looks.suspects.items() if not there[layer]}


def _layers_of(state: RunState, placement: Placement) -> NDArray[np.bool_]:
    layers = state.table.slot_layer[placement.index[placement.index >= 0]]
    declared = np.zeros(len(state.table.layers), bool)
    declared[layers[layers != WHOLE_MODEL]] = True
    return declared


def _alarm(state: RunState, missed: list[int], moment: Moment) -> Alarm:
    looks, layers = state.looks, state.table.layers
    first_step = onset_step(state, int(looks.absent[missed].min()), moment)
    evidence = tuple(_evidence(looks, layer, layers[layer]) for layer in missed[:MAX_EVIDENCE])
    return alarm_of("partial_telemetry", first_step, evidence, tuple(layers[layer] for layer in missed))


def _evidence(looks: LayerLooks, layer: int, name: str) -> Evidence:
    absent, usual = int(looks.absent[layer]), max(int(looks.longest[layer]), LOOK_READINGS)
    score = absent / (INTERVALS * usual)
    return Evidence("readings_absent", absent, usual, score, "missing_layer", name)
