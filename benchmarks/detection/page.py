"""A scoreboard as Markdown, for RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.detection import figures, intervals, public_logs
from benchmarks.detection.board import Detector
from benchmarks.detection.scoring import RunScore
from benchmarks.detection.tally import PER_STEPS, Tally, by_fault, by_model, part, tally, visible
from benchmarks.detection.told import shown
from benchmarks.detection.worst import Worst
from benchmarks.rows import Row, markdown

_INTERVALS = """Intervals at 95 %, bootstrapped over runs (over configurations for the public logs), exact where nothing
or all was seen."""
_DETECTORS = (
    "",
    "visible faults found",
    f"false alarms per {PER_STEPS:,}",
    "critical",
    "localised",
    "failing public configurations found",
    "healthy public runs that page",
)
_CELLS = ("found", "recall", "95 %", "delay p50 / p90", "localised", "rank", "kind", "or family", "incidents")


def rows_of(detectors: Sequence[Detector]) -> list[Row]:
    """The figures that have targets, ours."""
    mine = detectors[0]
    found = figures.of_runs(mine.at_default)
    if mine.public_at_default is not None:
        found += figures.of_public_logs(mine.public_at_default)
    return [figure.row for figure in found]


def page(
    detectors: Sequence[Detector], rows: Sequence[Row], head: Sequence[str], pictures: Sequence[Path],
    worst: Sequence[Worst], beside: Path,
) -> str:  # fmt: skip
    """The section; pictures are linked from `beside`, the folder of the page."""
    runs = detectors[0].at_default
    link = {picture.stem: f"![{picture.stem}]({picture.relative_to(beside)})" for picture in pictures}
    parts = [
        "\n".join(f"- {line}" for line in head),
        markdown(rows),
        _INTERVALS,
        "### Beside the published rules",
        _detectors(detectors),
        link.get("curves", ""),
        "### By fault",
        _table("fault", by_fault(runs).items()),
        _hidden(runs),
        link.get("strength", ""),
        link.get("delay", ""),
        "### By model",
        _models(runs),
    ]
    if worst:
        parts += ["### The worst that is left", *(_worst(each, beside) for each in worst)]
    return "\n\n".join(each for each in parts if each)


def _detectors(detectors: Sequence[Detector]) -> str:
    lines = _head(_DETECTORS)
    for detector in detectors:
        whole = tally(detector.at_default)
        knob = f" ({detector.default:g} {detector.knob})" if detector.knob else ""
        low, high = intervals.share(whole.found, whole.faults)
        most = PER_STEPS * intervals.rate(whole.false_alarms, whole.quiet_steps)[1]
        cells = [
            f"{detector.name}{knob}",
            f"{shown(whole.recall)} ({whole.found}/{whole.faults}, {low:.2f}–{high:.2f})",
            f"{shown(whole.false_alarm_rate)} ({whole.false_alarms}, < {most:.2g})",
            str(whole.critical_false_alarms) if detector is detectors[0] else "",
            _of(whole.localised),
            *_public(detector),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _public(detector: Detector) -> tuple[str, str]:
    if detector.public_at_default is None:
        return "", ""
    whole = public_logs.tally(detector.public_at_default)
    share = part((whole.healthy_alarming, whole.healthy_runs))
    paging = "–" if share is None else f"{share:.1%} ({whole.healthy_alarming}/{whole.healthy_runs})"
    return f"{shown(whole.recall)} ({whole.found:.1f}/{whole.configurations})", paging


def _table(name: str, tallies: Iterable[tuple[str, Tally]]) -> str:
    lines = _head((name, *_CELLS))
    lines += [f"| {each} | {_cells(of)} |" for each, of in tallies]
    return "\n".join(lines)


def _models(runs: Sequence[RunScore]) -> str:
    lines = _head(("model", *_CELLS, "false alarms", f"per {PER_STEPS:,}"))
    lines += [
        f"| {each} | {_cells(of)} | {of.false_alarms} in {of.quiet_steps:,} | {shown(of.false_alarm_rate)} |"
        for each, of in by_model(runs).items()
    ]
    return "\n".join(lines)


def _head(titles: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]


def _cells(of: Tally) -> str:
    low, high = intervals.share(of.found, of.faults)
    return " | ".join(
        (
            f"{of.found}/{of.faults}",
            shown(of.recall),
            f"{low:.2f}–{high:.2f}" if of.faults else "–",
            f"{shown(of.delay_median)} / {shown(of.delay_p90)}",
            _of(of.localised),
            _of(of.ranks_named),
            _of(of.kinds),
            _of(of.families),
            shown(of.incidents_per_fault),
        )
    )


def _hidden(runs: Sequence[RunScore]) -> str:
    """The faults that the oracle cannot see, apart."""
    hidden = by_fault(runs, lambda score: not visible(score))
    if not hidden:
        return ""
    told = ", ".join(f"{name} {of.found}/{of.faults}" for name, of in hidden.items())
    found, faults = (sum(getattr(of, each) for of in hidden.values()) for each in ("found", "faults"))
    return f"Invisible to the oracle, and not counted above: {found} of {faults} found ({told})."


def _worst(each: Worst, beside: Path) -> str:
    return f"![{each.file.stem}]({each.file.relative_to(beside)})\n\n{each.text[0].upper()}{each.text[1:]}."


def _of(counts: tuple[int, int]) -> str:
    return f"{counts[0]}/{counts[1]}" if counts[1] else "–"
