"""The figures that have targets, each with what it was counted over and an interval, and as rows of results.json.

Intervals are bootstrapped over runs, over configurations for the public logs; where nothing was seen, or everything
was, the exact bound of the count stands in for what a bootstrap cannot know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from benchmarks.detection import intervals, public_logs
from benchmarks.detection.public_logs import PublicScore
from benchmarks.detection.scoring import RunScore
from benchmarks.detection.tally import PER_STEPS, Tally, later, part, tally
from benchmarks.rows import Row, row

Interval = tuple[float, float]


class Figure(msgspec.Struct, frozen=True):
    """One row of the table. `counts` says over what; `interval` is at 95 %, None where there is too little for one."""

    name: str
    value: float | None
    unit: str
    counts: str
    interval: Interval | None

    @property
    def row(self) -> Row:
        """The row of results.json, judged against its gate."""
        between = "" if self.interval is None else f", {self.interval[0]:.3g} to {self.interval[1]:.3g}"
        return row(f"detection_{self.name}", self.value, self.unit, f"{self.counts}{between}")


def of_runs(runs: Sequence[RunScore]) -> list[Figure]:
    """The figures on runs with faults of our making."""
    whole = tally(runs)
    quiet = f"in {whole.quiet_steps:,} quiet steps"
    critical = PER_STEPS * intervals.rate(whole.critical_false_alarms, whole.quiet_steps)[1]
    quick = whole.at_once, "found faults that show at once, in readings where those are rarer than steps"
    return [
        _share("recall", runs, _found, "visible faults"),
        _share("recall_later", later(runs), _found, "visible faults that came after another of their run"),
        Figure(
            "false_alarms",
            whole.false_alarm_rate,
            f"per {PER_STEPS:,} quiet steps",
            f"{whole.false_alarms} {quiet}",
            _rate_interval(runs, whole),
        ),
        Figure(
            "critical_false_alarms",
            float(whole.critical_false_alarms),
            "seen",
            f"{quiet}: fewer than {critical:.2g} per {PER_STEPS:,}",
            None,
        ),
        _plain("delay_p50", runs, lambda each: each.at_once_median, "steps", *quick),
        _plain("delay_p90", runs, lambda each: each.at_once_p90, "steps", *quick),
        _share("localised", runs, lambda each: each.localised, "found faults that have a layer"),
        _share("rank_named", runs, lambda each: each.ranks_named, "found faults that have a rank"),
        _share("kind", runs, lambda each: each.families, "found faults"),
        _plain(
            "incidents_per_fault",
            runs,
            lambda each: each.incidents_per_fault,
            "a fault",
            whole.found,
            "found faults",
        ),
    ]


def of_public_logs(scores: Sequence[PublicScore]) -> list[Figure]:
    """The figures on public logs."""
    whole = public_logs.tally(scores)
    drawn = intervals.bootstrap(
        list(public_logs.configurations(scores).values()),
        lambda groups: public_logs.tally([score for group in groups for score in group]).recall,
    )
    low, high = intervals.share(whole.healthy_alarming, whole.healthy_runs)
    share = part((whole.healthy_alarming, whole.healthy_runs))
    return [
        Figure(
            "public_recall",
            whole.recall,
            "of failing configurations",
            f"{whole.found:.1f} of {whole.configurations}; in any of its runs {whole.found_in_any_run}",
            drawn,
        ),
        Figure(
            "public_healthy",
            None if share is None else 100 * share,
            "% of healthy runs page",
            f"{whole.healthy_alarming} of {whole.healthy_runs}",
            (100 * low, 100 * high),
        ),
    ]


def _found(whole: Tally) -> tuple[int, int]:
    return whole.found, whole.faults


def _share(
    name: str, runs: Sequence[RunScore], counted: Callable[[Tally], tuple[int, int]], of_what: str
) -> Figure:
    yes, asked = counted(tally(runs))
    interval = intervals.share(yes, asked)
    if 0 < yes < asked:
        interval = intervals.bootstrap(runs, lambda drawn: part(counted(tally(drawn)))) or interval
    return Figure(
        name, part((yes, asked)), "share", f"{yes} of {asked} {of_what}", interval if asked else None
    )


def _plain(
    name: str,
    runs: Sequence[RunScore],
    figure: Callable[[Tally], float | None],
    unit: str,
    count: int,
    of_what: str,
) -> Figure:
    interval = intervals.bootstrap(runs, lambda drawn: figure(tally(drawn)))
    return Figure(name, figure(tally(runs)), unit, f"{count} {of_what}", interval)


def _rate_interval(runs: Sequence[RunScore], whole: Tally) -> Interval | None:
    low, high = intervals.rate(whole.false_alarms, whole.quiet_steps)
    exact = PER_STEPS * low, PER_STEPS * high
    if not whole.false_alarms:
        return exact if whole.quiet_steps else None
    return intervals.bootstrap(runs, lambda drawn: tally(drawn).false_alarm_rate) or exact
