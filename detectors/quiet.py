"""A loss that falls off a cliff, or whose noise dies: a leak of the targets, a loader stuck on what it gave before.

Shift found: `fallen`, the last readings are all below the 24 before them by half, by 10 of their deviations, and by 1.5
times more than anything the window fell before; `still`, the loss hardly moves any more from a reading to the next, or
to the one that many readings on: a loader that goes round the same few batches.

Formula, for a window of w = log2 of the last readings, k the last `lasting` of them, b those before:

    fallen   drop = median b[-24:] - max k;  noise = the larger of median |w_i - w_(i-1)| / 0.954 and the median
             absolute deviation / 0.6745 of b[-24:];  fall = the largest median of 8 of b - the reading after it
             ratio = min(drop / EFFECT, drop / (level noise), drop / (1.5 fall))
    still    for each lag from 1 to LAGS, d_i = |w_i - 2 w_(i - lag) + w_(i - 2 lag)|
             s = the MOST_STILLth of the last 10 d;  t = the least of the median d, and of the medians of each 8 of
             those of lag 1, over the readings before the last 10 + 2 lag and the LATE before these
             died = log2(t / s);  ratio = the largest died / DIED, where the d before changed sides as often as not

A ratio of 1 or more is an alarm.  Knobs: `level` in deviations, from the budget.  False alarms:
tests/detectors/test_quiet.py.  Sibling: bumps.py upwards.  Source: a Hampel filter; the variance of differences.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["LAGS", "LEAST", "fallen", "still"]

LEAST: Final = 40
REFERENCE: Final = 24
EFFECT: Final = 1.0
TAIL_FACTOR: Final = 1.5
BLOCK: Final = 8
DIED: Final = 3.0
STILL: Final = 12
"""Readings that must be still."""
MOST_STILL: Final = 8
"""Of ten bends, how many must have died: of white noise so many are an eighth of the usual in one look of 10^8."""
LAGS: Final = 8
"""Batches that a loader may go round: more of them do not fit the window, with enough of what was before."""
LATE: Final = 16
"""It may have been still for so many readings more."""
_TINY: Final = 1e-6


def fallen(x: NDArray[np.float32], level: float, lasting: int, late: int = 0) -> float:
    """The ratio of the fall; x float32 [n], raw, oldest first. Non-finite and not positive readings are left out.

    late: it may have begun up to so many readings before the last `lasting`.
    """
    return float(_fallen(x, level, lasting, late))


def still(x: NDArray[np.float32], lags: int = LAGS) -> tuple[float, int]:
    """The ratio for noise that died, and over how many readings it has, at the least; x as in `fallen`.

    lags: how many are looked at. In a run's first readings only one says anything: it may always have gone round few.
    """
    ratio, readings = _still(x, lags)
    return float(ratio), int(readings)


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
def _still(x: Any, lags: int) -> tuple[float, int]:
    w = _log2(x)
    best, since = 0.0, STILL
    if w.size < LEAST + LATE:
        return best, since
    most = np.median(_bends(w, 1)[:BLOCK]) / 2.0 ** (DIED / 2.0)  # above it no lag comes near its level
    for lag in range(1, lags + 1):
        readings = STILL - 2 + 2 * lag
        now = np.sort(_bends(w[w.size - readings :], lag))[MOST_STILL - 1]
        if now > most:
            continue
        usual = _usual(w[: w.size - readings - LATE], lag)
        if usual > _TINY and _jagged(w[: w.size - readings - LATE]):
            ratio = math.log2(usual / max(now, _TINY)) / DIED
            if ratio > best:
                best, since = ratio, readings
    return best, since


@njit(cache=True, error_model="numpy")
def _jagged(w: Any) -> bool:
    """Whether the loss had noise that can die: its bends change their side as often as not. A smooth fall's do not."""
    bends = w[2:] - 2.0 * w[1:-1] + w[:-2]
    turns = 0
    for at in range(1, bends.size):
        turns += bends[at] * bends[at - 1] < 0.0
    jagged: bool = 2 * turns >= bends.size - 1
    return jagged


@njit(cache=True, error_model="numpy")
def _bends(w: Any, lag: int) -> Any:
    return np.abs(w[2 * lag :] - 2.0 * w[lag:-lag] + w[: -2 * lag])


@njit(cache=True, error_model="numpy")
def _usual(w: Any, lag: int) -> float:
    """The least bend that there was: from a reading to the next over eight of them, and over this lag on the whole."""
    if w.size < 2 * lag + BLOCK // 2:
        return 0.0
    usual: float = np.median(_bends(w, lag))
    bends = _bends(w, 1)
    for at in range(bends.size % BLOCK, bends.size, BLOCK):
        usual = min(usual, np.median(bends[at : at + BLOCK]))
    return usual
