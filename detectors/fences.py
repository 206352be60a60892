"""Whether a few numbers of a record are as they are expected to be: the question that is asked of every record.

No detector: who puts up the fences knows what a number outside means. A number is within if it is measured and
low <= x <= high, or if it is not measured and may be missing; one that varies must differ from the one before, too.
The bounds of one that follows are factors on the one before.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Fences", "are_within"]

_LOW, _HIGH, _MAY_MISS, _VARIES, _LAST, _FOLLOWS, _TOP = range(7)


class Fences:
    """Of n numbers, those of a record (float32 [slots]) at `slots`, int32 [n], -1 for one that no record has.

    rows and slots are for `are_within`. reading: float32 [n], what the last record looked at by `within` had there; NaN
    where it was not measured or not finite.
    """

    __slots__ = ("reading", "rows", "slots")

    def __init__(self, slots: NDArray[np.int32]) -> None:
        self.slots = slots
        self.rows = np.zeros((7, slots.size))
        self.rows[_LOW], self.rows[_HIGH], self.rows[_MAY_MISS] = -math.inf, math.inf, 1.0
        self.rows[_LAST] = math.nan
        self.reading = np.full(slots.size, np.nan, np.float32)

    def put(self, at: int, low: float, high: float, may_miss: bool = True) -> None:
        """Fence number `at` in; NaN for both: it must not be measured."""
        rows = self.rows
        rows[_LOW, at], rows[_HIGH, at], rows[_MAY_MISS, at], rows[_FOLLOWS, at] = low, high, may_miss, 0.0

    def vary(self, at: int, last: float) -> None:
        """Number `at` must differ from the one before, which was `last`; NaN: there was none."""
        self.rows[_VARIES, at], self.rows[_LAST, at] = 1.0, last

    def follow(self, at: int, last: float, least: float, most: float, top: float) -> None:
        """Number `at` may be `least` to `most` times the one before, `last` (above 0), and `top` at the most."""
        rows = self.rows
        rows[_LOW, at], rows[_HIGH, at], rows[_MAY_MISS, at] = least, most, 1.0
        rows[_FOLLOWS, at], rows[_LAST, at], rows[_TOP, at] = 1.0, last, top

    def within(self, values: NDArray[np.float32]) -> bool:
        """Whether all numbers of this record are; they are in `reading`, and are what the next ones differ from."""
        found: bool = are_within(values, self.slots, self.rows, self.reading)
        return found


@njit(cache=True, error_model="numpy")
def are_within(values: Any, slots: Any, rows: Any, reading: Any) -> bool:
    """See `Fences.within`; `reading` float32 [n] is filled."""
    found = True
    for i in range(slots.size):
        x = values[slots[i]] if slots[i] >= 0 else np.float32(np.nan)
        measured = math.isfinite(x)
        reading[i] = x if measured else np.float32(np.nan)
        if measured:
            low, high = rows[_LOW, i], rows[_HIGH, i]
            if rows[_FOLLOWS, i] > 0.0:
                low, high = low * rows[_LAST, i], min(high * rows[_LAST, i], rows[_TOP, i])
            found &= low <= x <= high and not (rows[_VARIES, i] > 0.0 and x == rows[_LAST, i])
        else:
            found &= rows[_MAY_MISS, i] > 0.0
    if found:
        for i in range(slots.size):
            if math.isfinite(reading[i]):
                rows[_LAST, i] = reading[i]
    return found
