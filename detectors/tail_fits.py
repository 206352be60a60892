"""Extreme-value fits: from the scores that healthy runs showed to a `Tail`, the upper end of what they allow.

Method: peaks over threshold. Exceedances closer than 50 readings are one cluster, of which the highest counts; the
threshold is the lowest that leaves at most 50 clusters and does not chain them, or 20, whichever then asks for more.
Heights above it follow a generalised Pareto distribution (scipy's genpareto), the number of clusters a Poisson
distribution. A peak that the chart itself cut off (a CUSUM's sum is bounded) counts as "at least this".

Not the best fit is kept but the upper end of what fits: the rate's upper bound, and of all shapes and scales, weighted
by their likelihood and by theory (exponential tails: shape 0 give or take 0.07), the pair whose level at a rare rate is
above 80 % of the others.

How sure: of samples of 30 or 150 clusters nine in ten (exponential) and two in three (Pareto, shape 0.1) give a level
that is not below the true one. Much heavier tails it underrates: at shape 0.25 by 7 to 22 % in the median, since theory
speaks against them. Sibling: levels.py's theory, for charts without data.
Source: Pickands 1975; Davison and Smith 1990; Coles 2001.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma, genpareto

from .levels import BUDGET
from .tails import Tail

__all__ = ["GAP_READINGS", "LEAST_CLUSTERS", "cluster_peaks", "fit", "rate_interval"]

GAP_READINGS: Final = 50
MOST_CLUSTERS: Final = (50, 20)
LEAST_CLUSTERS: Final = 5
"""Fewer say too little for any fit."""
CONFIDENCE: Final = 0.8
SHAPE_PRIOR: Final = (0.0, 0.07)
"""Mean and deviation."""
SHAPES: Final = np.linspace(-0.3, 0.5, 41)
SCALE_FACTORS: Final = np.geomspace(0.3, 4.0, 41)
RARE_RATE: Final = BUDGET / 1e6 / 200
"""Per reading and slot: where the levels of a run with a hundred slots lie."""
STEPS: Final = 60

Floats = NDArray[np.float64]
Scores = tuple[NDArray[np.int64], Floats]
"""Of one run: readings (ascending), and the highest score of each."""


def cluster_peaks(scores: Scores, threshold: float, gap: int = GAP_READINGS) -> Floats:
    """The highest score of each cluster of exceedances of `threshold`; float64 [clusters]."""
    above = scores[1] > threshold
    readings, heights = scores[0][above], scores[1][above]
    if not len(readings):
        return heights
    starts = np.flatnonzero(np.diff(readings, prepend=readings[0] - gap - 1) > gap)
    return np.maximum.reduceat(heights, starts)


def fit(runs: Sequence[Scores], exposure: float, floor: float, cut: float = np.inf) -> Tail | None:
    """The tail of one chart; None where there are fewer than `LEAST_CLUSTERS`.

    runs: scores above `floor`, per run.  exposure: readings times slots ** TOGETHER that they were taken from.  cut:
    the score at which the chart stops counting.
    """
    fits = [found for most in MOST_CLUSTERS if (found := _fit(runs, exposure, floor, cut, most)) is not None]
    if not fits:
        return None
    highest = max(fits, key=lambda tail: tail.level(RARE_RATE))
    return replace(highest, clusters=max(tail.clusters for tail in fits))


def _fit(runs: Sequence[Scores], exposure: float, floor: float, cut: float, most: int) -> Tail | None:
    threshold, peaks = _threshold(runs, floor, most)
    if len(peaks) < LEAST_CLUSTERS or exposure <= 0:
        return None
    rate = float(gamma.ppf(CONFIDENCE, len(peaks) + 0.5)) / exposure
    shape, scale = _upper(np.minimum(peaks, cut) - threshold, cut - threshold, rate)
    return Tail(
        threshold=round(threshold, 6),
        rate=float(f"{rate:.6g}"),
        shape=round(shape, 6),
        scale=round(scale, 6),
        clusters=len(peaks),
        readings=float(f"{exposure:.6g}"),
    )


def rate_interval(count: int, exposure: float, confidence: float = 0.95) -> tuple[float, float]:
    """The Poisson rates that fit `count` events in this exposure: Garwood's exact interval."""
    tail = (1.0 - confidence) / 2.0
    low = float(gamma.ppf(tail, count)) if count else 0.0
    return low / exposure, float(gamma.isf(tail, count + 1)) / exposure


def _threshold(runs: Sequence[Scores], floor: float, most: int) -> tuple[float, Floats]:
    """The threshold with the most clusters, at most `most`; of equals the highest."""
    highest = max((float(scores.max()) for _, scores in runs if len(scores)), default=floor)
    best: tuple[float, Floats] = floor, np.zeros(0)
    for threshold in np.geomspace(max(highest, floor * 1.001), floor, STEPS).tolist():
        peaks = np.concatenate([np.zeros(0), *(cluster_peaks(scores, threshold) for scores in runs)])
        if len(peaks) > most:
            break
        if len(peaks) > len(best[1]):
            best = threshold, peaks
    return best


def _upper(heights: Floats, cut: float, rate: float) -> tuple[float, float]:
    """Shape and scale at the upper end of what the heights above the threshold allow."""
    scales = max(float(heights.mean()), 1e-3) * SCALE_FACTORS
    shape, scale = (each.reshape(-1) for each in np.meshgrid(SHAPES, scales, indexing="ij"))
    seen, beyond = heights[heights < cut], int(np.count_nonzero(heights >= cut))
    weight = -0.5 * ((shape - SHAPE_PRIOR[0]) / SHAPE_PRIOR[1]) ** 2
    weight = weight + genpareto.logpdf(seen[:, None], shape, 0.0, scale).sum(axis=0)
    if beyond:
        weight = weight + beyond * genpareto.logsf(cut, shape, 0.0, scale)
    level = genpareto.isf(min(RARE_RATE / rate, 1.0), shape, 0.0, scale)
    chance = np.exp(weight - weight.max())
    order = np.argsort(level, kind="stable")
    share = np.cumsum(chance[order]) / chance.sum()
    bound = level[order[int(np.searchsorted(share, CONFIDENCE))]]
    near = np.flatnonzero(np.abs(level - bound) <= 0.02 * bound + 1e-9)
    chosen = near[int(np.argmax(weight[near]))]
    return float(shape[chosen]), float(scale[chosen])
