"""A loss that falls off a cliff, or whose noise dies: a leak of the targets, a loader stuck on what it gave before.

Shift found: `fallen`, the last readings are all below the 24 before them by half, by 10 of their deviations, and by 1.5
times more than anything the window fell before; `still`, the loss hardly moves from reading to reading any more.

Formula, for a window of w = log2 of the last readings, k the last `lasting` of them, b those before:

    fallen   drop = median b[-24:] - max k;  noise = the larger of median |w_i - w_(i-1)| / 0.954 and the median
             absolute deviation / 0.6745 of b[-24:];  fall = the largest median of 8 of b - the reading after it
             ratio = min(drop / EFFECT, drop / (level noise), drop / (1.5 fall))
    still    s = median |second difference| over k, t the same over each 8 of those before the last 28
             died = log2(min t / s);  ratio = died / DIED

A ratio of 1 or more is an alarm.  Knobs: `level` in deviations, from the budget.  False alarms:
tests/detectors/test_quiet.py.  Sibling: bumps.py upwards.  Source: a Hampel filter; the variance of differences.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["LEAST", "fallen", "still"]

LEAST: Final = 40
REFERENCE: Final = 24
EFFECT: Final = 1.0
TAIL_FACTOR: Final = 1.5
BLOCK: Final = 8
DIED: Final = 4.0
STILL: Final = 12
"""Readings that must be still."""
LATE: Final = 16
"""It may have been still for so many readings more."""
_TINY: Final = 1e-6


def fallen(x: NDArray[np.float32], level: float, lasting: int, late: int = 0) -> float:
    """The ratio of the fall; x float32 [n], raw, oldest first. Non-finite and not positive readings are left out.

    late: it may have begun up to so many readings before the last `lasting`.
    """
    return float(_fallen(x, level, lasting, late))


def still(x: NDArray[np.float32]) -> float:
    """The ratio for noise that died; x as in `fallen`."""
    return float(_still(x))


@njit(cache=True, error_model="numpy")
def _log2(x: Any) -> Any:
    w = np.empty(x.size)
    n = 0
    for i in range(x.size):
        if x[i] > 0.0 and math.isfinite(x[i]):
            w[n] = math.log2(x[i])
            n += 1
    return w[:n]


@njit(cache=True, error_model="numpy")
def _fallen(x: Any, level: float, lasting: int, late: int) -> float:
    w = _log2(x)
    first = w.size - lasting - late
    if first < LEAST:
        return 0.0
    top = np.max(w[w.size - lasting :])
    if np.median(w[first - REFERENCE : first]) - top < EFFECT / 4:
        return 0.0
    best = 0.0
    for at in range(first, w.size - lasting + 1):
        best = max(best, _fall(w[:at], np.max(w[at:]), level))
    return best


@njit(cache=True, error_model="numpy")
def _fall(before: Any, top: float, level: float) -> float:
    middle = np.median(before[before.size - REFERENCE :])
    drop = middle - top
    if drop < EFFECT / 4:
        return 0.0
    steps = np.median(np.abs(before[1:] - before[:-1])) / 0.954
    spread = np.median(np.abs(before[before.size - REFERENCE :] - middle)) / 0.6745
    tail = 0.0
    for at in range(BLOCK, before.size):
        tail = max(tail, np.median(before[at - BLOCK : at]) - before[at])
    ratio: float = min(
        drop / EFFECT, drop / (level * max(steps, spread)), drop / (TAIL_FACTOR * tail + _TINY)
    )
    return ratio


@njit(cache=True, error_model="numpy")
def _still(x: Any) -> float:
    w = _log2(x)
    if w.size < LEAST + LATE:
        return 0.0
    bends = np.abs(w[2:] - 2.0 * w[1:-1] + w[:-2])
    now = np.median(bends[bends.size - STILL + 2 :])
    before = bends[: bends.size - STILL - LATE]
    usual = np.inf
    for at in range(before.size % BLOCK, before.size, BLOCK):
        usual = min(usual, np.median(before[at : at + BLOCK]))
        if usual < 4.0 * now:
            return 0.0
    return math.log2(max(usual, _TINY) / max(now, _TINY)) / DIED if usual > _TINY else 0.0
