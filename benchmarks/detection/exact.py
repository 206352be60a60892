"""Faults that are there or not, without a test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.labels import Fault
from benchmarks.detection.series import RankSeries

IN_A_ROW = 3
_NONFINITE = frozenset(
    ("nonfinite_loss", "nonfinite_gradient", "nonfinite_activation", "nonfinite_weight", "nonfinite_unknown")
)
_STRUCTURE = frozenset(("run_silent", "partial_telemetry", "duplicate_run", "resize"))
"""Records missing or doubled: who made the fault saw to it."""


def exactly_there(fault: Fault, ranks: Sequence[RankSeries]) -> bool | None:
    """Whether an exact fault is in the records within its budget; None for a fault that needs a test."""
    if fault.kind in _STRUCTURE:
        return True
    if fault.kind in _NONFINITE:
        return any(_nonfinite(fault, each) for each in ranks)
    if fault.kind == "gradient_dead":
        return any(_zero_or_gone(fault, each, "grad_norm") for each in ranks)
    if fault.kind == "weights_frozen":
        return any(_zero_or_gone(fault, each, "update_ratio") or _hash_stuck(fault, each) for each in ranks)
    if fault.kind == "repeated_batch":
        return any(_repeated(fault, each, name) for each in ranks for name in ("loss", "input_hash"))
    if fault.kind == "replica_divergence":
        return _differ(fault, ranks)
    return None


def _window(fault: Fault, series: RankSeries) -> NDArray[np.bool_]:
    return (series.steps >= fault.onset_step) & (series.steps <= fault.deadline)


def _nonfinite(fault: Fault, series: RankSeries) -> bool:
    window = _window(fault, series)
    return any(
        bool((~np.isfinite(values[window]) & series.measured[name][window]).any())
        or (name.endswith("nonfinite") and bool((values[window] > 0).any()))
        for name, values in series.values.items()
    )


def _zero_or_gone(fault: Fault, series: RankSeries, signal: str) -> bool:
    """Exactly 0 in three readings in a row, or no longer measured, in the true layer; in any where all are meant."""
    layers = (fault.layer,) if fault.layer else series.layers
    return any(_zero_in(fault, series, signal, layer) for layer in layers)


def _zero_in(fault: Fault, series: RankSeries, signal: str, layer: str) -> bool:
    steps, values = series.column(signal, layer)
    if not len(steps):
        return False
    after = values[(steps >= fault.onset_step) & (steps <= fault.deadline)]
    return len(after) == 0 or _longest(after == 0) >= min(IN_A_ROW, len(after))


def _hash_stuck(fault: Fault, series: RankSeries) -> bool:
    return _repeated(fault, series, "weight_hash")


def _repeated(fault: Fault, series: RankSeries, signal: str) -> bool:
    steps, values = series.column(signal)
    after = values[(steps >= fault.onset_step) & (steps <= fault.deadline)]
    return _longest(np.diff(after) == 0) >= IN_A_ROW - 1


def _differ(fault: Fault, ranks: Sequence[RankSeries]) -> bool:
    seen: dict[float, set[float]] = {}
    for series in ranks:
        for step, value in zip(*series.column("weight_hash"), strict=True):
            if fault.onset_step <= step <= fault.deadline:
                seen.setdefault(float(step), set()).add(float(value))
    return any(len(values) > 1 for values in seen.values())


def _longest(true: NDArray[np.bool_]) -> int:
    """The longest row of True."""
    longest = row = 0
    for each in true.tolist():
        row = row + 1 if each else 0
        longest = max(longest, row)
    return longest
