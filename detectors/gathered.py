"""What a slab knows of some of its slots, gathered in one compiled pass; no detector."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .rows import FIELDS, LANES, Row

__all__ = ["known_of", "middle_of", "readings_of"]

_TILE = FIELDS * LANES
_N = int(Row.N) * LANES


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
def readings_of(state: Any, groups: Any, count: int) -> Any:
    """Of each group of slots the readings learned, added up: float64 [count]; groups: int [n], below 0 for none."""
    readings = np.zeros(count)
    for slot in range(groups.size):
        if groups[slot] >= 0:
            readings[groups[slot]] += state[slot // LANES * _TILE + _N + slot % LANES]
    return readings
