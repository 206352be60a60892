"""What most ranks say: the median of each column, and the majority of values that must be equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["apart_from_peers", "median_of_measured", "minority"]

Floats = NDArray[np.float64]


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


def apart_from_peers(y: Floats, groups: Sequence[NDArray[np.intp]]) -> Floats:
    """Each rank's distance from its group's median; NaN without a peer."""
    apart = np.full(y.shape, np.nan)
    for group in groups:
        members = y[group]
        alone = np.isfinite(members).sum(axis=0) < 2
        apart[group] = np.where(np.isfinite(members) & ~alone, members, np.nan) - median_of_measured(members)
    return apart


def median_of_measured(y: Floats) -> Floats:
    """The median of what is measured in each column, NaN where nothing is."""
    measured = np.isfinite(y)
    count = measured.sum(axis=0)
    ordered = np.sort(np.where(measured, y, np.inf), axis=0)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(y) - 1)
    at = np.arange(y.shape[1])
    some = count > 0
    half: Floats = (
        np.where(some, ordered[low, at], np.nan) + np.where(some, ordered[high, at], np.nan)
    ) / 2.0
    return half
