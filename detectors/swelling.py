"""Levels that grow by the same factor again and again: one layer's weights or activations; or shrink so: its gradient.

Shift found: an exponential that is too slow for the charts of a series' own past, which take an even slope for its
nature, or begin anew before it has come far. Healthy weights grow as a power of time, so by less and less of
themselves, or with the learning rate, and all layers by amounts that can be compared; healthy gradients shrink
together.

Formula, of each series PIECES + 1 levels y (log2) at equal distances, over the increases d between them (of gradients:
the decreases, less the median of all series), or over the last few of them:

    even_i  = the smallest d is EVEN of their mean or more, and the last EVEN of any before it
    grown_i = the sum of d, or how far y_i itself went if that is less
    second  = the largest grown of other blocks, even or not
    ratio   = grown_i / max(effect, 2 second)                  of the even i with the largest grown_i
    effect  = that of so many increases

The largest ratio counts. A ratio of 1 or more is an alarm.
Knobs: the shapes. False alarms: tests/detectors/test_swelling.py; gradients: none in 410,000 steps of 400 runs;
activations: none in 530,000 steps, where a first block in its warm-up went nine tenths as far.
Sibling: kernel.py, for what begins and is seen at once; stray.py, in a shorter time, among layers alike.
Source: the definition of exponential growth; healthy weights: 400 runs of a dozen models.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOATS", "GROWS", "PIECES", "VANISHES", "Shape", "Swelling", "swelling"]

PIECES: Final = 6
GAP: Final = 2.0
WORTH_A_LOOK: Final = 0.25
"""Of the effect: a ratio that no gain makes an alarm of."""


class Shape(NamedTuple):
    """What is looked for: whether levels shrink, how even it is, and log2, in all, over so many increases."""

    shrinks: bool
    even: float
    effects: tuple[tuple[int, float], ...]


GROWS: Final = Shape(False, 0.85, ((PIECES, 0.65), (4, 1.0)))
BLOATS: Final = Shape(False, 0.7, ((PIECES, 2.2), (4, 2.2)))
VANISHES: Final = Shape(True, 0.6, ((4, 2.0),))


class Swelling(NamedTuple):
    """Which series went furthest among those that went evenly (-1: none did), by how much (log2, signed), the ratio,
    and over how many increases.
    """

    series: int
    moved: float
    ratio: float
    pieces: int


def swelling(levels: NDArray[np.float32], blocks: NDArray[np.int32], shape: Shape = GROWS) -> Swelling:
    """Of n series: levels float32 [PIECES + 1, n], oldest first, NaN: not known; blocks: int32 [n], equal in one."""
    found = (_over(levels[-pieces - 1 :], blocks, shape, effect) for pieces, effect in shape.effects)
    return max(found, key=lambda each: each.ratio)


def _over(levels: NDArray[np.float32], blocks: NDArray[np.int32], shape: Shape, effect: float) -> Swelling:
    y = -levels if shape.shrinks else levels
    pieces, grown = len(y) - 1, y[-1] - y[0]
    if not (grown >= WORTH_A_LOOK * effect).any():
        return Swelling(-1, 0.0, 0.0, pieces)
    increases = y[1:] - y[:-1]
    known = np.isfinite(increases).all(axis=0)
    if not known.any():
        return Swelling(-1, 0.0, 0.0, pieces)
    if shape.shrinks:
        increases = increases - np.median(increases[:, known], axis=1, keepdims=True)
        grown = np.minimum(grown, increases.sum(axis=0))
    grown = np.nan_to_num(grown)
    even = (increases.min(axis=0) >= shape.even * increases.mean(axis=0)) & (
        increases[-1] >= shape.even * increases[:-1].max(axis=0)
    )
    evenly = np.where(even & (grown > 0), grown, np.float32(0.0))
    best = int(np.argmax(evenly))
    if not evenly[best] > 0:
        return Swelling(-1, 0.0, 0.0, pieces)
    second = float(grown[blocks != blocks[best]].max(initial=0.0))
    moved = float(evenly[best])
    ratio = moved / max(effect, GAP * second)
    return Swelling(best, -moved if shape.shrinks else moved, ratio, pieces)
