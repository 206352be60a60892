"""Levels that grow by the same factor again and again: one layer's weights; healthy ones grow ever slower.

Shift found: exponential growth too slow for the charts of a series' own past, which take an even slope for its nature.
Healthy weights grow as a power of time, so by less and less of themselves, or with the learning rate; and all layers
by amounts that can be compared.

Formula, of each series PIECES + 1 levels y (log2) at equal distances, over the increases d between them, and over the
last few of them where those are more:

    even_i  = the smallest d is EVEN of their mean or more, and the last EVEN of any before it
    grown_i = the sum of d                                     second: the largest of other blocks, even or not
    ratio   = grown_i / max(effect, 2 second)                  of the even i with the largest grown_i
    effect  = EFFECTS of so many increases

The larger ratio counts. A ratio of 1 or more is an alarm.
Knobs: none. False alarms: tests/detectors/test_swelling.py.
Sibling: kernel.py, for growth that begins and is seen at once; stray.py, in a shorter time, among layers alike.
Source: the definition of exponential growth; healthy weights: 400 runs of a dozen models.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["EFFECTS", "PIECES", "Swelling", "swelling"]

PIECES: Final = 6
EFFECTS: Final = {PIECES: 0.65, 4: 1.0}
"""log2, in all, over so many increases: factors of 1.6 and 2."""
EVEN: Final = 0.85
GAP: Final = 2.0


class Swelling(NamedTuple):
    """Which series grew most among those that grew evenly (-1: none did), by how much (log2), the ratio, and over how
    many increases.
    """

    series: int
    grown: float
    ratio: float
    pieces: int


def swelling(levels: NDArray[np.float32], blocks: NDArray[np.int32]) -> Swelling:
    """Of n series: levels float32 [PIECES + 1, n], oldest first, NaN: not known; blocks: int32 [n], equal in one."""
    found = (_over(levels[-pieces - 1 :], blocks, effect) for pieces, effect in EFFECTS.items())
    return max(found, key=lambda each: each.ratio)


def _over(levels: NDArray[np.float32], blocks: NDArray[np.int32], effect: float) -> Swelling:
    increases = np.diff(levels, axis=0)
    pieces = len(increases)
    grown = np.nan_to_num(levels[-1] - levels[0])
    even = (increases.min(axis=0) >= EVEN * increases.mean(axis=0)) & (
        increases[-1] >= EVEN * increases[:-1].max(axis=0)
    )
    evenly = np.where(even & (grown > 0), grown, np.float32(0.0))
    best = int(np.argmax(evenly))
    if not evenly[best] > 0:
        return Swelling(-1, 0.0, 0.0, pieces)
    second = float(grown[blocks != blocks[best]].max(initial=0.0))
    return Swelling(best, float(evenly[best]), float(evenly[best]) / max(effect, GAP * second), pieces)
