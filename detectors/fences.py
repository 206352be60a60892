"""Whether a few numbers of a record are as they are expected to be: the question that is asked of every record.

No detector: who puts up the fences knows what a number outside means. A number is within if it is measured and
low <= x <= high, or if it is not measured and may be missing; one that varies must differ from the one before, too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Fences"]

_LOW, _HIGH, _MAY_MISS, _VARIES, _LAST = range(5)


class Fences:
    """Of n numbers, those of a record (float32 [slots]) at `slots`, int32 [n], -1 for one that no record has.

    reading: float32 [n], what the last record looked at had there; NaN where it was not measured or not finite.
    """

    __slots__ = ("_rows", "_slots", "reading")

    def __init__(self, slots: NDArray[np.int32]) -> None:
        self._slots = slots
        self._rows = np.zeros((5, slots.size))
        self._rows[_LOW], self._rows[_HIGH], self._rows[_MAY_MISS] = -math.inf, math.inf, 1.0
        self._rows[_LAST] = math.nan
        self.reading = np.full(slots.size, np.nan, np.float32)

    def put(self, at: int, low: float, high: float, may_miss: bool = True) -> None:
        """Fence number `at` in; NaN for both: it must not be measured."""
        rows = self._rows
        rows[_LOW, at], rows[_HIGH, at], rows[_MAY_MISS, at] = low, high, may_miss

    def vary(self, at: int, last: float) -> None:
        """Number `at` must differ from the one before, which was `last`; NaN: there was none."""
        self._rows[_VARIES, at], self._rows[_LAST, at] = 1.0, last

    def within(self, values: NDArray[np.float32]) -> bool:
        """Whether all numbers of this record are; they are in `reading`, and are what the next ones differ from."""
        found: bool = _within(values, self._slots, self._rows, self.reading)
        return found


@njit(cache=True, error_model="numpy")
def _within(values: Any, slots: Any, rows: Any, reading: Any) -> bool:
    found = True
    for i in range(slots.size):
        x = values[slots[i]] if slots[i] >= 0 else np.float32(np.nan)
        measured = math.isfinite(x)
        reading[i] = x if measured else np.float32(np.nan)
        if measured:
            found &= rows[_LOW, i] <= x <= rows[_HIGH, i] and not (
                rows[_VARIES, i] > 0.0 and x == rows[_LAST, i]
            )
        else:
            found &= rows[_MAY_MISS, i] > 0.0
    if found:
        for i in range(slots.size):
            if math.isfinite(reading[i]):
                rows[_LAST, i] = reading[i]
    return found
