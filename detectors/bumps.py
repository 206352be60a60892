"""Losses that stand far above their last readings: for logs in which one reading is many steps, and for what lasts.

Shift found: the last `lasting` readings are all higher than the 16 before them, by more than 10 of their deviations,
a sixth of the value, and 1.5 times anything the window has shown while healthy.

Formula, for a window of w_1 .. w_n = log2 of the last readings (at most 64, of which 32 must lie before the bump):

    ref    median of the 16 readings before the last `lasting`
    noise  the larger of median |w_i - w_(i-1)| / 0.954 and median |w_i - ref| / 0.6745 over those 16, at least FLOOR
    tail   the largest w_i - median of the 8 before it, over the readings before the last `lasting`
    rise   the smallest of the last `lasting` readings - ref
    ratio  = min(rise / (level noise), rise / EFFECT, rise / (1.5 tail))            a ratio of 1 or more is an alarm

Knobs: `level`, in deviations, from the budget (levels.py); `lasting`, in readings: 1 where a reading stands for many
steps.  False alarms: 2 in 442 public healthy runs (370,000 readings).
Sibling: the spike chart of kernel.py, whose reference is a fading mean: quicker, but a steep start stays in it.
Source: a Hampel filter, one-sided; own tails.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Bump", "bump"]

LEAST: Final = 32
REFERENCE: Final = 16
BEFORE: Final = 8
FLOOR: Final = 0.005
EFFECT: Final = 0.2
TAIL_FACTOR: Final = 1.5

Bump = tuple[float, float]
"""The ratio, and what was expected (in the readings' own unit)."""


def bump(x: NDArray[np.float32], level: float, lasting: int = 1, late: int = 0) -> Bump:
    """Judge the last readings of a window x: float32 [n], raw, oldest first. Non-finite and not positive are left out.

    late: a bump may have begun up to so many readings before the last `lasting`; for a window that is not looked at
    with every reading.
    """
    ratio, reference = _bump(x, level, lasting, late)
    return float(ratio), 2.0 ** min(float(reference), 1000.0)


@njit(cache=True, error_model="numpy")
def _bump(x: Any, level: float, lasting: int, late: int) -> tuple[float, float]:
    w = np.empty(x.size)
    n = 0
    for i in range(x.size):
        if x[i] > 0.0 and math.isfinite(x[i]):
            w[n] = math.log2(x[i])
            n += 1
    first = n - lasting - late
    if first < LEAST or not (x[x.size - 1] > 0.0 and math.isfinite(x[x.size - 1])):
        return 0.0, 0.0
    best, expected = 0.0, np.median(w[first - REFERENCE : first])
    if np.min(w[n - lasting : n]) - expected < EFFECT:
        return 0.0, expected
    for before in range(first, n - lasting + 1):
        ratio, reference = _judge(w[:before], np.min(w[before:n]), level)
        if ratio > best:
            best, expected = ratio, reference
    return best, expected


@njit(cache=True, error_model="numpy")
def _judge(w: Any, least: float, level: float) -> tuple[float, float]:
    """The least of the high readings against those before."""
    n = w.size
    reference = np.median(w[n - REFERENCE :])
    rise = least - reference
    if rise < EFFECT:
        return 0.0, reference
    steps = np.median(np.abs(w[1:] - w[:-1])) / 0.954
    spread = np.median(np.abs(w[n - REFERENCE :] - reference)) / 0.6745
    noise = max(steps, spread, FLOOR)
    tail = 0.0
    for i in range(BEFORE, n):
        tail = max(tail, w[i] - np.median(w[i - BEFORE : i]))
    return min(rise / (level * noise), rise / EFFECT, rise / (TAIL_FACTOR * tail + 1e-9)), reference
