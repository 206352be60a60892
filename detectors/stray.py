"""A layer that strays from its siblings: how far each has gone since an earlier moment, held against the others.

Shift found: one series of n alike (the same signal of n layers) that went further than all the rest, by a clear gap. It
needs no past of its own but one earlier level, so it speaks from the first dozens of readings on, when charts of a
series' own past must ask for most: what a warm-up, a schedule or a batch does, it does to all.

Formula, for series i at the level now_i (log2), then_i at the earlier moment:

    d_i     = now_i - then_i            e_i = d_i - median d          spread = 1.4826 median |e|
    second  = the largest |e_j| of the eligible j of other blocks
    needed  = max(effect, 6 spread, gap second, 1.5 tail)
    ratio   = |e_i| / needed            of the eligible i with the largest |e_i|, or e_i where only upwards counts

A ratio of 1 or more is an alarm.  Not eligible are layers that have no like (an embedding, an output layer): they go
their own way in healthy runs.  tail: the largest |e_i| in the windows before.
Knobs: `effect` and `gap`, by the signal.  False alarms: tests/detectors/test_stray.py.
Sibling: siblings.py, for a move that kernel.py's chart has seen.  Source: a gap test; median and MAD, Huber 1981.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["LEAST", "Stray", "stray"]

LEAST: Final = 4
"""Series with both levels; fewer tell nothing."""
SPREADS: Final = 6.0 * 1.4826
TAIL_FACTOR: Final = 1.5


class Stray(NamedTuple):
    """Which of the series went furthest (-1: too few are known), by how much more than the median, and the ratio."""

    series: int
    excess: float
    ratio: float


def stray(
    now: NDArray[np.float32],
    then: NDArray[np.float32],
    eligible: NDArray[np.bool_],
    blocks: NDArray[np.int32],
    effect: float,
    tail: float = 0.0,
    upwards: bool = False,
    least: float = 0.0,
    gap: float = 2.0,
) -> Stray:
    """Of n series, all arrays [n]; levels in log2, NaN where not known; blocks: equal for layers of one block.

    least: a ratio below it need not be known any better: it may be too large, but is below it.
    """
    return Stray(*_stray(now, then, eligible, blocks, effect, tail, upwards, least, gap))


@njit(cache=True, error_model="numpy")
def _stray(
    now: Any,
    then: Any,
    eligible: Any,
    blocks: Any,
    effect: float,
    tail: float,
    upwards: bool,
    least: float,
    gap: float,
) -> tuple[int, float, float]:
    excess = np.full(now.size, np.nan)
    known = np.empty(now.size)
    n = 0
    for i in range(now.size):
        moved = np.float64(now[i]) - np.float64(then[i])
        if np.isfinite(moved) and moved != 0.0:
            excess[i] = moved
            known[n] = moved
            n += 1
    if n < LEAST:
        return -1, 0.0, 0.0
    known = known[:n]
    middle = np.median(known)
    best, furthest = -1, -1.0
    for i in range(now.size):
        excess[i] -= middle
        far = excess[i] if upwards else abs(excess[i])
        if eligible[i] and far > furthest and far >= 0.0:
            best, furthest = i, far
    if best < 0:
        return -1, 0.0, 0.0
    second = 0.0
    for i in range(now.size):
        if eligible[i] and blocks[i] != blocks[best] and np.isfinite(excess[i]):
            second = max(second, abs(excess[i]))
    needed = max(effect, max(gap * second, TAIL_FACTOR * tail))
    if abs(excess[best]) >= least * needed:
        needed = max(needed, SPREADS * np.median(np.abs(known - middle)))
    return best, excess[best], abs(excess[best]) / needed
