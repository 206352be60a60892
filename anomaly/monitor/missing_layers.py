"""A layer that no longer reports, while most others go on (F49): absent for ten of its own intervals.

An interval is how many readings of the run there are to one that all the layer's series learn of, on the average, or
for how long the layer was ever absent, if that is more.

Looked for every 24 readings (8 where they are rare), not in every record: whether a layer reported since is read from
what its series have left behind in the slab. That misses values that are not finite, so a layer found absent is a
*suspect* first, and every message is then searched for it, once more for as long as it was ever absent. Only a layer
with no measured value in all of that is missed.

Quiet by these rules: statistics measured rarely, at evaluations or never (a layer must have been there for 144 steps,
and two looks); a layer that its layout no longer has; new layers in the place of old ones; half of the layers or more
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
from detectors.slab import SPARSE_STEPS

LOOK_READINGS, RARE_READINGS = 24, 8
"""From one look to the next; where readings stand for many steps."""
INTERVALS = 10
KNOWN_STEPS = 144.0
"""A layer that was there for so long is expected to stay; some are logged densely for a start only."""
LOOKS = 2
"""For so many it must have been there at the least, and be away."""


def missing_layers(
    state: RunState, message: StepMessage, placement: Placement, moment: Moment, steps: float
) -> list[Alarm]:
    """Take a message whose last record was just judged at `moment`; what is missed by now.

    steps: optimiser steps from one of the run's readings to the next.
    """
    looks = state.looks
    if looks.suspects:
        _search(looks, state, message, placement)
    if state.readings < looks.due:
        return []
    look = RARE_READINGS if steps >= SPARSE_STEPS else LOOK_READINGS
    passed = state.readings - looks.due + look
    looks.due = state.readings + look
    if len(looks.learned) != len(state.table.layers):
        looks.grow(len(state.table.layers))
        return []
    if _all_there(looks, state, passed):
        return []
    declared = None if message.layout is not None else _layers_of(state, placement)
    known = looks.seen >= max(KNOWN_STEPS / max(steps, 1.0), LOOKS * look)
    limit = _limit(looks, state, look)
    missed = _missed(looks, state.readings, known, limit, limit - look, declared)
    alarms = [_alarm(state, missed, limit, moment)] if missed else []
    looks.seen[missed] = 0
    return alarms


def _all_there(looks: LayerLooks, state: RunState, passed: int) -> bool:
    """See of which layers anything was measured in the `passed` readings since the last look; whether of all."""
    learned, left = state.slab.readings(state.table.slot_layer, len(looks.learned))
    there = (learned != looks.learned) | (left != looks.left)
    looks.learned, looks.left = learned.astype(np.int32), left
    if looks.absent.any():
        looks.returned(there)
    looks.seen[there] += passed
    if there.all():
        looks.suspects = {}
        return True
    looks.absent[~there] += passed
    return False


def _limit(looks: LayerLooks, state: RunState, look: int) -> NDArray[np.int64]:
    """For how many readings in a row each layer may be absent."""
    series = np.bincount(state.table.slot_layer + 1, minlength=len(looks.learned) + 1)[1:]
    interval = np.minimum(looks.seen * series / np.maximum(looks.learned, 1.0), look)
    longest = np.maximum(looks.longest, np.ceil(interval)).astype(np.int64)
    limit: NDArray[np.int64] = np.maximum(INTERVALS * longest, LOOKS * look)
    return limit


def _missed(
    looks: LayerLooks,
    reading: int,
    known: NDArray[np.bool_],
    limit: NDArray[np.int64],
    suspicious: NDArray[np.int64],
    declared: NDArray[np.bool_] | None,
) -> list[int]:
    """Of the known layers those that are missed for certain by now. Others become suspects, or are let go."""
    gone = known & (looks.absent >= suspicious)
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
        if looks.absent[layer] >= limit[layer] and reading - since >= looks.longest[layer]
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


def _alarm(state: RunState, missed: list[int], limit: NDArray[np.int64], moment: Moment) -> Alarm:
    looks, layers = state.looks, state.table.layers
    first_step = onset_step(state, int(looks.absent[missed].min()), moment)
    evidence = []
    for layer in missed[:MAX_EVIDENCE]:
        absent, most = int(looks.absent[layer]), int(limit[layer])
        evidence.append(
            Evidence(
                "readings_absent", absent, most // INTERVALS, absent / most, "missing_layer", layers[layer]
            )
        )
    return alarm_of(
        "partial_telemetry", first_step, tuple(evidence), tuple(layers[layer] for layer in missed)
    )
