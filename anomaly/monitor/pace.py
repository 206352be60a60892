"""F50: the run's steps take longer than they did, by a quarter or more, and that lasts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anomaly.incidents.alarm import Alarm, alarm_by
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import LEARNING_RATE, Evidence, Severity
from anomaly.monitor.context import caution
from anomaly.monitor.history import PIECE, History
from anomaly.monitor.rules import onset_step
from anomaly.monitor.state import RunState
from detectors.pace import EFFECT, LAST, RARE_LAST, level, slower
from detectors.slab import SPARSE_STEPS

LASTING_READINGS = 16
"""Between the first look that finds it and the one that says so; half as many where each stands for many steps."""
LEARNED_READINGS = 320
"""A pace that the run has kept for so long is its usual one."""
FOLLOWED = 0.1
"""Of the way to a level that is a little higher, per look."""
TAIL_KEPT = 0.98
LEAST_SHARE, MOST_SHARE, SURE = 0.25, 0.9, 3.0
"""Of how much slower steps became, log2: how much smaller gradients did, if they are the mean of more samples; and how
many standard errors that must be."""
TIMES = np.log2([2.0, 4.0, 8.0])
"""How many times as many batches gradients are accumulated over, as a rule."""
NEAR = 0.1
"""log2: how near the steps' pace comes to that; the update and the loader take their share once, however many."""
STRAGGLER = "straggler"
_USUAL, _TAIL, _PEAK, _SINCE = "pace.usual", "pace.tail", "pace.peak", "pace.since"


def pace_alarms(state: RunState, moment: Moment, steps: float) -> list[Alarm]:
    """The seconds of the last steps against the usual ones; learns them. A reading stands for so many `steps`."""
    history, known = state.history, state.history.known
    seconds = history.seconds[np.isfinite(history.seconds) & (history.seconds > 0)]
    rare = steps >= SPARSE_STEPS
    if len(seconds) < (RARE_LAST if rare else LAST):
        return []
    y = np.log2(seconds.astype(np.float64))
    now = level(y)
    if _USUAL not in known or _is_explained(state):
        _begin_anew(known, now)
        return []
    usual = known[_USUAL]
    ratio = slower(y, usual, known.get(_TAIL, 0.0), rare=rare) * state.slab.levels.gain("pace", "seconds")
    ratio /= caution(state)
    if ratio < 1:
        _learn(known, now, usual)
        return []
    since = known.setdefault(_SINCE, float(history.taken))
    lasts = history.taken - since
    if lasts >= LEARNED_READINGS or _averages_more(history, usual):
        _begin_anew(known, now)
        return []
    lasting = LASTING_READINGS // 2 if rare else LASTING_READINGS
    if lasts < lasting or any(each.kind == STRAGGLER for each in state.book.open):
        return []
    first_step = onset_step(state, int(lasts) + LAST // 2, moment)
    evidence = Evidence("step_seconds", 2.0**now, 2.0**usual, ratio, "pace")
    alarm = alarm_by("throughput_drop", first_step, evidence)
    if _may_be_more_samples(state, now - usual):
        return [replace(alarm, severity=Severity.INFO)]
    return [alarm]


def _may_be_more_samples(state: RunState, rise: float) -> bool:
    """Whether steps take about two, four or eight times as long (`rise`: log2), in a run that tells of no tokens.

    Gradients that are accumulated over twice as many batches take twice as long; a slow host seldom takes just that.
    """
    return "tokens" not in state.table.model_slots and bool((np.abs(rise - TIMES) <= NEAR).any())


def _averages_more(history: History, usual: float) -> bool:
    """Whether gradients became smaller as steps became slower: each is now the mean of more samples.

    Of n times the samples in n times the time, what is noise in a gradient is smaller by the root of n: a step in
    the norm where the pace has one, beside the line that it follows anyway.
    """
    seconds, norm = history.seconds, history.of("grad_norm_total")
    known = np.isfinite(seconds) & (seconds > 0) & np.isfinite(norm) & (norm > 0)
    y, norm = np.log2(seconds[known].astype(np.float64)), np.log2(norm[known].astype(np.float64))
    quick = y < usual + EFFECT / 2
    at = np.flatnonzero(quick[:-2] & quick[1:-1] & quick[2:])
    first = int(at[-1]) + 3 if len(at) else 0
    if min(first, len(y) - first) < PIECE // 2:
        return False
    after = (np.arange(len(y)) >= first).astype(np.float64)
    design = np.stack([np.ones(len(y)), np.linspace(-1.0, 1.0, len(y)), after], axis=1)
    fit, *_ = np.linalg.lstsq(design, norm, rcond=None)
    variance = float(np.mean((norm - design @ fit) ** 2)) * float(np.linalg.inv(design.T @ design)[2, 2])
    fallen, rise = -float(fit[2]), float(np.median(y[first:])) - usual
    return LEAST_SHARE * rise <= fallen <= MOST_SHARE * rise and fallen > SURE * variance**0.5


def _is_explained(state: RunState) -> bool:
    """Whether the run said, or its batch shows, that a step is another thing now; a learning rate changes no pace."""
    recent = state.readings - LAST
    return any(
        reading > recent for why, (reading, _) in state.context.changes.items() if why != LEARNING_RATE
    )


def _learn(known: dict[str, float], now: float, usual: float) -> None:
    """A pace that is no alarm: the usual one follows, at once where it is quicker; a rise that came back is a tail."""
    rise = now - usual
    if rise < EFFECT / 2:
        known[_USUAL] = now if rise < 0 else usual + FOLLOWED * rise
        known[_TAIL] = max(known.get(_TAIL, 0.0) * TAIL_KEPT, known.get(_PEAK, 0.0))
        _settle(known)
    else:
        known[_PEAK] = max(known.get(_PEAK, 0.0), rise)


def _begin_anew(known: dict[str, float], now: float) -> None:
    """From here on the pace of now is the usual one."""
    known[_USUAL] = now
    _settle(known)


def _settle(known: dict[str, float]) -> None:
    for name in (_PEAK, _SINCE):
        known.pop(name, None)
