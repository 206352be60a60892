"""Many runs' scores as the figures that are asked for, whole and by fault, model or anything else."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence

import msgspec

from benchmarks.detection.scoring import FaultScore, Found, RunScore

VISIBLE = 1e-6
"""The oracle's p below which a fault counts as visible."""
PER_STEPS = 10_000


class Tally(msgspec.Struct, frozen=True):
    """The figures of a set of faults and quiet steps; None where nothing was there to count.

    Delays are in steps; those of the `at_once` found faults that show at once, in readings.
    """

    faults: int
    found: int
    delay_median: float | None
    delay_p90: float | None
    at_once: int
    at_once_median: float | None
    at_once_p90: float | None
    localised: tuple[int, int]
    localised_at_once: tuple[int, int]
    ranks_named: tuple[int, int]
    kinds: tuple[int, int]
    families: tuple[int, int]
    incidents_per_fault: float | None
    false_alarms: int
    critical_false_alarms: int
    quiet_steps: int

    @property
    def recall(self) -> float | None:
        """Share of the faults that were found."""
        return part((self.found, self.faults))

    @property
    def false_alarm_rate(self) -> float | None:
        """False alarms per 10,000 quiet steps."""
        return self.false_alarms * PER_STEPS / self.quiet_steps if self.quiet_steps else None


def part(counts: tuple[int, int]) -> float | None:
    """A share; None of nothing."""
    return counts[0] / counts[1] if counts[1] else None


def quantile(values: Sequence[float], at: float) -> float | None:
    """The least value that at least this share of the values is at or below; None of nothing.

    >>> quantile([1, 2, 3, 4], 0.5), quantile([1, 2, 3, 4], 0.9)
    (2, 4)
    """
    return sorted(values)[max(math.ceil(at * len(values)) - 1, 0)] if values else None


def visible(score: FaultScore) -> bool:
    """Whether the fault can be asked for; one that the oracle was not asked about counts as visible."""
    return score.visible is None or score.visible < VISIBLE


def tally(runs: Iterable[RunScore], wanted: Callable[[FaultScore], bool] = visible) -> Tally:
    """The figures of these runs' faults that are `wanted`, and of all their quiet steps."""
    runs = list(runs)
    scores = [score for run in runs for score in run.faults if wanted(score)]
    alarms = [alarm for run in runs for alarm in run.false_alarms]
    return _tallied(
        scores, len(alarms), sum(alarm.critical for alarm in alarms), sum(r.quiet_steps for r in runs)
    )


def later(runs: Iterable[RunScore]) -> list[RunScore]:
    """These runs with only those faults that came after another: whether the charts recover from an incident."""
    return [msgspec.structs.replace(run, faults=run.faults[1:]) for run in runs]


def by_fault(runs: Iterable[RunScore], wanted: Callable[[FaultScore], bool] = visible) -> dict[str, Tally]:
    """Per code and kind, in the order of the codes; without false alarms, which belong to no fault."""
    groups: dict[str, list[FaultScore]] = {}
    for run in runs:
        for score in run.faults:
            if wanted(score):
                groups.setdefault(f"{score.fault.code} {score.fault.kind}", []).append(score)
    return {name: _tallied(groups[name], 0, 0, 0) for name in sorted(groups)}


def by_model(runs: Iterable[RunScore], wanted: Callable[[FaultScore], bool] = visible) -> dict[str, Tally]:
    """Per model."""
    groups: dict[str, list[RunScore]] = {}
    for run in runs:
        groups.setdefault(run.label.model, []).append(run)
    return {name: tally(groups[name], wanted) for name in sorted(groups)}


def _tallied(scores: Sequence[FaultScore], alarms: int, critical: int, quiet_steps: int) -> Tally:
    found = [score.found for score in scores if score.found is not None]
    delays = [each.delay for each in found]
    quick = [s.found.delay / s.fault.cadence for s in scores if s.found is not None and s.fault.at_once]
    return Tally(
        faults=len(scores),
        found=len(found),
        delay_median=quantile(delays, 0.5),
        delay_p90=quantile(delays, 0.9),
        at_once=len(quick),
        at_once_median=quantile(quick, 0.5),
        at_once_p90=quantile(quick, 0.9),
        localised=_counted(found, lambda each: each.localised),
        localised_at_once=_counted(found, lambda each: each.localised_at_once),
        ranks_named=_counted(found, lambda each: each.rank_named),
        kinds=_counted(found, lambda each: each.right_kind),
        families=_counted(found, lambda each: each.right_kind or each.right_family),
        incidents_per_fault=statistics.fmean(each.incidents for each in found) if found else None,
        false_alarms=alarms,
        critical_false_alarms=critical,
        quiet_steps=quiet_steps,
    )


def _counted(found: Iterable[Found], asked: Callable[[Found], bool | None]) -> tuple[int, int]:
    """(yes, asked)."""
    answers = [answer for answer in map(asked, found) if answer is not None]
    return sum(answers), len(answers)
