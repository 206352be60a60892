"""Two samples of one series, before and after a moment that is known, and whether its level rose there.

Shift found: a level that is higher after the moment than before, by a sixth of an octave and more than chance and the
series' own wandering explain.

Formula, with b_1 .. b_n (16 to 32 readings before), a_1 .. a_k (4 or more after), y = log2 x or as given:

    rise    = median a - max(median of the last 16 b, known)      known: what an earlier pass showed at the same steps
    chance  = 1.2533 sqrt(s_b^2 / 16 + s_a^2 / k)                  s: 1.4826 times the median absolute deviation
    wander  = deviation of the medians of each 8 of b
    ratio   = min(rise / EFFECT, rise / (Z (chance^2 + wander^2)^0.5))      a ratio of 1 or more is an alarm

Knobs: none; a test at a resume is rare, so it needs no share of the budget: Z = 5 standard errors.  False alarms: below
one in 10,000 resumes of simulated losses that go on (tests/detectors/test_samples.py).
Sibling: the shift chart of kernel.py, for moments that nobody announces.  Source: a robust two-sample z test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Before", "rise"]

EFFECT: Final = 0.12
Z: Final = 5.0
LEAST_BEFORE: Final = 16
LEAST_AFTER: Final = 4
_FLOOR: Final = 0.004
_EIGHTH: Final = 8


@dataclass(frozen=True)
class Before:
    """The sample before: its level (median of the last 16), deviation and wandering, all in y."""

    level: float
    deviation: float
    wander: float

    @classmethod
    def of(cls, y: NDArray[np.float64]) -> Before | None:
        """Of y float64 [n], oldest first; None if there are too few."""
        if len(y) < LEAST_BEFORE:
            return None
        last = y[-LEAST_BEFORE:]
        blocks = y[len(y) % _EIGHTH :].reshape(-1, _EIGHTH)
        wander = float(np.std(np.median(blocks, axis=1), ddof=1))
        return cls(float(np.median(last)), _deviation(last), wander)


def rise(before: Before, after: NDArray[np.float64], known: float = -np.inf) -> float:
    """The ratio of the rise to its alarm level; `after` float64 [k], all readings since the moment."""
    if len(after) < LEAST_AFTER:
        return 0.0
    found = float(np.median(after)) - max(before.level, known)
    variance = before.deviation**2 / LEAST_BEFORE + _deviation(after) ** 2 / len(after)
    error = float(np.sqrt(1.2533**2 * variance + before.wander**2))
    return min(found / EFFECT, found / (Z * error))


def _deviation(y: NDArray[np.float64]) -> float:
    return max(1.4826 * float(np.median(np.abs(y - np.median(y)))), _FLOOR)
