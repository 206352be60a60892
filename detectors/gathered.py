"""What a slab knows of some of its slots, gathered in one compiled pass; no detector."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .rows import (
    CLIP,
    DEVIATION,
    EARLY,
    EARLY_CLIP,
    FIELDS,
    LANES,
    SCALE_CLIP,
    SUSPECTED_FROM,
    Z_BOUND,
    Row,
)  # fmt: skip

__all__ = ["cadence_of", "known_of", "last_of", "middle_of", "readings_of"]

_TILE = FIELDS * LANES
_N, _LEVEL, _SCALE, _PREVIOUS, _SUM, _HOLD, _FAST, _ZERO_RUN = (
    int(row) * LANES
    for row in (Row.N, Row.LEVEL, Row.SCALE, Row.PREVIOUS, Row.SUM, Row.HOLD, Row.FAST, Row.ZERO_RUN)
)


@njit(cache=True, error_model="numpy")
def known_of(state: Any, row: int, slots: Any, learned: int) -> Any:
    """Of `slots` (int [n]) one row: float32 [n], NaN for those that have learned fewer readings.

    state: flat float32 [tiles * FIELDS * LANES].
    """
    known = np.empty(slots.size, np.float32)
    for i in range(slots.size):
        at = slots[i] // LANES * _TILE + slots[i] % LANES
        known[i] = np.nan if state[at + _N] < learned else state[at + row * LANES]
    return known


@njit(cache=True, error_model="numpy")
def last_of(
    state: Any, slots: Any, floor: float, level_rate: float, scale_rate: float, suspect: float
) -> Any:
    """The last reading of `slots` (int [n], of a profile with these numbers): float32 [n], y.

    NaN without any, and where z is at its bound. It was z deviations from what the level was, both of which it has
    moved since, as kernel.py does, if the sum is below `suspect`.
    """
    last = np.empty(slots.size, np.float32)
    for i in range(slots.size):
        at = slots[i] // LANES * _TILE + slots[i] % LANES
        n, z, scale = state[at + _N] - 1.0, state[at + _PREVIOUS], state[at + _SCALE]
        if n < 0.0 or abs(z) >= Z_BOUND:
            last[i] = np.nan
            continue
        level_gain = max(level_rate, 2.0 * (2.0 * n + 1.0) / ((n + 1.0) * (n + 2.0)))
        scale_gain = max(scale_rate, 2.0 / (n + 8.0)) if n > 0.0 else 0.0
        if state[at + _HOLD] > 0.0 or (abs(state[at + _SUM]) >= suspect and n >= SUSPECTED_FROM):
            level_gain = scale_gain = 0.0  # it was not learned
        counted = min(abs(z), SCALE_CLIP if n >= EARLY else EARLY_CLIP)
        scale /= 1.0 - scale_gain + scale_gain * DEVIATION * counted
        moved = z - level_gain * min(max(z, -CLIP), CLIP)
        last[i] = state[at + _LEVEL] + moved * max(scale, floor) * DEVIATION
    return last


@njit(cache=True, error_model="numpy")
def middle_of(state: Any, row: int, slots: Any) -> float:
    """The median of one row over those of `slots` (int [n]) that have learned a reading; NaN without any."""
    known = np.empty(slots.size)
    n = 0
    for i in range(slots.size):
        at = slots[i] // LANES * _TILE + slots[i] % LANES
        if state[at + _N] > 0.0:
            known[n] = state[at + row * LANES]
            n += 1
    middle: float = np.median(known[:n]) if n else np.nan
    return middle


@njit(cache=True, error_model="numpy")
def cadence_of(state: Any, slots: Any, age: int) -> float:
    """Readings of the run, of `age` readings, for one of `slots` (int [n]), at the most: those learned are counted."""
    learned = middle_of(state, _N // LANES, slots)
    return max(1.0, age / learned) if learned > 0.0 else 1.0


@njit(cache=True, error_model="numpy")
def readings_of(state: Any, groups: Any, count: int) -> Any:
    """Of each group of slots the readings learned, and what its last readings left behind: two float64 [count].

    The second, fast means and runs of zeros added up, stays as it is only where nothing finite was measured.
    groups: int [n], below 0 for none.
    """
    learned, left = np.zeros(count), np.zeros(count)
    for slot in range(groups.size):
        if groups[slot] >= 0:
            at = slot // LANES * _TILE + slot % LANES
            learned[groups[slot]] += state[at + _N]
            left[groups[slot]] += state[at + _FAST] + state[at + _ZERO_RUN]
    return learned, left
