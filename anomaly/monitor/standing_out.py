"""Ranks that stand out by far in several comparisons in a row: known before what is usual of them is (F45, F47)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_of
from anomaly.incidents.transition import MAX_EVIDENCE, Evidence
from anomaly.monitor.peer_columns import Columns, Compared, Floats
from anomaly.monitor.state import RunState
from detectors.consensus import apart_from_peers

IN_A_ROW = 5
SLOWER = 2.0
"""A rank that was never anything else is a straggler from this ratio to its peers' median on."""
LARGER, LARGER_SHARE = 2.0, 0.75
"""log2: a rank's gradients that are four times its peers', in so many of the layers, are of no data."""


def far_behind(
    state: RunState,
    numbers: list[int],
    groups: list[NDArray[np.intp]],
    seconds: NDArray[np.float32],
    step: int,
) -> list[Alarm]:
    """A rank's own step time well above its peers' median.

    groups: rows of the ranks in equal places.  seconds: float32 [ranks].
    """
    if not np.isfinite(seconds).all() or not (seconds > 0).all():
        return []
    slow: list[int] = []
    worst, typical = 0.0, 1.0
    for group in groups:
        median = float(np.median(seconds[group])) if len(group) > 2 else float(seconds[group].min())
        slow += [numbers[at] for at in group if seconds[at] > SLOWER * median]
        if seconds[group].max() / median > worst / typical:
            worst, typical = float(seconds[group].max()), median
    lasting = in_a_row(state, "seconds", numbers, slow, IN_A_ROW)
    if not lasting or len(lasting) * 2 > len(numbers):
        return []
    evidence = Evidence("step_seconds", worst, typical, worst / typical, "peers")
    return [alarm_of("straggler", step, (evidence,), (), tuple(lasting))]


def far_larger(
    state: RunState,
    numbers: list[int],
    groups: list[NDArray[np.intp]],
    columns: Columns,
    y: Floats,
    step: int,
) -> Alarm | None:
    """A rank's gradients far above its peers' in most layers.

    groups: rows of the ranks in equal places; of two, nobody knows which is out.  y: log2, float64 [ranks, columns].
    """
    of_gradients = columns.of(Compared.GRADIENT)
    away = apart_from_peers(y[:, of_gradients], [group for group in groups if len(group) > 2])
    measured = np.maximum(np.isfinite(away).sum(axis=1), 1)
    out = (away >= LARGER).sum(axis=1) >= LARGER_SHARE * measured
    lasting = in_a_row(state, "gradients", numbers, [numbers[at] for at in np.flatnonzero(out)], IN_A_ROW)
    if not lasting or len(lasting) * 2 > len(numbers):
        return None
    lead = max((numbers.index(number) for number in lasting), key=lambda at: float(np.nanmedian(away[at])))
    order = np.argsort(-np.nan_to_num(away[lead]), kind="stable")[:MAX_EVIDENCE]
    evidence = tuple(
        Evidence(
            columns.statistics[column],
            2.0 ** float(y[lead, column]),
            2.0 ** float(y[lead, column] - by),
            float(by) / LARGER,
            "peers",
            columns.layers[column],
        )
        for column, by in zip(of_gradients[order].tolist(), away[lead, order].tolist(), strict=True)
    )
    return alarm_of("rank_gradient_outlier", step, evidence, (), tuple(lasting))


def in_a_row(state: RunState, name: str, numbers: list[int], standing: list[int], needed: int) -> list[int]:
    """Ranks that stood out in the last `needed` comparisons; a comparison that a rank was not in says nothing of it."""
    flat = state.peer_runs.get(name, [])
    if not standing and not flat:
        return []
    runs = dict(zip(flat[::2], flat[1::2], strict=True))
    out = set(standing)
    for number in numbers:
        if number in out:
            runs[number] = runs.get(number, 0) + 1
        else:
            runs.pop(number, None)
    state.peer_runs[name] = [entry for number in sorted(runs) for entry in (number, runs[number])]
    return [number for number in standing if runs[number] >= needed]
