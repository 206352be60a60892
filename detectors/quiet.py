"""A loss that falls off a cliff, or whose noise dies: a leak of the targets, a loader stuck on what it gave before.

Shift found: `fallen`, the last readings are all below the 24 before them by half, by 10 of their deviations, and by 1.5
times more than anything the window fell before; `still`, the loss hardly moves from reading to reading any more.

Formula, for a window of w = log2 of the last readings, k the last `lasting` of them, b those before:

    fallen   drop = median b[-24:] - max k;  noise = the larger of median |w_i - w_(i-1)| / 0.954 and the median
             absolute deviation / 0.6745 of b[-24:];  fall = the largest median of 8 of b - the reading after it
             ratio = min(drop / EFFECT, drop / (level noise), drop / (1.5 fall))
    still    s = median |second difference| over k, t the same over each 8 of b;  died = log2(min t / s)
             ratio = died / DIED

A ratio of 1 or more is an alarm.  Knobs: `level` in deviations, from the budget.  False alarms:
tests/detectors/test_quiet.py.  Sibling: bumps.py upwards.  Source: a Hampel filter; the variance of differences.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST", "fallen", "still"]

LEAST: Final = 40
REFERENCE: Final = 24
EFFECT: Final = 1.0
TAIL_FACTOR: Final = 1.5
BLOCK: Final = 8
DIED: Final = 3.0
STILL: Final = 12
"""Readings that must be still."""
_TINY: Final = 1e-6


def fallen(x: NDArray[np.float32], level: float, lasting: int, late: int = 0) -> float:
    """The ratio of the fall; x float32 [n], raw, oldest first. Non-finite and not positive readings are left out.

    late: it may have begun up to so many readings before the last `lasting`.
    """
    w = _log2(x)
    first = len(w) - lasting - late
    if (
        first < LEAST
        or float(np.median(w[first - REFERENCE : first])) - float(w[-lasting:].max()) < EFFECT / 4
    ):
        return 0.0
    return max(_fallen(w[:at], w[at:], level) for at in range(first, len(w) - lasting + 1))


def _fallen(before: NDArray[np.float64], last: NDArray[np.float64], level: float) -> float:
    middle = float(np.median(before[-REFERENCE:]))
    drop = middle - float(last.max())
    if drop < EFFECT / 4:
        return 0.0
    steps = float(np.median(np.abs(np.diff(before)))) / 0.954
    spread = float(np.median(np.abs(before[-REFERENCE:] - middle))) / 0.6745
    tail = 0.0
    for at in range(BLOCK, len(before)):
        tail = max(tail, float(np.median(before[at - BLOCK : at])) - float(before[at]))
    return min(drop / EFFECT, drop / (level * max(steps, spread)), drop / (TAIL_FACTOR * tail + _TINY))


def still(x: NDArray[np.float32]) -> float:
    """The ratio for noise that died; x as in `fallen`."""
    w = _log2(x)
    if len(w) < LEAST + STILL:
        return 0.0
    now = float(np.median(np.abs(np.diff(w[-STILL:], n=2))))
    before = np.abs(np.diff(w[:-STILL], n=2))
    blocks = before[len(before) % BLOCK :].reshape(-1, BLOCK)
    usual = float(np.median(blocks, axis=1).min())
    return float(np.log2(max(usual, _TINY) / max(now, _TINY))) / DIED if usual > _TINY else 0.0


def _log2(x: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.log2(x[np.isfinite(x) & (x > 0)].astype(np.float64))
