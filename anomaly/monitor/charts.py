"""From the slab's verdicts to alarms: which kind, how sure, which layers first, with what evidence.

Many series of one record may be out at once; they become one alarm per kind. A level that moved (CUSUM) is lasting by
its nature. A spike is first a remark (`info`) and an alarm a person hears of once it has lasted: one that comes back
is benign in every training run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_of
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import MAX_EVIDENCE, Evidence, Severity
from anomaly.monitor.kin import FEW_WEIGHTS_CAUTION, are_next_to_nothing
from anomaly.monitor.learning import what_learns
from anomaly.monitor.matters import matters
from anomaly.monitor.meaning import Stage
from anomaly.monitor.rules import onset_step
from anomaly.monitor.series import WHOLE_MODEL, SeriesTable
from anomaly.monitor.state import Excursion, RunState
from anomaly.monitor.vectors import VECTOR_CAUTION
from anomaly.records import MILLIONTHS, step_number
from detectors.siblings import apart
from detectors.slab import readings_that_last

LASTING_STEPS = 5
"""A spike that is back within this many optimiser steps is transient."""
OF_LAYERS = "layer_gradient_spike"
"""Three readings of it are enough: a bad batch, which is soon over, moves most layers."""
GAP_READINGS = 2
"""An excursion survives this many readings without its alarm."""
BROAD_SHARE = 0.5
MOVED_Z = 3.0
"""A layer whose gradient is this many deviations up has moved with the others, if it is no alarm by itself."""
LEAPT_Z, MOST = 6.0, 0.7
"""A layer that is so many deviations up, and so much of the whole gradient's norm, is what made that leap."""
WEAK_SUSPECT = 0.25
"""A suspect whose statistic is below this share of the strongest one's is named after the others."""
ROUTED_CAUTION = 2.0
"""A part of a mixture of experts gets what its router sends it, and learns by that: it needs twice the evidence."""
LEARNING_CAUTION = 2.0


@dataclass(slots=True)
class Finding:
    """The slots that speak for one kind in one record."""

    kind: str
    stage: Stage
    slots: NDArray[np.intp]
    ratios: NDArray[np.float32]
    """float32 [slots]: the stronger chart's statistic over its alarm level, by magnitude."""
    lasting: bool
    """Whether a chart of levels is among them."""


def chart_alarms(state: RunState, moment: Moment, steps: float) -> list[Alarm]:
    """Alarms of the record just judged by `state.slab`, those nearest to a cause first; it stands for `steps`."""
    findings = sorted(_findings(state), key=lambda finding: finding.stage)
    return [_alarm(state, finding, moment, steps) for finding in findings]


def _findings(state: RunState) -> list[Finding]:
    slab, table = state.slab, state.table
    spike, shift = slab.spike, slab.shift
    top = np.where(np.abs(spike) >= np.abs(shift), spike, shift)
    small = slab.small.copy()
    care = _care(state, top, small)
    top /= care
    small /= care
    small[table.routed_slots] = 0.0
    if state.context.lr is None:  # a schedule moves all; what some do by themselves leaps and strays find
        top[table.update_slots] = small[table.update_slots] = 0.0
    by_kind: dict[str, list[int]] = {}
    _add(state, by_kind, np.flatnonzero(np.abs(top) >= 1).tolist(), top)
    _settle_breadth(state, by_kind, top)
    alone = _alone(state, np.flatnonzero((np.abs(small) >= 1) & (np.abs(top) < 1)))
    top[alone] = small[alone]
    _add(state, by_kind, alone, top)
    findings = []
    for kind, members in by_kind.items():
        slots = np.array(members, np.intp)
        stage = min(table.meanings[table.slot_signal[slot]].stage for slot in members)
        lasting = bool((np.abs(shift[slots]) > np.abs(spike[slots])).any())
        findings.append(Finding(kind, stage, slots, np.abs(top[slots]), lasting))
    return findings


def _care(state: RunState, top: NDArray[np.float32], small: NDArray[np.float32]) -> NDArray[np.float32]:
    """By how much each slot's ratios (float32 [slots]) must be larger: what else than a fault may have moved it."""
    table, care = state.table, np.ones_like(top)
    care[what_learns(state, top)] *= LEARNING_CAUTION
    care[table.output_slots] *= LEARNING_CAUTION
    care[table.routed_slots] *= ROUTED_CAUTION
    care[table.vector_slots] *= VECTOR_CAUTION
    out = np.flatnonzero(np.maximum(top, np.abs(small)) >= 1)
    for slot in np.intersect1d(out, table.weight_slots).tolist():
        if are_next_to_nothing(state, slot):
            care[slot] *= FEW_WEIGHTS_CAUTION
    return care


def _add(state: RunState, by_kind: dict[str, list[int]], slots: list[int], top: NDArray[np.float32]) -> None:
    """Sort these slots, whose signed ratios are in `top`, by the kind that each speaks for, if it matters."""
    table = state.table
    for slot in slots:
        meaning = table.meanings[table.slot_signal[slot]]
        kind = meaning.up if top[slot] > 0 else meaning.down
        if kind is not None and matters(state, slot, kind, meaning.least_change):
            by_kind.setdefault(kind, []).append(slot)


def _alone(state: RunState, slots: NDArray[np.intp]) -> list[int]:
    """Those of the slots that moved a little while the same signal of other layers stayed."""
    table, found = state.table, []
    slots = slots[table.slot_layer[slots] != WHOLE_MODEL]
    for signal in np.unique(table.slot_signal[slots]).tolist():
        of_signal = slots[table.slot_signal[slots] == signal]
        found += of_signal[apart(state.slab, of_signal, table.slots_of((table.signals[signal],)))].tolist()
    return sorted(found)


def _carriers(state: RunState, total: int, top: NDArray[np.float32]) -> list[int]:
    """The layer whose gradient is most of a total that leapt, where it leapt by itself; as far out as the total is."""
    norms, slab = state.table.slots_of(("grad_norm",)), state.slab
    norms = norms[state.table.slot_layer[norms] != WHOLE_MODEL]
    whole, leapt = slab.describe(total), norms[slab.z[norms] >= LEAPT_Z]
    found = [slot for slot in leapt.tolist() if slab.describe(slot).value >= MOST * whole.value]
    top[found] = np.maximum(top[found], top[total])
    return found


def _settle_breadth(state: RunState, by_kind: dict[str, list[int]], top: NDArray[np.float32]) -> None:
    """One gradient finding, not two: of the whole model when most layers moved, of the layers when only some did."""
    of_layers, total = by_kind.get("layer_gradient_spike"), by_kind.get("gradient_spike", [])
    if not (of_layers or total):
        return
    table = state.table
    gradients = table.slots_of(("grad_norm", "grad_absmax"))
    moved = {int(table.slot_layer[slot]) for slot in gradients if state.slab.z[slot] >= MOVED_Z}
    having = len(np.unique(table.slot_layer[gradients]))
    broad = len(moved) >= max(2, BROAD_SHARE * having)
    if not of_layers:
        of_layers = [] if broad else _carriers(state, total[0], top)
        if not of_layers:
            return
    by_kind.pop("gradient_spike", None)
    if broad:
        del by_kind["layer_gradient_spike"]
        by_kind["gradient_spike"] = of_layers + total
    else:
        by_kind["layer_gradient_spike"] = of_layers + total


def _alarm(state: RunState, finding: Finding, moment: Moment, steps: float) -> Alarm:
    order = _suspects_first(state.table, finding)
    slots, ratios = finding.slots[order], finding.ratios[order]
    lead = int(slots[0])
    first_step = _onset(state, lead, moment, steps)
    severity = KINDS[finding.kind].severity
    if not _lasts(state, finding, first_step, moment, steps):
        severity = Severity.INFO
    names = (state.table.layer_name(int(slot)) for slot in slots)
    layers = tuple(dict.fromkeys(name for name in names if name is not None))
    evidence = tuple(
        _evidence(state, int(slot), float(ratio), moment, steps)
        for slot, ratio in zip(slots[:MAX_EVIDENCE], ratios[:MAX_EVIDENCE], strict=True)
    )
    kind = (
        "loss_spike_transient" if severity is Severity.INFO and finding.stage is Stage.LOSS else finding.kind
    )
    return alarm_of(kind, first_step, evidence, layers, severity=severity)


def _suspects_first(table: SeriesTable, finding: Finding) -> NDArray[np.intp]:
    """Order by cause: activations spread forward, gradients backward; elsewhere the strongest first. Weak ones last."""
    layers = table.slot_layer[finding.slots]
    weak = finding.ratios < WEAK_SUSPECT * finding.ratios.max()
    whole_model = layers == WHOLE_MODEL
    if finding.stage is Stage.ACTIVATION:
        depth = layers.astype(np.float64)
    elif finding.stage is Stage.GRADIENT:
        depth = -layers.astype(np.float64)
    else:
        depth = -finding.ratios.astype(np.float64)
    return np.lexsort((depth, weak, whole_model))


def _lasts(state: RunState, finding: Finding, first_step: int, moment: Moment, steps: float) -> bool:
    """Whether the finding has lasted long enough for a person to hear of it. Remembers the excursion."""
    excursions = state.excursions
    excursion = excursions.get(finding.kind)
    if excursion is None or moment.reading - excursion.last_reading > GAP_READINGS + _cadence(
        state, finding.slots
    ):
        excursion = excursions[finding.kind] = Excursion(first_step, moment.reading)
    excursion.last_reading = moment.reading
    since = abs(moment.step - excursion.first_step) / MILLIONTHS
    return finding.lasting or finding.kind == OF_LAYERS or max(since, steps) >= LASTING_STEPS


def _cadence(state: RunState, slots: NDArray[np.intp]) -> int:
    """Readings of the run per reading of these series: 1 where they are in every record."""
    learned = max(state.slab.learned(int(slot)) for slot in slots[:MAX_EVIDENCE])
    return max(1, round(state.readings / learned)) if learned else 1


def _onset(state: RunState, slot: int, moment: Moment, steps: float) -> int:
    readings = (
        readings_that_last(steps) - 1
        if abs(state.slab.spike[slot]) >= abs(state.slab.shift[slot])
        else max(0, state.slab.describe(slot).since - 1)
    )
    return onset_step(state, readings * _cadence(state, np.array([slot])), moment)


def _evidence(state: RunState, slot: int, ratio: float, moment: Moment, steps: float) -> Evidence:
    reading = state.slab.describe(slot)
    return Evidence(
        statistic=state.table.signal_name(slot),
        value=reading.value,
        expected=reading.expected,
        score=ratio,
        detector="spike" if abs(state.slab.spike[slot]) >= abs(state.slab.shift[slot]) else "shift",
        layer=state.table.layer_name(slot),
        since_step=step_number(_onset(state, slot, moment, steps)),
    )
