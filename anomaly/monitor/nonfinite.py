"""The hard rule: any NaN or infinity is an alarm at once, on a path no statistic is on, and its origin is named.

Origin, among what is non-finite in the same record: weights in some layers only, else the first layer in forward
order whose activation is, else the last in backward order whose incoming gradient is finite. What follows from it
(all earlier layers' gradients, all weights after the update) is not named first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.book import Moment
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import MAX_EVIDENCE, MAX_LAYERS_NAMED, Evidence, Severity
from anomaly.monitor.meaning import Stage
from anomaly.monitor.series import WHOLE_MODEL, SeriesTable
from anomaly.monitor.state import RunState
from anomaly.records import NOT_MEASURED_BITS, step_number

SKIPS_BEFORE_WARNING = 10
_EXPONENT = np.uint32(0x7F800000)
_LOSSES = frozenset(("loss", "eval_loss"))
_NORMS = frozenset(("grad_norm_total",))


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
    kind, slots = _origin(state.table, bad)
    context = state.context
    severity = KINDS[kind].severity
    if kind == "nonfinite_gradient" and context.skipped:  # a loss scaler met an overflow and skipped the step
        severity = Severity.INFO
        if context.skipped >= SKIPS_BEFORE_WARNING:
            kind, severity = "loss_scale_collapse", KINDS["loss_scale_collapse"].severity
    first = context.nonfinite_step is None
    if severity is Severity.CRITICAL and context.nonfinite_step is None:
        context.nonfinite_step = moment.step
    at_onset = first or context.nonfinite_step == moment.step  # later records only show how it spread
    return Alarm(
        kind=kind,
        severity=severity,
        first_step=moment.step,
        layers=_names(state.table, slots) if at_onset else (),
        ranks=(rank,) if at_onset and state.multiple_ranks else (),
        evidence=tuple(_evidence(state, values, int(slot), moment) for slot in slots[:MAX_EVIDENCE]),
    )


def _origin(table: SeriesTable, bad: NDArray[np.intp]) -> tuple[str, NDArray[np.intp]]:
    """The kind and the bad slots that show it, most probable origin first."""
    stages: dict[Stage, list[int]] = {}
    losses, totals, rest = [], [], []
    for slot in bad.tolist():
        signal = table.signal_name(slot)
        stage = table.meanings[table.slot_signal[slot]].stage
        if signal in _LOSSES:
            losses.append(slot)
        elif signal in _NORMS:
            totals.append(slot)
        elif stage in (Stage.WEIGHT, Stage.ACTIVATION, Stage.GRADIENT):
            stages.setdefault(stage, []).append(slot)
        else:
            rest.append(slot)
    weights = stages.get(Stage.WEIGHT, [])
    if weights and not _everywhere(table, weights):
        return "nonfinite_weight", _forward(table, weights)
    if activations := stages.get(Stage.ACTIVATION):
        return "nonfinite_activation", _forward(table, activations)
    gradients = stages.get(Stage.GRADIENT, [])
    if gradients and not (losses and _everywhere(table, gradients)):
        return "nonfinite_gradient", _forward(table, gradients)[::-1]
    for kind, slots in (
        ("nonfinite_loss", losses),
        ("nonfinite_weight", weights),
        ("nonfinite_gradient", totals),
    ):
        if slots:
            return kind, np.array(slots)
    return "nonfinite_unknown", np.array(rest)


def _everywhere(table: SeriesTable, slots: list[int]) -> bool:
    """Whether every layer that has the signal of the first slot is among these slots: says nothing about an origin."""
    signal = table.slot_signal[slots[0]]
    having = np.count_nonzero((table.slot_signal == signal) & (table.slot_layer != WHOLE_MODEL))
    bad = sum(1 for slot in slots if table.slot_signal[slot] == signal)
    return int(having) > 1 and bad >= int(having)


def _forward(table: SeriesTable, slots: list[int]) -> NDArray[np.intp]:
    chosen = np.array(slots, np.intp)
    return chosen[np.argsort(table.slot_layer[chosen], kind="stable")]


def _names(table: SeriesTable, slots: NDArray[np.intp]) -> tuple[str, ...]:
    names = (table.layer_name(int(slot)) for slot in slots)
    return tuple(dict.fromkeys(name for name in names if name is not None))[:MAX_LAYERS_NAMED]


def _evidence(state: RunState, values: NDArray[np.float32], slot: int, moment: Moment) -> Evidence:
    reading = state.slab.describe(slot)
    expected = reading.expected if np.isfinite(reading.expected) and state.slab.learned(slot) else None
    return Evidence(
        statistic=state.table.signal_name(slot),
        value=float(values[slot]),
        expected=expected,
        score=1.0,
        detector="nonfinite",
        layer=state.table.layer_name(slot),
        since_step=step_number(moment.step),
    )
