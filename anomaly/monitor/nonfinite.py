"""The hard rule: any NaN or infinity is an alarm at once, on a path no statistic is on, and its origin is named.

Origin, among what is non-finite in the same record: weights in some layers only, else the first layer in forward
order whose activation is, else the last in backward order whose incoming gradient is finite, and next to it the layer
that this gradient comes through, whose weights may be what is bad. What follows from it (all earlier layers' gradients,
all weights after the update) is not named first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_of
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import MAX_EVIDENCE, Evidence, Severity
from anomaly.monitor.meaning import Stage
from anomaly.monitor.series import WHOLE_MODEL, SeriesTable
from anomaly.monitor.state import RunState
from anomaly.records import NOT_MEASURED_BITS

SKIPS_BEFORE_WARNING = 10
_EXPONENT = np.uint32(0x7F800000)
_GROUPS = {"loss": "loss", "eval_loss": "loss", "grad_norm_total": "total", "update_ratio": "update"}
_STAGES = {Stage.WEIGHT: "weight", Stage.ACTIVATION: "activation", Stage.GRADIENT: "gradient"}


def nonfinite_slots(values: NDArray[np.float32], table: SeriesTable) -> NDArray[np.intp]:
    """Slots whose value is NaN or infinite, or is a positive count of non-finite values."""
    bits = values.view(np.uint32)
    bad = ((bits & _EXPONENT) == _EXPONENT) & (bits != NOT_MEASURED_BITS)
    if len(table.count_slots):
        bad[table.count_slots] |= values[table.count_slots] > 0
    return np.flatnonzero(bad)


def nonfinite_alarm(
    state: RunState, values: NDArray[np.float32], bad: NDArray[np.intp], moment: Moment, rank: int
) -> Alarm:
    """The alarm of one record's non-finite values. Updates how long the run has been non-finite."""
    kind, slots = _origin(state.table, values, bad)
    context = state.context
    severity = KINDS[kind].severity
    if kind == "nonfinite_gradient" and context.skipped:  # a loss scaler met an overflow and skipped the step
        severity = Severity.INFO
        if context.skipped >= SKIPS_BEFORE_WARNING:
            kind, severity = "loss_scale_collapse", KINDS["loss_scale_collapse"].severity
    first = context.nonfinite_step is None
    if severity is Severity.CRITICAL and context.nonfinite_step is None:
        context.nonfinite_step = moment.step
    # Later records only show how it spread, unless layers before the first bad activation are still good.
    named = first or context.nonfinite_step == moment.step or _begins_within(state.table, values, kind, slots)
    return alarm_of(
        kind,
        moment.step,
        tuple(_evidence(state, values, int(slot)) for slot in slots[:MAX_EVIDENCE]),
        _suspects(state.table, kind, slots) if named else (),
        (rank,) if named and state.multiple_ranks else (),
        severity,
    )


def _origin(
    table: SeriesTable, values: NDArray[np.float32], bad: NDArray[np.intp]
) -> tuple[str, NDArray[np.intp]]:
    """The kind and the bad slots that show it, most probable origin first."""
    groups: dict[str, list[int]] = {}
    for slot in bad.tolist():
        groups.setdefault(_group(table, slot), []).append(slot)
    losses, weights, gradients = (groups.get(name, []) for name in ("loss", "weight", "gradient"))
    if weights and not _everywhere(table, values, weights):
        return "nonfinite_weight", _forward(table, weights)
    if activations := groups.get("activation"):
        return "nonfinite_activation", _forward(table, activations)
    if gradients and not (losses and _everywhere(table, values, gradients)):
        return "nonfinite_gradient", _forward(table, gradients)[::-1]
    for kind, slots in (
        ("nonfinite_loss", losses),
        ("nonfinite_weight", weights),
        ("nonfinite_gradient", groups.get("total", [])),
        ("nonfinite_weight", groups.get("update", [])),  # an update is what a gradient made of it
    ):
        if slots:
            return kind, np.array(slots)
    return "nonfinite_unknown", np.array(groups["rest"])


def _group(table: SeriesTable, slot: int) -> str:
    signal = table.signal_name(slot)
    if signal in _GROUPS:
        return _GROUPS[signal]
    stage = table.meanings[table.slot_signal[slot]].stage
    return _STAGES.get(stage, "rest")


def _everywhere(table: SeriesTable, values: NDArray[np.float32], slots: list[int]) -> bool:
    """Whether every layer that reports the first slot's signal now is bad: that says nothing of an origin."""
    signal = table.slot_signal[slots[0]]
    measured = values.view(np.uint32) != NOT_MEASURED_BITS
    reporting = (table.slot_signal == signal) & (table.slot_layer != WHOLE_MODEL) & measured
    bad = sum(1 for slot in slots if table.slot_signal[slot] == signal)
    return 1 < int(np.count_nonzero(reporting)) <= bad


def _begins_within(
    table: SeriesTable, values: NDArray[np.float32], kind: str, slots: NDArray[np.intp]
) -> bool:
    return kind == "nonfinite_activation" and not _everywhere(table, values, slots.tolist())


def _forward(table: SeriesTable, slots: list[int]) -> NDArray[np.intp]:
    chosen = np.array(slots, np.intp)
    return chosen[np.argsort(table.slot_layer[chosen], kind="stable")]


def _suspects(table: SeriesTable, kind: str, slots: NDArray[np.intp]) -> tuple[str, ...]:
    """The layers of these slots; second, of gradients that are bad from one layer down, the layer behind that one."""
    layers = [int(layer) for layer in dict.fromkeys(table.slot_layer[slots].tolist()) if layer != WHOLE_MODEL]
    if kind == "nonfinite_gradient" and len(layers) > 1 and layers[0] + 1 < len(table.layers):
        layers.insert(1, layers[0] + 1)
    return tuple(table.layers[layer] for layer in layers)


def _evidence(state: RunState, values: NDArray[np.float32], slot: int) -> Evidence:
    reading = state.slab.describe(slot)
    expected = reading.expected if np.isfinite(reading.expected) and state.slab.learned(slot) else None
    return Evidence(
        statistic=state.table.signal_name(slot),
        value=float(values[slot]),
        expected=expected,
        score=1.0,
        detector="nonfinite",
        layer=state.table.layer_name(slot),
    )
