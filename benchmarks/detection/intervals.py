"""How sure a figure is: exact bounds for counts, bootstrap over runs for everything else.

All intervals are two-sided at 95 % unless `LEVEL` says otherwise; a count of 0 has an upper bound, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, chi2

T = TypeVar("T")
LEVEL = 0.95
RESAMPLES = 1000
SEED = 20_240_501


def share(hits: int, of: int, level: float = LEVEL) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share. (0, 1) where there is nothing to count.

    >>> [round(end, 3) for end in share(0, 10)]
    [0.0, 0.308]
    """
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, of - hits + 1))
    high = 1.0 if hits == of else float(beta.ppf(1 - tail, hits + 1, of - hits))
    return low, high


def rate(events: int, exposure: float, level: float = LEVEL) -> tuple[float, float]:
    """Garwood's exact Poisson interval of events per unit of `exposure`; (0, inf) where there was none.

    >>> [round(end, 2) for end in rate(0, 1.0)]
    [0.0, 3.69]
    """
    if exposure <= 0:
        return 0.0, float("inf")
    tail = (1 - level) / 2
    low = 0.0 if events == 0 else float(chi2.ppf(tail, 2 * events)) / 2
    high = float(chi2.ppf(1 - tail, 2 * events + 2)) / 2
    return low / exposure, high / exposure


def bootstrap(
    groups: Sequence[T],
    figure: Callable[[Sequence[T]], float | None],
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float] | None:
    """The percentile interval of `figure` over drawn sets of `groups` (runs, or configurations), with replacement.

    None where fewer than two groups are there, or the figure is none for most draws.
    """
    if len(groups) < 2:
        return None
    drawn = np.random.default_rng(SEED).integers(len(groups), size=(resamples, len(groups)))
    figures = [figure([groups[at] for at in row]) for row in drawn]
    known: NDArray[np.float64] = np.array([each for each in figures if each is not None], dtype=np.float64)
    if len(known) < resamples / 2:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
