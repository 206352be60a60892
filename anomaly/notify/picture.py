"""The evidence of one incident as a picture for a phone: the statistic over its usual band, a strip of layers or ranks.

It must be readable at 360 pixels, in grey and by the colour-blind. Nothing here is global state, so that threads may
draw at once. Names come from runs: they are shown, never obeyed, and a dollar in one begins no formula.
"""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anomaly.incidents import KINDS, Severity, Transition
from anomaly.notify.lettering import drawn, shared_start
from anomaly.notify.picture_curve import INK, draw_curve, frame, step_axis
from anomaly.notify.picture_strip import NAME_LETTERS, draw_strip
from anomaly.notify.strips import Strip
from anomaly.notify.window import Window

WIDTH, DOTS = 4.5, 200
"""Inches, and dots an inch: 900 pixels wide."""
HEAD, CURVE, CURVE_ALONE, ROW, LEAST_STRIP = 1.08, 1.5, 2.2, 0.155, 0.5
FOOT, BETWEEN = 0.46, 0.55
LETTER, LEFT, RIGHT = 0.072, 0.55, 0.14
TITLE_LETTERS, RUN_LETTERS = 46, 50
BADGES = {
    Severity.CRITICAL: ("#1a1a1a", "#ffffff"),
    Severity.WARNING: ("#f0b429", "#1a1a1a"),
    Severity.INFO: ("#dddddd", "#1a1a1a"),
}


def draw(transition: Transition, around: Window) -> bytes:
    """The picture as PNG. `around` is what was measured around this incident."""
    strip = around.strip
    curve = CURVE if strip is not None or len(around.curves) > 1 else CURVE_ALONE
    heights = [curve] * len(around.curves)
    if strip is not None:
        heights.append(max(ROW * len(strip.names), LEAST_STRIP))
    figure = Figure(
        figsize=(WIDTH, HEAD + sum(heights) + BETWEEN * (len(heights) - 1) + FOOT),
        dpi=DOTS,
        facecolor="white",
    )
    FigureCanvasAgg(figure)
    _title(figure, transition)
    left = LEFT if strip is None else max(LEFT, _room_for(strip))
    tops = [HEAD + sum(heights[:at]) + BETWEEN * at for at in range(len(heights))]
    panels = [_panel(figure, left, top, height) for top, height in zip(tops, heights, strict=True)]
    for panel, each in zip(panels, around.curves, strict=False):
        draw_curve(panel, around, each, transition.first_step)
    if strip is not None:
        draw_strip(figure, panels[-1], strip, around.steps, transition.first_step)
        panels[-1].set_xlim(panels[0].get_xlim())
    for panel in panels:
        step_axis(panel)
        panel.tick_params(labelbottom=panel is panels[-1])
    panels[-1].set_xlabel("; ".join(("step", *around.notes)), fontsize=8.5, labelpad=2)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS, pil_kwargs={"compress_level": 5})
    return buffer.getvalue()


def _title(figure: Figure, transition: Transition) -> None:
    """Severity and kind, then the run."""
    height = figure.get_figheight()
    kind = KINDS.get(transition.kind)
    title = transition.kind.replace("_", " ") if kind is None else kind.title
    back, ink = BADGES[transition.severity]
    badge = figure.text(
        0.022, 1 - 0.14 / height, transition.severity.upper(), fontsize=8.5, fontweight="bold", color=ink, va="center",
        bbox={"facecolor": back, "edgecolor": INK, "linewidth": 0.6, "boxstyle": "round,pad=0.25"},
    )  # fmt: skip
    width = badge.get_window_extent().width / (WIDTH * DOTS)
    figure.text(
        0.022 + width + 0.04, 1 - 0.14 / height, drawn(title, TITLE_LETTERS), fontweight="bold", color=INK,
        fontsize=11.5 if len(title) <= 32 else 9,
        va="center",
    )  # fmt: skip
    figure.text(
        0.015, 1 - 0.37 / height, drawn(transition.run, RUN_LETTERS), fontsize=9.5, color=INK, va="center"
    )


def _room_for(strip: Strip) -> float:
    """Inches for the names of its rows."""
    start = len(shared_start(strip.names))
    longest = max(len(name) - start + 2 * (row in strip.suspects) for row, name in enumerate(strip.names))
    return min(longest, NAME_LETTERS + 2) * LETTER + 0.12


def _panel(figure: Figure, left: float, top: float, high: float) -> Axes:
    """A panel of this height, so many inches from the top."""
    height = figure.get_figheight()
    place = (left / WIDTH, 1 - (top + high) / height, 1 - (left + RIGHT) / WIDTH, high / height)
    panel = figure.add_axes(place)
    frame(panel)
    return panel
