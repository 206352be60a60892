"""From a budget of false alarms to alarm levels: the one place that knows about multiplicity.

The knob is the number of false warnings per million steps that a run with *all* its series and charts may give. Spent
evenly over charts and slots it leaves a probability p per reading, and theory has a level for which a calm series
stays below p:

    p       = budget / 1e6 / (2 * slots)
    spike   = ln(1/p) / 1.2533            two-sided exponential tails (Laplace), far above the normal's
    shift   = ln(4 k^2 / p) / 2k - 1.166    Siegmund: run length of a two-sided CUSUM with slack k

For 1,000 slots and 10 per million that is 15.3 and 17.9. Those are what every chart is designed for, and its ratio
is 1 at. From there on a chart has a *gain*, which its ratio is multiplied by before it is held against 1:

    gain = level for the default budget by theory / level for this budget by the measured tail

so that the budget moves every chart as a whole, its effects and own tails included, and measured tails (tails.py)
take the place of theory as far as there are enough of them: after 20 clusters half way. A team's own profile stands
above the shipped one in the same way. The level is never below half of theory's, nor more than a fifth above it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from .tails import NO_TAILS, TOGETHER, Tail, Tails, shipped

__all__ = ["BUDGET", "Levels", "shift_level", "spike_level"]

BUDGET: Final = 10.0
"""Default budget: false warnings per million steps of one run."""
HALF_BELIEVED: Final = 20.0
"""Clusters after which a fitted tail counts for half."""
LEAST_OF_THEORY: Final = 0.5
MOST_OF_THEORY: Final = 1.2
EXCURSIONS_A_WARNING: Final = 2.0
"""Of the charts' excursions beyond their levels in healthy runs, half become warnings: several charts answer one event,
and some excursions are remarks. So measured tails may be passed twice as often as warnings may come."""
MOST_RATE: Final = 1e-2
"""No level is asked for that calm series pass more often than this."""

_MEAN_TO_DEVIATION = 1.2533
_REMEMBERED = 4096


def _share(slots: int, budget: float) -> float:
    if not budget > 0.0:
        raise ValueError(f"budget must be above 0 false warnings per million steps, got {budget}")
    return min(budget / 1e6 / (2.0 * max(slots, 1)), MOST_RATE)


def spike_level(slots: int, budget: float = BUDGET) -> float:
    """The least |z| that may alarm, for a run of `slots` slots; in reference deviations."""
    return -math.log(_share(slots, budget)) / _MEAN_TO_DEVIATION


def shift_level(slots: int, budget: float = BUDGET, slack: float = 0.5) -> float:
    """The decision interval h of a CUSUM with the given slack; in reference deviations."""
    return math.log(4.0 * slack * slack / _share(slots, budget)) / (2.0 * slack) - 1.166


@dataclass(frozen=True)
class Levels:
    """What a run is judged by: a budget in false warnings per million steps, and measured tails.

    `tails` are a team's own, learned by ``anomaly calibrate``; `base` are what they stand above.
    """

    budget: float = BUDGET
    tails: Tails = NO_TAILS
    base: Tails = field(default_factory=shipped)

    def __post_init__(self) -> None:
        _share(1, self.budget)

    @property
    def identity(self) -> str:
        """Of the tails; "" where theory alone decides."""
        return "+".join(each.identity for each in (self.base, self.tails) if each.identity)

    def gain(self, chart: str, kind: str = "", slots: int = 1, of_kind: int = 1, steps: float = 1.0) -> float:
        """The factor on a chart's ratio, for `of_kind` slots of this kind in a run of `slots`.

        chart: "spike" or "shift" of the slab, or the name of any other statistical detector, whose ratio is 1 at the
        level it was designed for. steps: that one reading stands for; they share their budget.
        """
        asked = (chart, kind, slots, of_kind, steps)
        known = self._gains.get(asked)
        if known is None:
            if len(self._gains) >= _REMEMBERED:
                self._gains.clear()
            reference = _theory(chart, slots, BUDGET * steps)
            known = reference / self.level(chart, kind, slots, of_kind, self.budget * steps)
            self._gains[asked] = known
        return known

    @cached_property
    def _gains(self) -> dict[tuple[str, str, int, int, float], float]:
        """What `gain` has worked out: it is asked for the same again and again."""
        return {}

    def level(self, chart: str, kind: str, slots: int, of_kind: int, budget: float) -> float:
        """The score at which this chart alarms; a score is a ratio times the level by theory for the default budget."""
        theory = level = _theory(chart, slots, budget)
        rate = EXCURSIONS_A_WARNING * _share(slots, budget) * max(of_kind, 1) ** (1.0 - TOGETHER)
        for tails in (self.base, self.tails):
            tail = tails.by_chart.get((chart, kind))
            if tail is not None:
                level = _mixed(level, tail, min(rate, MOST_RATE))
        return min(max(level, LEAST_OF_THEORY * theory), MOST_OF_THEORY * theory)


def _theory(chart: str, slots: int, budget: float) -> float:
    return shift_level(slots, budget) if chart == "shift" else spike_level(slots, budget)


def _mixed(level: float, tail: Tail, rate: float) -> float:
    """The level as the tail has it, as far as the tail is believed."""
    belief = tail.clusters / (tail.clusters + HALF_BELIEVED)
    return math.exp((1.0 - belief) * math.log(level) + belief * math.log(max(tail.level(rate), 0.1)))
