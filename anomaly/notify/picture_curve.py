"""The upper part of a picture: the statistic, what was usual for it before, and where the incident began."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from anomaly.notify.lettering import drawn, number
from anomaly.notify.strips import Floats
from anomaly.notify.wanted import Bools
from anomaly.notify.window import Curve, Window

INK, BLUE, BAND, BAND_EDGE, ALARM, AFTER = "#1a1a1a", "#0b4f8a", "#bcd7ee", "#7fa8cc", "#d55e00", "#f3eee6"
FEW = 70
MARKS = 8
LOG_RANGE = 6.0
LOOK_BACK = 40
LEAST = 5
"""Readings that say what is usual."""
GAP = 8
"""Readings before each that do not: an onset may be told a few too late."""
LABEL_LETTERS, UNIT_LETTERS = 50, 74


class Band(NamedTuple):
    """What was usual: at each step from the readings before it, and as it was at the onset from there on."""

    steps: Floats
    low: Floats
    high: Floats


def band_of(steps: Floats, values: Floats, onset: float, last: float) -> Band | None:
    """The band in which nearly all of the last readings lay, up to step `last`; None where there were too few.

    Finite values only.
    """
    before = int(np.searchsorted(steps, onset))
    if before < LEAST:
        return None
    gap = GAP if before >= LEAST + GAP else 0
    steps = np.append(steps, max(float(steps[-1]), last))[LEAST + gap :]
    ends = [min(at, before) - gap for at in range(LEAST + gap, len(values) + 1)]
    usual = [np.quantile(values[max(0, end - LOOK_BACK) : end], (0.02, 0.98)) for end in ends]
    low, high = np.array(usual).T
    return Band(steps, low, high)


def draw_curve(axes: Axes, around: Window, curve: Curve, onset: float) -> None:
    """Draw it; the axes have their place already."""
    steps, values = around.steps[curve.measured], curve.values[curve.measured]
    finite = np.isfinite(values)
    logarithmic = _scale(axes, values[finite])
    shown = finite & ((values > 0) | (not logarithmic))
    _limits_x(axes, around.steps)
    last = axes.get_xlim()[1]
    axes.axvspan(onset, max(last, onset), color=AFTER, zorder=0, linewidth=0)
    band = band_of(steps[shown], values[shown], onset, last)
    if band is not None:
        axes.fill_between(
            band.steps, band.low, band.high, facecolor=BAND, edgecolor=BAND_EDGE, linewidth=0.8, zorder=1
        )
    few = "o" if shown.sum() <= FEW else None
    axes.plot(
        steps,
        np.where(shown, values, np.nan),
        color=BLUE,
        linewidth=1.4,
        zorder=3,
        marker=few,
        markersize=2.6,
    )
    _limits_y(axes, values[shown], band, logarithmic)
    _expected(axes, curve, onset, last)
    _marks(axes, steps, values, logarithmic)
    axes.axvline(onset, color=INK, linewidth=1.3, linestyle=(0, (4, 2)), zorder=4)
    if curve is around.curves[0]:
        _onset_label(axes, onset)
    _label(axes, curve, band is not None and curve is around.curves[0])
    axes.set_xlim(right=last)


def frame(axes: Axes) -> None:
    """Thin lines, no box."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(labelsize=8.5, length=3, width=0.8, pad=2)


def step_axis(axes: Axes) -> None:
    """Few steps, with separators."""
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))


def _scale(axes: Axes, finite: Floats) -> bool:
    """Logarithmic where values span a range; whether it is."""
    positive = finite[finite > 0]
    wide = len(positive) > 0 and positive.max() > LOG_RANGE * positive.min() and not (finite < 0).any()
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    if wide:
        axes.set_yscale("log")
        decades = np.log10(positive.max() / positive.min())
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,), numticks=5))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
    return bool(wide)


def _limits_x(axes: Axes, steps: Floats) -> None:
    """As far as the cells of a strip of the same steps go."""
    before, after = (steps[1] - steps[0], steps[-1] - steps[-2]) if len(steps) > 1 else (1.0, 1.0)
    axes.set_xlim(steps[0] - before / 2, steps[-1] + after / 2)


def _limits_y(axes: Axes, shown: Floats, band: Band | None, logarithmic: bool) -> None:
    """From the least to the largest, with room for the marks at both ends."""
    every = shown if band is None else np.concatenate((shown, band.low, band.high))
    if not len(every):
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_locator(FixedLocator([]))
        return
    low, high = float(every.min()), float(every.max())
    if logarithmic:
        room = (high / low) ** 0.14
        axes.set_ylim(low / room, high * room)
        return
    room = 0.14 * (high - low) or 0.1 * abs(high) or 1.0
    axes.set_ylim(low - room, high + room)


def _marks(axes: Axes, steps: Floats, values: Floats, logarithmic: bool) -> None:
    """What has no place on the scale: at its upper edge, or at its lower one."""
    zero = (values == 0) & logarithmic
    kinds: tuple[tuple[Bools, str, float, str], ...] = (
        (np.isnan(values), "X", 0.95, "NaN"),
        (np.isposinf(values), "^", 0.95, "Inf"),
        (np.isneginf(values), "v", 0.05, "-Inf"),
        (zero, "v", 0.05, "0"),
    )
    for where, marker, height, name in kinds:
        if not where.any():
            continue
        at = steps[where][np.linspace(0, where.sum() - 1, min(int(where.sum()), MARKS)).round().astype(int)]
        axes.scatter(
            at, np.full(len(at), height), transform=axes.get_xaxis_transform(), marker=marker, s=34,
            facecolor=ALARM, edgecolor=INK, linewidth=0.7, zorder=6, clip_on=False,
        )  # fmt: skip
        right = steps[-1] - at[0] < 0.25 * (steps[-1] - steps[0])
        axes.annotate(
            name, (at[0], height), xycoords=axes.get_xaxis_transform(), xytext=(-6 if right else 6, 0),
            textcoords="offset points", ha="right" if right else "left", va="center", fontsize=9,
            fontweight="bold", color=INK, zorder=7,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
        )  # fmt: skip


def _expected(axes: Axes, curve: Curve, onset: float, last: float) -> None:
    """The worker's own expectation, from the onset on."""
    low, high = axes.get_ylim()
    if curve.expected is not None and low <= curve.expected <= high:
        axes.hlines(
            curve.expected,
            onset,
            max(last, onset),
            color=BLUE,
            linewidth=1.2,
            linestyle=(0, (1, 1.5)),
            zorder=2,
        )


def _onset_label(axes: Axes, onset: float) -> None:
    first, last = axes.get_xlim()
    share = (onset - first) / (last - first)
    if not 0 <= share <= 1:
        return
    step = f"{onset:,.6f}".rstrip("0").rstrip(".")
    axes.annotate(
        f"since step {step}", (onset, 1.0), xycoords=axes.get_xaxis_transform(),
        xytext=(-3 if share > 0.5 else 3, 1), textcoords="offset points", ha="right" if share > 0.5 else "left",
        va="bottom", fontsize=8.5, color=INK,
    )  # fmt: skip


def _label(axes: Axes, curve: Curve, explained: bool) -> None:
    of = f" of {curve.of}" if curve.of else ""
    axes.annotate(
        drawn(f"{curve.statistic}{of}", LABEL_LETTERS), (0.0, 1.0), xycoords=("figure fraction", "axes fraction"),
        xytext=(6, 24), textcoords="offset points", ha="left", va="bottom", fontsize=9.5, fontweight="bold", color=BLUE,
        annotation_clip=False,
    )  # fmt: skip
    unit = "; ".join(filter(None, (curve.unit, "band: what was usual before" if explained else "")))
    axes.annotate(
        drawn(unit, UNIT_LETTERS), (0.0, 1.0), xycoords=("figure fraction", "axes fraction"), xytext=(6, 13),
        textcoords="offset points", ha="left", va="bottom", fontsize=8, color=INK, annotation_clip=False,
    )  # fmt: skip
