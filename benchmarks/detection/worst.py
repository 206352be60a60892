"""The worst that is left: visible faults that were missed, the plainest first, and false alarms; a picture of each."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from matplotlib.figure import Figure

from benchmarks.detection.affected import affected_names
from benchmarks.detection.labels import Trace
from benchmarks.detection.plots import DPI
from benchmarks.detection.scoring import FalseAlarm, FaultScore, RunScore
from benchmarks.detection.series import RankSeries, read
from benchmarks.detection.tally import visible

AROUND = 400
"""Steps shown before and after."""
SHOWN = 3
"""Series in a picture."""
TITLE_WIDTH = 110
"""Characters in a line of 8 points."""


class Worst(msgspec.Struct, frozen=True):
    """One picture and what it shows, as a sentence."""

    file: Path
    text: str


def misses(runs: Sequence[RunScore], count: int) -> list[FaultScore]:
    """The visible faults that were not found, the plainest to the oracle first."""
    missed = [score for run in runs for score in run.faults if score.found is None and visible(score)]
    missed.sort(
        key=lambda score: (1.0 if score.visible is None else score.visible, score.fault.code, score.run)
    )
    return missed[:count]


def false_alarms(runs: Sequence[RunScore], count: int) -> list[FalseAlarm]:
    """The false alarms, critical ones and those with the highest score first, one a run."""
    alarms = sorted(
        (alarm for run in runs for alarm in run.false_alarms),
        key=lambda alarm: (not alarm.critical, -alarm.page.score, alarm.run),
    )
    return list({alarm.run: alarm for alarm in reversed(alarms)}.values())[::-1][:count]


def draw(traces: Sequence[Trace], runs: Sequence[RunScore], folder: Path, count: int) -> list[Worst]:
    """Write the pictures of the `count` worst of both into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("worst-*.png"):
        old.unlink()
    files = {trace.label.run: trace.file for trace in traces}
    made = []
    for at, score in enumerate(misses(runs, count), 1):
        path = folder / f"worst-miss-{at}.png"
        _draw_miss(read(files[score.run]), score).savefig(path, dpi=DPI, metadata={"Software": None})
        made.append(Worst(path, _told_miss(score)))
    for at, alarm in enumerate(false_alarms(runs, count), 1):
        path = folder / f"worst-false-alarm-{at}.png"
        _draw_alarm(read(files[alarm.run]), alarm).savefig(path, dpi=DPI, metadata={"Software": None})
        made.append(Worst(path, _told_alarm(alarm)))
    return made


def _draw_miss(ranks: Sequence[RankSeries], score: FaultScore) -> Figure:
    fault = score.fault
    series = next((each for each in ranks if each.rank == fault.rank), ranks[0])
    figure = _panels(series, affected_names(fault, series), fault.onset_step, _told_miss(score))
    for axes in figure.axes:
        axes.axvline(fault.onset_step, color="black", linestyle="--")
        axes.axvspan(fault.onset_step, fault.deadline, color="0.85", zorder=0)
    return figure


def _draw_alarm(ranks: Sequence[RankSeries], alarm: FalseAlarm) -> Figure:
    page = alarm.page
    series = next((each for each in ranks if each.rank in page.ranks), ranks[0])
    layer = page.layers[0] if page.layers else ""
    wanted = [
        (page.statistic, layer),
        (page.statistic, ""),
        ("loss", ""),
        ("grad_norm_total", ""),
        ("lr", ""),
    ]
    figure = _panels(series, wanted, page.step, _told_alarm(alarm))
    for axes in figure.axes:
        axes.axvline(page.step, color="black", linestyle=":")
    return figure


def _panels(series: RankSeries, wanted: Sequence[tuple[str, str]], centre: float, title: str) -> Figure:
    there = [pair for pair in dict.fromkeys(wanted) if series.has(*pair)][:SHOWN] or [("loss", "")]
    figure = Figure(figsize=(8, 1.2 + 1.5 * len(there)), layout="constrained")
    all_axes = figure.subplots(len(there), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (signal, layer) in zip(all_axes, there, strict=True):
        steps, values = series.column(signal, layer)
        near = np.abs(steps - centre) <= AROUND
        axes.plot(steps[near], values[near], color="black", linewidth=0.8, marker=".", markersize=2)
        if near.any() and np.nanmin(values[near], initial=1.0) > 0 and np.ptp(np.log(values[near])) > 2:
            axes.set_yscale("log")
        axes.set_ylabel(f"{signal}\n{layer}" if layer else signal, fontsize=7)
        axes.tick_params(labelsize=7)
    all_axes[-1].set_xlabel("step", fontsize=8)
    figure.suptitle(textwrap.fill(title, TITLE_WIDTH), fontsize=8)
    return figure


def _told_miss(score: FaultScore) -> str:
    fault = score.fault
    where = fault.layer or fault.block or ("" if fault.rank is None else f"rank {fault.rank}")
    p = "not asked" if score.visible is None else f"{score.visible:.0e}"
    return (
        f"missed: {fault.code} {fault.kind}{where and f' {where}'} in {score.run} ({score.model}), "
        f"onset {fault.onset_step}, strength {fault.strength:.3g}, oracle's p {p}; raised instead: {score.instead}"
    )


def _told_alarm(alarm: FalseAlarm) -> str:
    page = alarm.page
    layer = f" in {page.layers[0]}" if page.layers else ""
    near = f"; latest benign event: {alarm.near}" if alarm.near else ""
    severity = "critical" if alarm.critical else str(page.severity)
    return (
        f"false alarm: {page.kind}{layer}, {severity}, in {alarm.run} ({alarm.model}) at step {page.step:g}, "
        f"by {page.statistic}, score {page.score:.2f}{near}"
    )
