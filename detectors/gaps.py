"""Levels that jump out of all there was of late: for series whose noise hides even a tenfold jump from any deviation.

Shift found: a few readings in a row all far above each of the 48 before them. Gradients of policies and of small
batches vary tenfold from reading to reading; then a jump by fifty is a few deviations, of which the charts of kernel.py
ask for a dozen. That no reading of many came near says more.

Formula, for w_1 .. w_n = log2 of the readings of a window that are positive:

    gap_e = min of the `lasting` readings up to e - max of the SPAN before them    of e among the newest, LEAST before
    ratio = the largest gap_e / EFFECT

A ratio of 1 or more is an alarm.  A drift, however steep, leaves no gap.
Knobs: `lasting`, in readings.  False alarms: none in a million steps of 650 small healthy runs; layers that were
unfrozen unannounced came nearest.
Sibling: leaps.py, of three readings before, where series have no noise; kernel.py, in deviations.
Source: the gap between order statistics, Dixon 1950.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["EFFECT", "LEAST", "Gap", "gap"]

SPAN: Final = 48
LEAST: Final = 32
"""Readings before; fewer tell nothing."""
EFFECT: Final = 1.6
"""log2: three times the largest there was."""


class Gap(NamedTuple):
    """By how much (log2), the least of the high readings and the largest before, and how many ago they began."""

    by: float
    value: float
    before: float
    readings: int


def gap(x: NDArray[np.float32], newest: int, lasting: int, floor: float = 0.0) -> Gap:
    """The largest gap in a window x: float32 [n], raw, oldest first, that ends among the `newest` readings.

    floor: what counts as the largest before, at the least.
    """
    by, high, before, readings = _gap(x, newest, lasting, math.log2(floor) if floor > 0 else -math.inf)
    return Gap(by, 2.0**high, 2.0**before, readings)


@njit(cache=True, error_model="numpy")
def _gap(x: Any, newest: int, lasting: int, floor: float) -> tuple[float, float, float, int]:
    w = np.empty(x.size)
    n, new = 0, 0
    for i in range(x.size):
        if x[i] > 0.0 and math.isfinite(x[i]):
            w[n] = math.log2(x[i])
            n += 1
            new += i >= x.size - newest
    by, value, largest, ago = 0.0, 0.0, 0.0, 0
    for end in range(max(n - new + 1, LEAST + lasting), n + 1):
        low, first = np.min(w[end - lasting : end]), end - lasting
        before = floor
        if low > before:
            before = max(before, np.max(w[max(0, first - SPAN) : first]))
        if low - before > by:
            by, value, largest, ago = low - before, low, before, n - first
    return by, value, largest, ago
