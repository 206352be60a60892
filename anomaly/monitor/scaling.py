"""The loss scale that collapses (F05), and clipping at nearly every step (F14): counts over the last readings."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_by
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.history import KEPT
from anomaly.monitor.state import RunState

SETTLED_STEPS = KEPT
"""Without a skipped one: the search for the scale is over. So it is where the scale has risen."""
LEAST_SETTLED = 16
"""Readings, of however many steps."""
HALVINGS = 4
RECENT = 32
SKIPPED_SHARE = 0.25
CLIPPED = 0.999
SATURATED_SHARE = 0.95
FREE_SHARE = 0.5
SHARE_RATE = 1 / 512
SHARE_READINGS = 256


def scale_alarms(state: RunState, moment: Moment, steps: float) -> list[Alarm]:
    """F05: since the search for a scale ended, it halved four times in the last readings, or a quarter was skipped.

    A scaler halves its scale at an overflow and doubles it after some thousand good steps, so a healthy one does so
    about as often. In the search there is no limit but the scale 1, below which gradients are made smaller.

    steps: that a reading stands for.
    """
    history = state.history
    scale, skipped = history.of("loss_scale"), history.of("skipped")
    measured = np.isfinite(scale)
    if not measured.any():
        return []
    scale, skipped = scale[measured], skipped[measured]
    falls = np.diff(scale) < 0
    bad = np.concatenate([[False], falls]) | (skipped > 0)
    if "scale.settled" not in history.known:
        if _is_settled(bad, steps) or np.any(np.diff(scale) > 0):
            history.known["scale.settled"] = 1.0
        if not (scale[-1] < 1 and falls[-RECENT:].any()):
            return []
    halvings = float(np.log2(np.max(scale[-RECENT:]) / max(float(scale[-1]), 1e-30)))
    share = float(np.mean(bad[-RECENT:])) if len(bad) >= RECENT else 0.0
    ratio = max(halvings / HALVINGS, share / SKIPPED_SHARE)
    if ratio < 1 or not bad[-RECENT:].sum() >= HALVINGS:
        return []
    first = int(history.steps[measured][-RECENT:][np.argmax(bad[-RECENT:])])
    evidence = Evidence("loss_scale", float(scale[-1]), float(np.max(scale[-RECENT:])), ratio, "halvings")
    return [alarm_by("loss_scale_collapse", first, evidence)]


def _is_settled(bad: NDArray[np.bool_], steps: float) -> bool:
    """Whether the last readings, of so many steps each, say that the search for a scale is over."""
    readings = max(LEAST_SETTLED, math.ceil(SETTLED_STEPS / max(steps, 1.0)))
    return len(bad) >= readings and not bad[-readings:].any()


def clip_alarms(state: RunState, new: int, moment: Moment) -> list[Alarm]:
    """F14, a remark: clipped at nearly every step, where it was clipped at less than half of them before."""
    history, known = state.history, state.history.known
    clip = history.of("clip_coef")
    clip = clip[np.isfinite(clip)]
    if not len(clip):
        return []
    clipped = clip < CLIPPED
    share = _share(clipped)
    usual, seen = known.get("clip.share", 0.0), known.get("clip.seen", 0.0)
    saturated = len(clip) == KEPT and share >= SATURATED_SHARE
    if not saturated:
        now = _share(clipped[-new:])
        known["clip.seen"] = seen + new
        known["clip.share"] = usual + max(SHARE_RATE * new, new / (seen + new)) * (now - usual)
        return []
    if seen < SHARE_READINGS or usual > FREE_SHARE:
        known["clip.share"] = usual + SHARE_RATE * new * (share - usual)
        return []
    first = int(history.steps[0])
    evidence = Evidence("clip_coef", float(clip[-1]), 1.0, share / SATURATED_SHARE, "clipped_share")
    return [alarm_by("clip_saturation", first, evidence)]


def _share(held: NDArray[np.bool_]) -> float:
    """What `np.mean` says, in a tenth of its time."""
    return int(np.count_nonzero(held)) / len(held)
