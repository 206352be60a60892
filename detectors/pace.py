"""Steps that became slower and stay so: by a quarter or more of what they took, whatever a step takes.

Shift found: `slower`, a level of the step's seconds that is above the usual one for 32 readings, nearly all of them:
one slow step, or a dozen, are an evaluation, a checkpoint, a neighbour. Where one reading stands for many steps, 12
that are twice as far up are as good.

Formula, for the last 32 readings (or 12), y = log2 of the seconds, and `usual`, the level before, in log2:

    rise   = median y - usual                        most = an eighth from the lowest y: nearly all are slow
    spread = 1.4826 median |y - median y|
    ratio  = min(rise / EFFECT, rise / (2 spread), rise / (1.5 tail), (most - usual) / (EFFECT / 2))

A ratio of 1 or more is an alarm if it lasts (`anomaly.monitor.pace`).  tail: the largest rise that came back.
Knobs: none.  False alarms: none in 60,000 simulated readings each with 5, 20 and 50 % of noise; a shared machine is
really slower at times.  Sibling: kernel.py, at once, for steps four times as long.
Source: a change point of medians.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["EFFECT", "LAST", "RARE_LAST", "level", "slower"]

LAST: Final = 32
RARE_LAST: Final = 12
EFFECT: Final = 0.3
SPREADS: Final = 2.0 * 1.4826
TAIL_FACTOR: Final = 1.5
_FEW: Final = 8
"""One in so many may be as quick as before."""
_TINY: Final = 1e-9


def level(y: NDArray[np.float64]) -> float:
    """The level of the last readings, y float64 [n] in log2, oldest first."""
    return float(_level(y))


def slower(y: NDArray[np.float64], usual: float, tail: float, *, rare: bool = False) -> float:
    """The ratio; y float64 [RARE_LAST or more], log2 of seconds, oldest first; usual and tail in log2.

    rare: each reading stands for many steps.
    """
    ratio = _slower(y[-LAST:], usual, tail)
    if rare:
        ratio = max(ratio, _slower(y[-RARE_LAST:], usual, tail) / 2)
    return float(ratio)


@njit(cache=True, error_model="numpy")
def _level(y: Any) -> float:
    middle: float = np.median(y[-LAST:])
    return middle


@njit(cache=True, error_model="numpy")
def _slower(last: Any, usual: float, tail: float) -> float:
    middle: float = np.median(last)
    rise = middle - usual
    if rise < EFFECT / 2:
        return max(rise, 0.0) / EFFECT
    spread = np.median(np.abs(last - middle))
    most = np.sort(last)[len(last) // _FEW] - usual
    needed = max(max(EFFECT, SPREADS * spread), max(TAIL_FACTOR * tail, _TINY))
    ratio: float = min(rise / needed, most / (EFFECT / 2))
    return ratio
