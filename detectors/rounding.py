"""Whether numbers were rounded to a few decimals before they were sent, as loggers like to; no detector.

What is rounded is the same again, or exactly 0, although the quantity behind it moved: nothing exact can be said of it.

Formula, for finite x_i other than 0, in float32:

    unit   the largest 10^-k, k in 0..6, of which every x_i is a multiple; 0 where there is none
    short  x_i has at most 6 significant digits

By chance 3 in 100 numbers of float32 have at most 6 digits, and 1 in 1,000 of size 0.01 is a multiple of 10^-6, so a
few values tell.
Sibling: fences.py.  Source: the spacing of float32, IEEE 754.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST", "are_short", "unit_of"]

LEAST: Final = 4
"""Values; fewer tell nothing."""
_DECIMALS: Final = 7
_DIGITS: Final = 6


def unit_of(x: NDArray[np.float32]) -> float:
    """The decimal unit that all of x (float32 [n]) are multiples of; 0.0 for none, or where too few are known."""
    known = x[np.isfinite(x) & (x != 0.0)]
    if len(known) < LEAST:
        return 0.0
    for decimals in range(_DECIMALS):
        if np.array_equal(np.round(known.astype(np.float64), decimals).astype(np.float32), known):
            return float(10.0**-decimals)
    return 0.0


def are_short(x: NDArray[np.float32]) -> bool:
    """Whether most of x (float32 [n]) are of a few digits, in decimals or significant ones."""
    known = x[np.isfinite(x) & (x != 0.0)].astype(np.float64)
    if not len(known):
        return False
    place = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(known))))
    short = (np.round(known * place) / place).astype(np.float32) == known.astype(np.float32)
    return bool(2 * np.count_nonzero(short) > len(known))
