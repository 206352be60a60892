"""The public logs' scores as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.detection import intervals
from benchmarks.detection.public_logs import PublicScore, configurations, tally
from benchmarks.detection.told import aligned


def summary(scores: Sequence[PublicScore]) -> str:
    """The figures with their intervals."""
    whole = tally(scores)
    drawn = intervals.bootstrap(
        list(configurations(scores).values()),
        lambda groups: tally([score for group in groups for score in group]).recall,
    )
    low, high = intervals.share(whole.healthy_alarming, whole.healthy_runs)
    labels = ", ".join(f"{label} {found:.1f} of {of}" for label, (found, of) in whole.by_label.items())
    between = "" if drawn is None else f", {drawn[0]:.2f}–{drawn[1]:.2f}"
    found = f"{whole.recall or 0:.3f} ({whole.found:.1f} of {whole.configurations} found{between})"
    paging = f"{whole.healthy_alarming} of {whole.healthy_runs}, {low:.2%}–{high:.2%}"
    rows = (
        ("configurations", f"{found}: {labels}"),
        ("  in any run", f"{whole.found_in_any_run} of {whole.configurations}"),
        ("  runs", f"{whole.failing_found} of {whole.failing_runs}"),
        ("healthy runs", f"{whole.healthy_alarming / max(whole.healthy_runs, 1):.2%} page ({paging})"),
        ("before onset", f"{whole.failing_alarming_before} of {whole.failing_runs} failing runs page"),
    )
    return aligned(rows)


def lists(scores: Sequence[PublicScore]) -> str:
    """The healthy runs that page, and the failing ones that are not found."""
    alarms: list[tuple[str, ...]] = [
        ("healthy run that pages", "step", "kind", "severity", "statistic", "score")
    ]
    misses: list[tuple[str, ...]] = [("failing run not found", "label", "onset", "readings")]
    for score in scores:
        if score.run.healthy and score.page is not None:
            page = score.page
            alarms.append(
                (
                    score.run.run,
                    f"{page.step:g}",
                    page.kind,
                    page.severity,
                    page.statistic,
                    f"{page.score:.2f}",
                )
            )
        elif not score.run.healthy and score.page is None:
            misses.append((score.run.run, score.run.label, str(score.run.onset), str(len(score.run.steps))))
    return f"{aligned(alarms)}\n\n{aligned(misses)}"
