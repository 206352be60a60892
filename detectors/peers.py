"""Ranks against each other: a value that leaves its peers', and a vote on values that must be equal.

Shift found: one rank (or a few) of many whose value departs from the others' at the same step, at that step.
Formula, per column, y = log2 x, for each rank r against the others only:

    effect = y_r - median(others)        z = effect / max(1.4826 * median |others - median(others)|, 0.05)

Knobs: the caller's bounds on |z| and |effect|, both in the record; more of them: surer, fewer found.
False alarms: with R normal peers, z follows roughly a t with (R - 1) / 2 degrees of freedom; heavy for few ranks, so
ask for an effect and for two steps in a row.  Two ranks alone cannot say which of them is wrong: both stand out.
Sibling: kernel.py, the same value against its own past.  Source: leave-one-out median and MAD, Huber 1981.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["leave_one_out", "minority"]

FLOOR: Final = 0.05
"""Least spread of the peers, in log2 units: 3.5 %."""
_DEVIATION: Final = 1.4826

Floats = NDArray[np.float64]


def leave_one_out(values: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """(z, effect) of each rank against the others; float64 [ranks, n], effect in log2 units.

    values: float32 [ranks, n], positive magnitudes.  What is not finite, 0 or negative is not compared: 0.0 for
    that rank, and no peer to the others; 0.0 also where no peer is left.
    """
    with np.errstate(all="ignore"):
        y = np.log2(values.astype(np.float64))
    y[~np.isfinite(y)] = np.inf  # sorts behind all that is compared
    count = np.isfinite(y).sum(axis=0)
    low, high = np.maximum(count - 2, 0) // 2, np.maximum(count - 1, 0) // 2
    place = _place(y)
    center = _median_without(y, place, low, high)
    spread = np.zeros_like(center)
    # without one rank the median is one of three at most: as the rank lies below, within or above the middle
    middle = (place <= low).astype(np.int8) + (place <= high)
    compared = np.isfinite(y) & (count > 1)
    for which in range(3):
        chosen = compared & (middle == which)
        held = np.max(np.where(chosen, center, -np.inf), axis=0)
        distance = np.abs(y - np.where(np.isfinite(held), held, 0.0))
        spread = np.where(chosen, _median_without(distance, _place(distance), low, high), spread)
    effect = np.subtract(y, center, out=np.zeros_like(y), where=compared)
    return effect / np.maximum(spread * _DEVIATION, FLOOR), effect


def minority(hashes: NDArray[np.float32]) -> NDArray[np.intp]:
    """Ranks (rows of float32 [ranks]) whose hash is not the most frequent; all of them when two are equally so.

    Exact: equality is all that a hash means.  NaN equals nothing; leave out ranks that did not report.
    """
    values, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    if len(values) <= 1:
        return np.zeros(0, np.intp)
    if np.count_nonzero(counts == counts.max()) > 1:
        return np.arange(len(hashes))
    return np.flatnonzero(inverse != int(np.argmax(counts)))


def _place(y: Floats) -> NDArray[np.intp]:
    """Each element's place in its sorted column."""
    return np.argsort(np.argsort(y, axis=0, kind="stable"), axis=0, kind="stable")


def _median_without(
    y: Floats, place: NDArray[np.intp], low: NDArray[np.intp], high: NDArray[np.intp]
) -> Floats:
    """The median of each column without the element itself; [ranks, n].  low, high: the middle of what is left."""
    ordered = np.sort(y, axis=0)
    last = len(y) - 1
    lower = np.take_along_axis(ordered, np.minimum(low + (place <= low), last), axis=0)
    upper = np.take_along_axis(ordered, np.minimum(high + (place <= high), last), axis=0)
    return (lower + upper) / 2.0
