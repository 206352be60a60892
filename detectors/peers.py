"""Ranks against each other: a value that leaves its peers'.

Shift found: one rank (or a few) of many whose value departs from the others' at the same step, from where it usually
stands among them: at once by much, or for long by little.  Shards differ from each other for ever; that is usual.

Formula, per rank and column, y = log2 x (or any other scale on which peers differ by a constant):

    e      = (y - usual) - median(group's y - usual) group: ranks in equal places; of two, twice that
    usual  = running mean of e                       where this rank stands among its peers
    z      = clip(e / max(floor, spread), +-clip)    spread: 1.2533 * running mean of |e| over the column's ranks
                                                     * sqrt((1 + echo) / (1 - echo)), its own lag-one correlation;
                                                     for the sums of four ranks or more: or 1.4826 running median
                                                     over ranks of |e|, if more
    up     = max(0, up + z - 1)       down = max(0, down - z - 1)
    ratio  = the larger / (level * max(1, 1.5 tail) * evidence), signed upwards           |ratio| >= 1 is an alarm

tail is the largest of the column's excursions that ended, over its level, slowly forgotten: columns that are wild by
nature raise their own level.  level and clip follow from a budget (`peer_levels`): one reading never alarms, two in a
row of `clip` deviations do.  Of two ranks alone the one that left its own past is out; both, if both did.

Knobs: floor, in log2 units: the least offset that counts; more of it: surer, fewer found.  False alarms: as budgeted
for tails up to the exponential's.  Silent for a pair's first 16 readings.  An offset that stays is learned as usual in
some 400 readings.  State: 32 bytes a pair of rank and column, 80 a column.
Sibling: kernel.py, the same value against its own past; consensus.py, values that must be equal.
Source: leave-one-out medians, Huber 1981; CUSUM, Page 1954. Judging before learning leaves the one out of the spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .consensus import apart_from_peers, median_of_measured
from .peer_state import (
    BEFORE,
    CENTER,
    COUNT,
    DOWN,
    ECHO,
    FLOOR,
    LEARNED,
    PEAK,
    POWER,
    RECENT,
    SPREAD,
    SWING,
    TAIL,
    UP,
    USUAL,
    WILDEST,
    Floats,
    PeerState,
)

__all__ = ["PeerChart", "PeerVerdict", "peer_levels"]

SLACK: Final = 1.0
WARM: Final = 16
"""Readings of a pair before its first verdict."""
SLOW: Final = 128
"""Readings that the running means remember."""
WARY: Final = 0.25
WARY_RATE: Final = 0.25
"""From this share of the level on, what may be a fault is learned that much more slowly."""
CENTER_RATE: Final = 1.0 / 8.0
TAIL_FACTOR: Final = 1.5
TAIL_BOUND: Final = 1.5
TAIL_KEPT: Final = 0.999
OWN_PLACE: Final = 0.1
"""log2: where the middle rank stands among its peers in the middle column, and in errors of that, in shards."""
OWN_PLACE_ERRORS: Final = 2.0
LEAST_COLUMNS: Final = 3
MANY: Final = 4
"""Ranks whose middle one says nothing of a single one of them."""
MOST_ECHO: Final = 0.98
_DEVIATION: Final = 1.2533
_MEDIAN: Final = 1.4826
_TINY: Final = 1e-30
_LEARN_CLIP: Final = 3.0
_HALF: Final = 0.5


def peer_levels(pairs: int, budget: float) -> tuple[float, float]:
    """(level, clip) in deviations: false warnings per million comparisons of so many pairs stay below the budget."""
    share = min(budget / 1e6 / (2.0 * max(pairs, 1)), 1e-2)
    both = -math.log(share) / 2.0 / _DEVIATION  # two readings in a row beyond this
    run = -math.log(share) / (2.0 * SLACK) - 1.166
    return max(run, 2.0 * (both - SLACK)), max(both, run / 2.0 + SLACK)


@dataclass(frozen=True, slots=True)
class PeerVerdict:
    """Of the ranks just compared: float64 [ranks, columns] each, 0.0 where not compared.

    z: this reading, in deviations, not clipped.  ratio: the chart over its level, signed upwards.  effect: log2 units
    away from the usual.  onset: int64, the step at which the present excursion began.  wildest: float64 [columns], the
    largest |z| that a calm rank has shown.  swing: float64 [columns], how far all ranks together are from their past,
    in deviations of it.
    """

    z: Floats
    ratio: Floats
    effect: Floats
    onset: NDArray[np.int64]
    wildest: Floats
    swing: Floats


class PeerChart(PeerState):
    """The chart of some columns over ranks that come and go."""

    def judge(
        self,
        ranks: Sequence[int],
        y: Floats,
        groups: Sequence[NDArray[np.intp]],
        step: int,
        budget: float,
        evidence: float = 1.0,
    ) -> PeerVerdict:
        """Compare the ranks of one step, then learn.

        ranks: in any order.  y: [ranks, columns], not finite = not measured.  groups: rows of `y` that are compared
        with each other.  step: of this comparison, any integer.  evidence: factor on the level.
        """
        rows = self._rows(ranks)
        pairs = self._pairs[:, rows].astype(np.float64)
        apart = apart_from_peers(y - pairs[USUAL], groups)
        compared = np.isfinite(apart)
        e = np.where(compared, apart, 0.0)
        middle = median_of_measured(y)
        for group in groups:
            if len(group) == 2:
                e[group] *= 2.0
                self._blame_one(e, y, pairs, group)
        scale = np.maximum(self._columns[FLOOR], self._columns[SPREAD] * self._inertia())
        ready = compared & (pairs[LEARNED] >= WARM) & (self._columns[COUNT] >= WARM)
        z = np.where(ready, e / scale, 0.0)
        recent = self._note_recent(apart) if len(ranks) >= MANY else scale
        charted = z * np.minimum(scale / np.maximum(recent, _TINY), 1.0)
        ratio, onset = self._charted(rows, pairs, charted, ready, step, budget, evidence)
        wildest, swing = self._columns[WILDEST].copy(), self._swing(middle)
        alarmed = np.abs(ratio) >= 1.0
        for group in groups:
            if len(group) == 2:
                alarmed[group] = alarmed[group].any(axis=0)  # what is usual of one is so of the other
        self._learn(rows, pairs, apart, e, np.abs(ratio) >= WARY, alarmed)
        self._learn_center(z, ratio, middle)
        return PeerVerdict(z, ratio, np.where(ready, e, 0.0), onset, wildest, swing)

    def are_shards(self, columns: NDArray[np.intp]) -> bool:
        """Whether ranks stand apart for good in most of these columns (int [n]), and in others each: as shards do.

        Where a rank stands in all columns alike, it has other samples.
        """
        if len(columns) < LEAST_COLUMNS:
            return False
        usual = self._pairs[USUAL][:, columns].astype(np.float64)
        place = np.abs(usual - np.median(usual, axis=1, keepdims=True))
        spread = np.maximum(self._columns[SPREAD] * self._inertia(), _TINY)[columns]
        errors = place * np.sqrt(self._pairs[LEARNED][:, columns]) / spread
        return bool(np.median(place) >= OWN_PLACE and np.median(errors) >= OWN_PLACE_ERRORS)

    def _note_recent(self, apart: Floats) -> Floats:
        """How far a rank is from its peers just now, by the middle one: all of them may have become wilder."""
        middle = median_of_measured(np.abs(apart))
        recent: Floats = self._columns[RECENT]
        middle = np.where(np.isfinite(middle), _MEDIAN * middle, recent)
        recent += np.where(recent > 0.0, CENTER_RATE, 1.0) * (middle - recent)
        return recent

    def _blame_one(self, e: Floats, y: Floats, pairs: Floats, group: NDArray[np.intp]) -> None:
        """Of two ranks, clear the one that is where it was, in the columns in which only the other has moved."""
        side = np.array([[0.5], [-0.5]]) * (pairs[USUAL, group[0]] - pairs[USUAL, group[1]])
        moved = np.abs(y[group] - self._columns[CENTER] - side)
        known = self._columns[COUNT] >= WARM
        for own, other in ((0, 1), (1, 0)):
            e[group[own], known & (moved[own] < _HALF * moved[other])] = 0.0

    def _charted(
        self,
        rows: NDArray[np.intp],
        pairs: Floats,
        z: Floats,
        ready: NDArray[np.bool_],
        step: int,
        budget: float,
        evidence: float,
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Go on with both sums of every pair; (ratio, onset)."""
        design, clip = peer_levels(pairs[USUAL].size, budget)
        clipped = np.clip(z, -clip, clip)
        before = np.maximum(pairs[UP], pairs[DOWN])
        ceiling = 2.0 * design * TAIL_FACTOR * TAIL_BOUND
        up = np.clip(pairs[UP] + clipped - SLACK, 0.0, ceiling)
        down = np.clip(pairs[DOWN] - clipped - SLACK, 0.0, ceiling)
        pairs[UP] = np.where(ready, up, pairs[UP])
        pairs[DOWN] = np.where(ready, down, pairs[DOWN])
        larger = np.maximum(pairs[UP], pairs[DOWN])
        onset = self._onset[rows]
        onset[(before <= 0.0) & (larger > 0.0)] = step
        self._onset[rows] = onset
        tail = self._columns[TAIL]
        level = design * np.maximum(1.0, TAIL_FACTOR * tail) * evidence
        ratio = np.where(ready, larger / level, 0.0)
        pairs[PEAK] = np.maximum(pairs[PEAK], larger / design)
        ended = larger <= 0.0
        highest = np.where(ended & (pairs[PEAK] > 0.0), pairs[PEAK], 0.0).max(axis=0, initial=0.0)
        self._columns[TAIL] = np.maximum(tail * TAIL_KEPT, np.minimum(highest, TAIL_BOUND))
        pairs[PEAK] = np.where(ended, 0.0, pairs[PEAK])
        return np.where(pairs[UP] >= pairs[DOWN], ratio, -ratio), onset

    def _inertia(self) -> Floats:
        """How much wider the mean of readings is that echo the ones before: 1 where they do not."""
        power = np.maximum(self._columns[POWER], 1e-30)
        echo = np.clip(self._columns[ECHO] / power, 0.0, MOST_ECHO)
        wider: Floats = np.sqrt((1.0 + echo) / (1.0 - echo))
        return wider

    def _swing(self, middle: Floats) -> Floats:
        known = np.isfinite(middle) & (self._columns[COUNT] >= WARM)
        scale = np.maximum(self._columns[FLOOR], _DEVIATION * self._columns[SWING])
        return np.where(known, (middle - self._columns[CENTER]) / scale, 0.0)

    def _learn(
        self,
        rows: NDArray[np.intp],
        pairs: Floats,
        apart: Floats,
        e: Floats,
        wary: NDArray[np.bool_],
        alarmed: NDArray[np.bool_],
    ) -> None:
        """Learn what is usual of each pair, and the columns' spread from ranks that are not out."""
        compared, columns = np.isfinite(apart), self._columns
        columns[COUNT] += compared.any(axis=0)
        bound = _LEARN_CLIP * np.maximum(columns[FLOOR], columns[SPREAD])
        bound[columns[COUNT] < WARM] = np.inf
        step = np.nan_to_num(apart)
        step = np.where(alarmed, step, np.clip(step, -bound, bound))
        rate = np.maximum(1.0 / (pairs[LEARNED] + 1.0), 1.0 / SLOW) * np.where(
            wary & ~alarmed, WARY_RATE, 1.0
        )
        pairs[USUAL] += np.where(compared, rate * step, 0.0)
        pairs[LEARNED] = np.minimum(pairs[LEARNED] + compared, SLOW)
        learned = compared & ~alarmed & (pairs[LEARNED] > 2)
        rate = np.where(
            learned.any(axis=0), np.maximum(1.0 / np.maximum(columns[COUNT], 1.0), 1.0 / SLOW), 0.0
        )
        some = np.maximum(learned.sum(axis=0), 1)
        near = np.where(learned, np.clip(e, -bound, bound), 0.0)
        columns[SPREAD] += rate * (np.abs(near).sum(axis=0) / some * _DEVIATION - columns[SPREAD])
        columns[ECHO] += rate * ((near * pairs[BEFORE]).sum(axis=0) / some - columns[ECHO])
        columns[POWER] += rate * ((near * near).sum(axis=0) / some - columns[POWER])
        pairs[BEFORE] = np.where(compared, near, pairs[BEFORE])
        self._pairs[:, rows] = pairs.astype(np.float32)

    def _learn_center(self, z: Floats, ratio: Floats, middle: Floats) -> None:
        """Learn where all ranks together are, and the most that a calm one has shown."""
        columns = self._columns
        few = np.maximum(columns[COUNT], 1.0)
        calm = np.isfinite(middle) & (np.abs(ratio) < _HALF).all(axis=0)
        away = np.where(np.isfinite(middle), middle - columns[CENTER], 0.0)
        first = columns[COUNT] <= 1.0
        rate = np.maximum(1.0 / few, 1.0 / SLOW)
        columns[SWING] += np.where(calm & ~first, rate * (np.abs(away) - columns[SWING]), 0.0)
        columns[CENTER] += np.where(calm, np.maximum(CENTER_RATE, 1.0 / few), 1.0 / SLOW) * away
        wildest = np.where(np.abs(ratio) < 1.0, np.abs(z), 0.0).max(axis=0, initial=0.0)
        columns[WILDEST] = np.maximum(columns[WILDEST] * TAIL_KEPT, wildest)
