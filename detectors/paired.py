"""Evaluations that get worse while training goes on: their last ones against the best so far.

Shift found: the last three evaluations are all above the best one, by 4 %, by five times what they scatter, and by
1.5 times more than any that came back to a new best, and they are not on their way back.

Formula, for e_1 .. e_n = log2 of the evaluation losses, b the best before the last three:

    noise  1.4826 median |e_(i+1) - 2 e_i + e_(i-1)| / 2.449   over those before the last three, at least FLOOR
    tail   the largest e_i - min(e_1 .. e_i) up to the best: what is worse since may be the fault itself
    rise   min(e_(n-2), e_(n-1), e_n) - e_b
    ratio  min(rise / EFFECT, rise / (NOISES noise), rise / (1.5 tail)), and e_n is at least e_(n-2) less the larger of
           noise and a sixth of the rise

A ratio of 1 or more is an alarm; whether it is `overfit` is said by the training loss, see there.
Knobs: none.  False alarms: tests/detectors/test_paired.py.  Sibling: climb.py, for evaluations as frequent as readings.
Source: early stopping with patience 3, noise-adaptive.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LAST", "best_before", "worse"]

LAST: Final = 3
LEAST: Final = 6
EFFECT: Final = 0.06
NOISES: Final = 5.0
FLOOR: Final = 0.003
TAIL_FACTOR: Final = 1.5
GOES_ON: Final = 6.0
"""A model that still learns gets better by a little from wherever it was thrown to."""


def worse(e: NDArray[np.float64]) -> float:
    """The ratio, for e float64 [n], log2 of the evaluations, oldest first."""
    if len(e) < LEAST:
        return 0.0
    past, last = e[:-LAST], e[-LAST:]
    bends = np.abs(np.diff(past, n=2))
    noise = max(1.4826 * float(np.median(bends)) / 2.449 if len(bends) else 0.0, FLOOR)
    before = past[: best_before(e) + 1]
    tail = float(np.max(before - np.minimum.accumulate(before)))
    rise = float(last.min() - past[best_before(e)])
    if last[-1] < last[0] - max(noise, rise / GOES_ON):
        return 0.0
    return min(rise / EFFECT, rise / (NOISES * noise), rise / (TAIL_FACTOR * tail + 1e-9))


def best_before(e: NDArray[np.float64]) -> int:
    """Which evaluation is the best of those before the last three."""
    return int(np.argmin(e[:-LAST]))
