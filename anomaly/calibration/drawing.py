"""A run as one picture for a phone: loss, gradient norm, each layer's worst score, and the incidents over all three.

It must be readable in grey: severities differ in line and hatch, not in colour alone, scores in lightness.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from anomaly.calibration.curves import CURVES, Curves
from anomaly.escapes import shown
from anomaly.incidents.transition import Severity, Status, Transition
from anomaly.screen import against, step_text, title_of, where

SIZE_INCHES, DOTS = (6.0, 8.0), 130
LISTED_AT_MOST = 6
NAMED_LAYERS = 12
TITLES = {"loss": "loss", "grad_norm_total": "gradient norm"}
SCORES = ListedColormap(["#ffffff", "#f3e3b3", "#e0b15e", "#b0681f", "#3d1c02"])
SCORE_EDGES = (0.0, 0.25, 0.5, 0.75, 1.0, 1e9)
STYLES: dict[Severity, dict[str, Any]] = {
    Severity.INFO: {"color": "#7f7f7f", "linestyle": ":", "linewidth": 1.0},
    Severity.WARNING: {"color": "#0072b2", "linestyle": "--", "linewidth": 1.4},
    Severity.CRITICAL: {"color": "#000000", "linestyle": "-", "linewidth": 2.0},
}


def draw(path: Path, run: str, curves: Curves, incidents: Sequence[Transition]) -> None:
    """Write the picture as PNG. `incidents` in their last states, in order of opening. Raises OSError."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        heard = [each for each in incidents if each.severity is not Severity.INFO]
        listed = heard[:LISTED_AT_MOST]
        rows = figure.add_gridspec(4, 1, height_ratios=(3, 3, 3.4, 0.45 + 0.42 * max(len(listed), 1)))
        panels = [figure.add_subplot(rows[0])]
        panels += [figure.add_subplot(rows[at], sharex=panels[0]) for at in (1, 2)]
        for axes, name in zip(panels[:2], CURVES, strict=True):
            _curve(axes, name, curves)
        _strip(figure, panels[2], curves)
        for axes in panels:
            _marks(axes, incidents, listed, curves)
        for axes in panels[:2]:
            axes.tick_params(labelbottom=False)
        panels[2].set_xlabel("step")
        panels[0].set_title(shown(run, 48), loc="left", fontweight="bold", pad=16)
        _list(figure.add_subplot(rows[3]), listed, len(heard) - len(listed))
        figure.savefig(path, dpi=DOTS, format="png")


def _curve(axes: Axes, name: str, curves: Curves) -> None:
    pairs = np.array(curves.values[name], np.float64).reshape(-1, 2)
    axes.set_ylabel(TITLES[name])
    if not np.isfinite(pairs).any():
        axes.text(
            0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color="#7f7f7f"
        )
        axes.set_yticks([])
        return
    axes.fill_between(curves.steps, pairs[:, 0], pairs[:, 1], color="#555555", linewidth=0.6, alpha=0.9)
    finite = pairs[np.isfinite(pairs)]
    if finite.min() > 0 and finite.max() > 8 * finite.min():
        axes.set_yscale("log")


def _strip(figure: Figure, axes: Axes, curves: Curves) -> None:
    strip = curves.strip()
    names = ["whole model", *curves.layers]
    steps = np.array(curves.steps)
    last = steps[-1] + (steps[-1] - steps[-2] if len(steps) > 1 else 1.0)
    mesh = axes.pcolormesh(
        np.append(steps, last), np.arange(len(names) + 1) - 0.5, strip,
        cmap=SCORES, norm=BoundaryNorm(SCORE_EDGES, SCORES.N), rasterized=True,
    )  # fmt: skip
    axes.set_ylim(len(names) - 0.5, -0.5)
    at = np.unique(np.linspace(0, len(names) - 1, min(len(names), NAMED_LAYERS)).round().astype(int))
    axes.set_yticks(at, [shown(names[row], 18) for row in at], fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: step_text(round(step, 6))))
    bar = figure.colorbar(
        mesh, ax=axes, location="bottom", aspect=45, pad=0.02, ticks=SCORE_EDGES[:-1], spacing="uniform"
    )
    bar.set_ticklabels(["0", "¼", "½", "¾", "alarm"])
    bar.set_label("worst score over its alarm level", fontsize=8)


def _marks(axes: Axes, incidents: Sequence[Transition], listed: Sequence[Transition], curves: Curves) -> None:
    first = axes.get_subplotspec()
    top = first is not None and first.rowspan.start == 0
    for each in incidents:
        style = STYLES[each.severity]
        if each.severity is not Severity.INFO:
            until = each.step if each.status is Status.RESOLVED else curves.steps[-1]
            hatch = "///" if each.severity is Severity.CRITICAL else None
            axes.axvspan(
                each.first_step,
                max(until, each.first_step),
                color=style["color"],
                alpha=0.13,
                hatch=hatch,
                linewidth=0,
            )
        axes.axvline(each.first_step, **style)
        if top and each in listed:
            axes.annotate(
                str(listed.index(each) + 1), (each.first_step, 1.0), xycoords=("data", "axes fraction"),
                xytext=(0, 3), textcoords="offset points", ha="center", va="bottom", fontsize=8, color="white",
                bbox={"boxstyle": "circle,pad=0.2", "facecolor": style["color"], "edgecolor": "none"},
            )  # fmt: skip


def _list(axes: Axes, listed: Sequence[Transition], more: int) -> None:
    axes.set_axis_off()
    lines = [_line(number, each) for number, each in enumerate(listed, 1)] or [
        "nothing a person would have heard of"
    ]
    if more > 0:
        lines.append(f"and {more} more")
    axes.text(0.0, 1.0, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=7.5, linespacing=1.35)


def _line(number: int, each: Transition) -> str:
    what = f"{number}  {each.severity.upper()}  step {step_text(each.first_step)}: {title_of(each.kind)}, {where(each)}"
    return f"{what}\n     {shown(each.statistic)} {against(each.value, each.expected)}"
