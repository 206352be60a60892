"""From a budget of false alarms to alarm levels: the one place that knows about multiplicity.

The knob is the number of false warnings per million steps that a run with *all* its slots may give.  Spent
evenly over slots and over the two charts it leaves a probability p per reading, and each chart has a level
for which a calm series stays below p:

    p       = budget / 1e6 / (2 * slots)
    spike   = ln(1/p) / 1.2533            two-sided exponential tails (Laplace), far above the normal's
    shift   = ln(4 k^2 / p) / 2k - 1.166    Siegmund: run length of a two-sided CUSUM with slack k

For 1,000 slots and 10 per million that is 15.3 and 17.9.  Own tails (kernel.py) raise the level of series that
are wilder than that.
"""

from __future__ import annotations

import math

__all__ = ["BUDGET", "shift_level", "spike_level"]

BUDGET = 10.0
"""Default budget: false warnings per million steps of one run."""

_MEAN_TO_DEVIATION = 1.2533


def _share(slots: int, budget: float) -> float:
    if not budget > 0.0:
        raise ValueError(f"budget must be above 0 false warnings per million steps, got {budget}")
    return budget / 1e6 / (2.0 * max(slots, 1))


def spike_level(slots: int, budget: float = BUDGET) -> float:
    """The least |z| that may alarm, for a run of `slots` slots; in reference deviations."""
    return -math.log(min(_share(slots, budget), 1e-2)) / _MEAN_TO_DEVIATION


def shift_level(slots: int, budget: float = BUDGET, slack: float = 0.5) -> float:
    """The decision interval h of a CUSUM with the given slack; in reference deviations."""
    share = min(_share(slots, budget), 1e-2)
    return math.log(4.0 * slack * slack / share) / (2.0 * slack) - 1.166
