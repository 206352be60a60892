"""Ranks against each other: a value that leaves its peers', and a vote on values that must be equal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FLOOR = 0.05
_DEVIATION = 1.4826


def leave_one_out(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(z, effect) of each rank against the median and MAD of the others; float64 [ranks, n].

    values: float32 [ranks, n], positive magnitudes; judged in log2, effect in log2. 0 where not comparable.
    """
    with np.errstate(all="ignore"):
        y = np.log2(values.astype(np.float64))
    y[~np.isfinite(y)] = np.nan
    z, effect = np.zeros_like(y), np.zeros_like(y)
    for rank in range(len(y)):
        others = np.delete(y, rank, axis=0)
        with np.errstate(all="ignore"):
            center = np.nanmedian(others, axis=0) if len(others) else np.full(y.shape[1], np.nan)
            spread = np.nanmedian(np.abs(others - center), axis=0) * _DEVIATION
        effect[rank] = np.nan_to_num(y[rank] - center)
        z[rank] = np.nan_to_num(effect[rank] / np.maximum(spread, _FLOOR))
    return z, effect


def minority(hashes: NDArray[np.float32]) -> NDArray[np.intp]:
    """Ranks whose hash is not the most frequent one; all of them when there is no majority."""
    values, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    if len(values) == 1:
        return np.zeros(0, np.intp)
    top = counts == counts.max()
    return np.flatnonzero(inverse != int(np.argmax(counts))) if top.sum() == 1 else np.arange(len(hashes))
