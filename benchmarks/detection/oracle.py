"""Whether a fault shows at all: tests by somebody who knows where and when it was put.

For a fault of numbers, the affected series (`affected`) is compared before and after the onset, at most `BEFORE`
readings against those within the budget, and asked four things. Does the trend break: does a level and a slope of its
own after the onset explain more than a line and the logarithm of the reading through all, the shape of a loss (F test,
as of so many readings as are about independent)? Is the spread around the trend another (Mann and Whitney on the sizes
of the residuals)? Is one of the next readings out of all proportion (Student's t with the tails of the readings
before), or a move from one to the next, in series that wander? It is asked with all of the readings before, their later
half and latest quarter, since a start is unlike the rest. The p is the smallest over all that was asked, times how many
that were.

Trends of other shapes, restarts and the like still look like a change to such tests. So the same is asked at placebo
onsets before the true one; a fault that is no clearer than a placebo is not visible. Faults that are exact (a NaN, a
frozen weight, a rank that left) need no test: they are there (p = 0) or not (p = 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from benchmarks.detection.affected import affected
from benchmarks.detection.exact import exactly_there
from benchmarks.detection.labels import Fault
from benchmarks.detection.series import Floats, RankSeries

BEFORE = 300
"""Readings before the onset that are compared with."""
LEAST_BEFORE = 6
"""With fewer nothing can be told apart."""
LEAST_LATELY = 12
"""With fewer, the later ones alone are not asked."""
AT_THE_START = 20
"""Steps within which a fault has no before: the oracle is not asked."""
HEAVIEST, LIGHTEST = 3, 30
"""Degrees of freedom of one reading's distribution: as the kurtosis of the readings before says, between these."""
SOON = 25
"""Readings after the onset in which a single one may be out of proportion."""
LEAST_AFTER = 4
"""Independent readings after the onset; with fewer there is no trend and no spread to compare."""
PLACEBOS = 6
TESTS = 4


def visible_p(fault: Fault, ranks: Sequence[RankSeries]) -> float | None:
    """The oracle's p; None where no affected series was measured, or the fault is there from the start."""
    exact = exactly_there(fault, ranks)
    if exact is not None:
        return 0.0 if exact else 1.0
    if fault.onset_step < min(each.steps[0] for each in ranks) + AT_THE_START:
        return None
    found = [change_p(steps, values, fault) for steps, values in affected(fault, ranks)]
    return min(1.0, min(found) * len(found)) if found else None


def change_p(steps: Floats, values: Floats, fault: Fault) -> float:
    """The p of a change at the fault's onset in one series; 1 where a placebo shows as clear a one."""
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    onset = int(np.searchsorted(steps, fault.onset_step))
    end = int(np.searchsorted(steps, fault.deadline, side="right"))
    length = end - onset
    if onset < LEAST_BEFORE or length < 1:
        return 1.0
    p = two_sample_p(values[:onset], values[onset:end])
    earliest = max(LEAST_BEFORE, min(onset, BEFORE) // 2)
    latest = onset - min(length, onset // 4)
    for at in np.unique(np.linspace(earliest, latest, PLACEBOS).astype(int)).tolist():
        if earliest <= at < onset and two_sample_p(values[:at], values[at : min(at + length, onset)]) <= p:
            return 1.0
    return p


def two_sample_p(before: Floats, after: Floats) -> float:
    """The p of no change, over all tests, with all of the readings before, the later half and the latest quarter."""
    starts = {0, len(before) // 2, len(before) * 3 // 4}
    usable = [start for start in starts if start == 0 or len(before) - start >= LEAST_LATELY]
    return min(1.0, len(usable) * min(_since_p(before, start, after) for start in usable))


def _since_p(history: Floats, start: int, after: Floats) -> float:
    """The p with the readings before from `start` on."""
    before = history[start:]
    learned = np.log1p(np.arange(start, len(history) + len(after)))[-(len(before[-BEFORE:]) + len(after)) :]
    before = before[-BEFORE:]
    split, size = len(before), max(1.0, float(np.abs(before).max()))
    values = np.concatenate((before, after))
    time = np.linspace(-1, 1, len(values))
    old = before - np.polynomial.Polynomial.fit(time[:split], before, 1)(time[:split])
    spread = float(np.std(old, ddof=2))
    if spread <= 1e-12 * size:
        straight = before[-1] + (before[-1] - before[0]) / (split - 1) * np.arange(1, len(after) + 1)
        return 0.0 if float(np.abs(after - straight).max()) > 1e-9 * size else 1.0
    stride = correlation_length(old)
    found = [_one_reading_p(before, after[:SOON], old, spread), _one_move_p(before, after[:SOON])]
    if len(after) >= LEAST_AFTER * stride:
        own = _residual(time[split:], after, 1)
        found += [
            _break_p(np.stack([np.ones_like(time), time, learned]), values, split, stride),
            _ranks_p(_sizes(old[::stride]), _sizes(own[::stride])),
        ]
    return min(1.0, TESTS * min(found))


def correlation_length(residual: Floats) -> int:
    """Readings from one independent one to the next: 1 plus twice the sum of the leading positive correlations."""
    centred = residual - residual.mean()
    power = float(centred @ centred)
    total, most = 1.0, len(centred) // 4
    for lag in range(1, most):
        correlation = float(centred[:-lag] @ centred[lag:]) / power
        if correlation <= 0.05:
            break
        total += 2 * correlation
    return max(1, min(round(total), most))


def _break_p(smooth: Floats, values: Floats, split: int, stride: int) -> float:
    """The F test of a level and a slope of their own from `split` on, beside the columns of a smooth trend."""
    count = values.size
    since = np.maximum(np.arange(count) - split, 0) / count
    broken = np.concatenate((smooth, [np.arange(count) >= split, since]))
    left, least = (_squares_left(columns, values) for columns in (smooth, broken))
    freedom = count / stride - len(broken)
    if freedom < 1 or least <= 0:
        return 1.0
    return float(stats.f.sf((left - least) / 2 / (least / (count - len(broken))) / stride, 2, freedom))


def _squares_left(columns: Floats, values: Floats) -> float:
    solution = np.linalg.lstsq(columns.T, values, rcond=None)[0]
    return float(np.sum((values - solution @ columns) ** 2))


def _residual(time: Floats, values: Floats, degree: int) -> Floats:
    return np.asarray(values - np.polynomial.Polynomial.fit(time, values, degree)(time))


def _sizes(residual: Floats) -> Floats:
    return np.abs(residual - np.median(residual))


def _ranks_p(old: Floats, new: Floats) -> float:
    return float(stats.mannwhitneyu(old, new, alternative="two-sided").pvalue)


def _one_reading_p(before: Floats, after: Floats, old: Floats, spread: float) -> float:
    """The most extreme of the new readings against the old ones' spread and their tails."""
    count = len(before)
    time = np.arange(count + len(after)) - (count - 1) / 2
    line = np.polynomial.Polynomial.fit(time[:count], before, 1)
    unsure = np.sqrt(1 + 1 / count + time[count:] ** 2 / np.sum(time[:count] ** 2))
    extreme = float((np.abs(after - line(time[count:])) / (spread * unsure)).max())
    return min(1.0, len(after) * 2 * float(stats.t.sf(extreme, min(count - 2.0, _freedom(old)))))


def _one_move_p(before: Floats, after: Floats) -> float:
    """The most extreme move from one reading to the next, against those before: for series that wander."""
    moves = np.diff(before)
    centre, spread = float(np.median(moves)), float(np.std(moves, ddof=1))
    new = np.abs(np.diff(np.concatenate((before[-1:], after))) - centre)
    if spread <= 1e-12 * max(1.0, abs(centre)):
        return 0.0 if float(new.max()) > 1e-9 * max(1.0, abs(centre)) else 1.0
    freedom = min(len(moves) - 1.0, _freedom(moves))
    return min(1.0, len(new) * 2 * float(stats.t.sf(float(new.max()) / spread, freedom)))


def _freedom(old: Floats) -> float:
    """Of the Student distribution with the kurtosis of these readings."""
    excess = float(stats.kurtosis(old))
    return LIGHTEST if excess <= 0 else float(np.clip(4 + 6 / excess, HEAVIEST, LIGHTEST))
