"""``python -m benchmarks.detection.calibration``: whether the budget holds, on healthy runs that nothing was fitted to.

For each budget asked the runs of `--part` (default: validate) are judged anew and the warnings in their quiet steps
counted: those of the detectors that the budget moves, and all. ``--fit`` fits the tails that the package ships to the
runs of `fit`, and writes them. ``--crossed`` judges nothing anew: it counts the charts' excursions in either
half of the runs beyond the levels that follow from the other half. Several charts may be beyond theirs in one event,
which counts once, and not every excursion becomes a warning.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from matplotlib.figure import Figure

from anomaly.calibration.learning import STATISTICAL, Seen
from anomaly.incidents.transition import Severity, Status, Transition
from benchmarks.detection import intervals, ours, tail_books
from benchmarks.detection.labels import Label, Trace, traces
from benchmarks.detection.remembered import PROCESSES, ROOT
from benchmarks.rows import Row

BUDGETS = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
CORPUS = ROOT / ".cache" / "corpus"
PICTURE = ROOT / "benchmarks" / "plots" / "calibration.png"
RESULTS = ROOT / "benchmarks" / "results.json"
MILLION = 1e6
NAME = "false_warnings_at_budget_"


class Point(msgspec.Struct, frozen=True):
    """What one budget gave; rates are per million quiet steps."""

    asked: float
    steps: int
    moved: int
    """Warnings of detectors that the budget moves."""
    every: int
    criticals: int

    def rate(self, count: int) -> float:
        """Of so many warnings."""
        return count / self.steps * MILLION

    def interval(self, count: int) -> tuple[float, float]:
        """95 %, Poisson."""
        low, high = intervals.rate(count, self.steps / MILLION)
        return low, high


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 0; 2 where there is no corpus."""
    chosen = _options(arguments)
    wanted = list(traces(chosen.corpus / chosen.part))
    if not wanted:
        print(f"no runs in {chosen.corpus / chosen.part}; make them: make corpus", file=sys.stderr)
        return 2
    if chosen.fit:
        runs = tail_books.healthy(wanted, chosen.processes)
        tails = tail_books.shipped_from(runs)
        tail_books.write(tails)
        steps = sum(run.book.steps for run in runs)
        print(f"{len(tails.by_chart)} tails from {len(runs)} runs, {steps:,} steps, in {tail_books.SHIPPED}")
        return 0
    if chosen.crossed:
        seen = tail_books.healthy(wanted, chosen.processes)
        points = crossed_points(seen)
    else:
        points = [point(wanted, budget, chosen.processes) for budget in BUDGETS]
    print(table(points))
    PICTURE.parent.mkdir(exist_ok=True)
    part = f"{chosen.part}, each half by the other's tails" if chosen.crossed else chosen.part
    picture(points, part).savefig(PICTURE, dpi=110, metadata={"Software": None})
    if chosen.write:
        write_rows(rows(points), RESULTS)
    return 0


def point(wanted: Sequence[Trace], budget: float, processes: int = PROCESSES) -> Point:
    """The warnings at one budget."""
    raised = ours.raised([trace.file for trace in wanted], budget, processes)
    moved = every = criticals = steps = 0
    for trace, transitions in zip(wanted, raised, strict=True):
        steps += trace.label.quiet_steps
        heard = false_ones(trace.label, transitions)
        every += len(heard)
        moved += sum(each.detector in STATISTICAL for each in heard)
        criticals += sum(each.severity is Severity.CRITICAL for each in heard)
    return Point(budget, steps, moved, every, criticals)


def crossed_points(seen: Sequence[Seen]) -> list[Point]:
    """Excursions of charts in place of warnings; there are no others."""
    steps = sum(run.book.steps for run in seen)
    counts = [tail_books.crossed(seen, budget) for budget in BUDGETS]
    return [Point(budget, steps, count, count, 0) for budget, count in zip(BUDGETS, counts, strict=True)]


def false_ones(label: Label, transitions: Sequence[Transition]) -> list[Transition]:
    """Each incident that reached warning or critical while nothing was wrong, as it stood when it last did."""
    heard: dict[str, Transition] = {}
    for each in transitions:
        quiet = each.step < label.quiet_steps or label.healthy
        if quiet and each.severity is not Severity.INFO and each.status is not Status.RESOLVED:
            heard[each.incident] = each
    return list(heard.values())


def table(points: Sequence[Point]) -> str:
    """For people."""
    lines = [f"{points[0].steps:,} quiet steps; warnings per million of them (95 %, Poisson)"]
    lines.append("  asked   of detectors with a budget        of all detectors   criticals")
    for each in points:
        told = [_told(each, count) for count in (each.moved, each.every)]
        lines.append(f"{each.asked:7,.0f}   {told[0]:>28}   {told[1]:>28}   {each.criticals}")
    return "\n".join(lines)


def _told(of: Point, count: int) -> str:
    low, high = of.interval(count)
    return f"{of.rate(count):,.0f} ({low:,.0f} to {high:,.0f}), {count}"


def picture(points: Sequence[Point], part: str) -> Figure:
    """Asked against measured; the line is where they are equal."""
    figure = Figure(figsize=(6, 5.4), layout="constrained")
    axes = figure.subplots()
    ends = points[0].asked / 2, points[-1].asked * 2
    axes.plot(ends, ends, color="0.6", linewidth=1, label="as asked")
    floor = points[0].rate(1) / 3
    for name, marker, style, colour, of in (
        ("detectors that the budget moves", "o", "-", "#0072B2", "moved"),
        ("all detectors", "s", "--", "#D55E00", "every"),
    ):
        counts = [getattr(each, of) for each in points]
        if of == "every" and all(each.moved == each.every for each in points):
            continue
        shift = 1.0 if of == "moved" else 1.06
        x = [each.asked * shift for each in points]
        y = [max(each.rate(count), floor) for each, count in zip(points, counts, strict=True)]
        low, high = zip(
            *(each.interval(count) for each, count in zip(points, counts, strict=True)), strict=True
        )
        below = [at - max(end, floor) for at, end in zip(y, low, strict=True)]
        above = [end - at for at, end in zip(y, high, strict=True)]
        axes.errorbar(
            x, y, (below, above), marker=marker, linestyle=style, color=colour, capsize=3, label=name
        )
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=(floor * 0.8, ends[1]))
    axes.set_xlabel("asked: false warnings per million steps")
    axes.set_ylabel("measured, with 95 % Poisson intervals")
    axes.set_title(f"{part}: {points[0].steps:,} quiet steps; lowest line = none", fontsize=9)
    axes.legend(frameon=False, fontsize=9)
    return figure


def rows(points: Sequence[Point]) -> list[Row]:
    """For ``results.json``; the note has the interval."""
    return [
        Row(
            f"{NAME}{each.asked:g}", each.rate(each.moved), "per million steps", None, None,
            f"{each.moved} in {each.steps:,} steps, 95 %: {each.interval(each.moved)[0]:,.0f} to "
            f"{each.interval(each.moved)[1]:,.0f}; all detectors: {each.every}",
        )
        for each in points
    ]  # fmt: skip


def write_rows(found: Sequence[Row], path: Path) -> None:
    """Put these rows into the results in place of those of their names; the others stay."""
    known = msgspec.json.decode(path.read_bytes()) if path.exists() else []
    kept = [row for row in known if not row["name"].startswith(NAME)]
    ours_ = [
        {name: getattr(row, name) for name in ("name", "value", "unit", "target", "ok")} for row in found
    ]
    path.write_bytes(msgspec.json.format(msgspec.json.encode([*kept, *ours_]), indent=2) + b"\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.calibration", description=__doc__)
    parser.add_argument("--part", choices=("develop", "validate"), help="default: validate; not with --fit")
    parser.add_argument("--fit", action="store_true", help="fit the shipped tails to the part `fit`")
    parser.add_argument(
        "--crossed", action="store_true", help="excursions of charts, each half by the other's tails"
    )
    parser.add_argument("--write", action="store_true", help="put the rows into benchmarks/results.json")
    parser.add_argument(
        "--corpus", type=Path, default=Path(os.environ.get("CORPUS") or CORPUS), metavar="FOLDER"
    )
    parser.add_argument("--processes", type=int, default=PROCESSES)
    chosen = parser.parse_args(arguments)
    if chosen.fit and chosen.part is not None:
        parser.error("--fit fits to a part of its own: what is fitted to must not be what it is tried on")
    chosen.part = chosen.part or ("fit" if chosen.fit else "validate")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
