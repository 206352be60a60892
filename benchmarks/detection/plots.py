"""Pictures of a scoreboard: detection against false alarms, delays, and how little of a fault is enough.

Readable in grey: detectors differ by marker and dash, not by colour alone (Okabe and Ito's palette).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from benchmarks.detection import intervals, public_logs
from benchmarks.detection.board import OURS, Detector
from benchmarks.detection.scoring import RunScore
from benchmarks.detection.tally import PER_STEPS, tally

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#666666")
MARKERS = "sD^vP*Xh<>pd8"
DASHES = ("-", "--", ":", "-.")
DPI = 90
DECADES = ((0, 2), (2, 4), (4, 6), (6, 8), (8, 12), (12, 20), (20, 50), (50, math.inf))
"""Bins of -log10 p, the oracle's; from 6 on a fault counts as visible."""


def draw(detectors: Sequence[Detector], folder: Path) -> list[Path]:
    """Write every picture into `folder`; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    of_ours = next(each for each in detectors if each.name == OURS).at_default
    made = {"curves": curves(detectors), "delay": delays(of_ours), "strength": strengths(of_ours)}
    paths = []
    for name, figure in made.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=DPI, metadata={"Software": None})
    return paths


def curves(detectors: Sequence[Detector]) -> Figure:
    """Recall against false alarms, each detector's knob swept; on runs with faults, and on public logs."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    exposure = sum(run.quiet_steps for run in detectors[0].at_default)
    floor = 0.5 * PER_STEPS / max(exposure, 1)
    for at, detector in enumerate(detectors):
        points = [_point(runs, floor) for _, runs in sorted(detector.runs.items())]
        _curve(left, detector, at, points, _point(detector.at_default, floor))
        if detector.public is not None and detector.public_at_default is not None:
            public = [_public_point(scores) for _, scores in sorted(detector.public.items())]
            _curve(right, detector, at, public, _public_point(detector.public_at_default))
    left.set_xscale("log")
    left.axvline(0.2, color="0.8", zorder=0)
    left.axhline(0.97, color="0.8", zorder=0)
    left.set(
        xlabel=f"false alarms per {PER_STEPS:,} quiet steps ({floor:.2g} = none)",
        ylabel="visible faults found",
    )
    right.set_xscale("symlog", linthresh=1)
    right.set_xlim(left=-0.1)
    right.axvline(1, color="0.8", zorder=0)
    right.axhline(0.85, color="0.8", zorder=0)
    right.set(xlabel="% of healthy public runs that page", ylabel="failing configurations found")
    for axes in (left, right):
        axes.set_ylim(-0.02, 1.02)
    left.set_title("runs with injected faults; filled: as published; grey: the targets", fontsize=9)
    right.set_title("public logs of whole models", fontsize=9)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure


def _point(runs: Sequence[RunScore], floor: float) -> tuple[float, float]:
    whole = tally(runs)
    return max(whole.false_alarm_rate or 0.0, floor), whole.recall or 0.0


def _public_point(scores: Sequence[public_logs.PublicScore]) -> tuple[float, float]:
    whole = public_logs.tally(scores)
    return 100 * whole.healthy_alarming / max(whole.healthy_runs, 1), whole.recall or 0.0


def _curve(
    axes: Axes,
    detector: Detector,
    at: int,
    points: Sequence[tuple[float, float]],
    default: tuple[float, float],
) -> None:
    mine = detector.name == OURS
    colour = "black" if mine else COLOURS[at % len(COLOURS)]
    marker = "o" if mine else MARKERS[at % len(MARKERS)]
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        color=colour,
        linestyle="-" if mine else DASHES[at % len(DASHES)],
        linewidth=2.5 if mine else 1,
        marker=marker,
        markersize=5 if mine else 4,
        markerfacecolor="none",
    )
    axes.plot(
        *default, color=colour, marker=marker, markersize=9, linestyle="none", label=detector.name, zorder=3
    )


def delays(runs: Sequence[RunScore]) -> Figure:
    """How late our pages are, in steps; faults that show at once and the others apart."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    found = [(score.fault.at_once, score.found.delay) for run in runs for score in run.faults if score.found]
    edges = [-0.5, 0.5, 1.5, 2.5, 5.5, 10.5, 20.5, 50.5, 100.5, 200.5, 300.5, math.inf]
    names = ["0", "1", "2", "3–5", "6–10", "11–20", "21–50", "51–100", "101–200", "201–300", "more"]
    for shift, at_once, colour, hatch, name in (
        (-0.2, True, "0.2", "", "shows at once"),
        (0.2, False, "0.75", "//", "gradual"),
    ):
        mine = [delay for kind, delay in found if kind is at_once]
        counts = [sum(low < each <= high for each in mine) for low, high in pairwise(edges)]
        places = [at + shift for at in range(len(counts))]
        axes.bar(
            places, counts, 0.4, color=colour, hatch=hatch, edgecolor="black", label=f"{name} ({len(mine)})"
        )
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="steps from onset to page", ylabel="faults found")
    axes.legend()
    return figure


def strengths(runs: Sequence[RunScore]) -> Figure:
    """The share found against how plainly the oracle sees the fault, with 95 % intervals."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    places, shares, low, high, names = [], [], [], [], []
    known = [
        (-math.log10(max(score.visible, 1e-300)), score.found is not None)
        for run in runs
        for score in run.faults
        if score.visible is not None
    ]
    for at, (least, most) in enumerate(DECADES):
        hits = [found for plain, found in known if least <= plain < most]
        names.append(f"{least:g}–{most:g}\n{len(hits)}" if most < math.inf else f"{least:g}+\n{len(hits)}")
        if hits:
            ends = intervals.share(sum(hits), len(hits))
            share = sum(hits) / len(hits)
            places.append(at)
            shares.append(share)
            low.append(max(share - ends[0], 0.0))
            high.append(max(ends[1] - share, 0.0))
    axes.errorbar(places, shares, yerr=[low, high], color="black", marker="o", capsize=3)
    axes.axvline(2.5, color="0.6", linestyle="--")
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set(
        xlabel="-log10 p of the oracle, and faults; from 6 on visible",
        ylabel="share found",
        ylim=(-0.03, 1.03),
    )
    return figure
