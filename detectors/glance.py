"""What a look at a window of readings needs to know before it looks more closely; no detector.

All at once and compiled: most windows hold nothing, and should cost next to nothing.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Glance", "Steps", "glance", "hastens", "steps_of"]

_PART = 16


class Glance(NamedTuple):
    """Of the positive, finite readings of a window, in log2: how many, and what they are."""

    readings: int
    median: float
    newest_most: float
    """Of the newest readings."""
    last_least: float
    """Of the last `last` readings."""
    last_median: float
    change: float
    """The mean of |difference| from reading to reading."""


class Steps(NamedTuple):
    """How a positive series goes from reading to reading, as factors."""

    readings: int
    least: float
    most: float
    rising: int
    """Readings at the end that are each above the one before."""
    last: float


def glance(x: NDArray[np.float32], newest: int, last: int) -> Glance:
    """Of x float32 [n], raw; 0.0 for what there are no readings of."""
    return Glance(*_glance(x, newest, last))


def steps_of(x: NDArray[np.float32]) -> Steps:
    """Of x float32 [n], raw; non-finite and not positive readings are left out."""
    return Steps(*_steps_of(x))


def hastens(x: NDArray[np.float32]) -> bool:
    """Whether x (float32 [n], raw) falls twice as fast in its later half as in its earlier, and beyond its noise."""
    w = np.log2(x[np.isfinite(x) & (x > 0)].astype(np.float64))
    if len(w) < 3 * _PART:
        return False
    first, middle, last = (
        float(np.median(part)) for part in (w[:_PART], w[len(w) // 2 - _PART // 2 :][:_PART], w[-_PART:])
    )
    noise = float(np.median(np.abs(np.diff(w)))) / 0.954
    return middle - last > max(2.0 * (first - middle), noise)


@njit(cache=True, error_model="numpy")
def _glance(x: Any, newest: int, last: int) -> tuple[int, float, float, float, float, float]:
    w = np.empty(x.size)
    n, fresh = 0, 0
    for i in range(x.size):
        if x[i] > 0.0 and math.isfinite(x[i]):
            w[n] = math.log2(x[i])
            n += 1
            fresh += i >= x.size - newest
    if n == 0 or fresh == 0:
        return 0, 0.0, 0.0, 0.0, 0.0, 0.0
    w = w[:n]
    end = w[max(0, n - last) :]
    return (
        n,
        np.median(w),
        np.max(w[n - fresh :]),
        np.min(end),
        np.median(end),
        np.mean(np.abs(w[1:] - w[:-1])),
    )


@njit(cache=True, error_model="numpy")
def _steps_of(x: Any) -> tuple[int, float, float, int, float]:
    n, before, least, most, rising = 0, 0.0, 1.0, 1.0, 0
    for i in range(x.size):
        value = np.float64(x[i])
        if not (value > 0.0 and math.isfinite(value)):
            continue
        if n > 0:
            least = min(least, value / before)
            most = max(most, value / before)
            rising = rising + 1 if value > before else 0
        before = value
        n += 1
    return n, least, most, rising, before
