"""Losses too good to be true (F37) or below 0 (F36); how often they spike (F31); losses far up for good."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_by
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence, Severity
from anomaly.monitor.context import caution, own_data
from anomaly.monitor.flatness import LASTING_READINGS
from anomaly.monitor.history import KEPT, PIECE
from anomaly.monitor.state import RunState
from detectors.gaps import LEAST, gap
from detectors.glance import Glance
from detectors.levels import spike_level
from detectors.quiet import LAGS, fallen, still

POSITIVE_READINGS, FEW_READINGS = 32, 16
"""A loss that was above 0 for so many has shown that it is; for as few it must fall twice as far."""
JUMP_READINGS = 8
JUMP = 0.5
"""Of the usual loss, from one reading to the next."""
NEAR_ZERO = 0.3
BELOW = 2.0
SPIKE_LOG2, SPIKE_NOISES, SPIKE_BEFORE = 0.3, 6.0, 8
RECENT_SPIKES, USUAL_SPIKES = 200.0, 2000.0
"""Readings over which spikes are counted, of late and as a rule."""
MANY_SPIKES = 4.0
MORE_OFTEN = 4.0
RATE_READINGS = 256
FAR_BELOW = 0.75
"""log2: of 600,000 healthy readings none fell so far, nor any but of first steps by 0.5."""
FAR_UP = 1.5
"""log2 above the best: the run has lost what it had learned."""
ABOVE_START = 0.15
FAR_READINGS = 24


def out_of_range_alarms(state: RunState, loss: float, moment: Moment) -> list[Alarm]:
    """F36: below 0, by a loss that was well above it at each reading until it jumped. One that comes down to 0 may."""
    values = state.history.of_all("loss")
    values = values[np.isfinite(values)].astype(np.float64)
    usual = values[: -JUMP_READINGS - 1]
    if len(usual) < FEW_READINGS:
        return []
    care = 1.0 if len(usual) >= POSITIVE_READINGS else 2.0
    middle, least = float(np.median(usual)), float(usual.min())
    jump = -float(np.diff(values[-JUMP_READINGS - 1 :]).min())
    ratio = jump / (care * JUMP * middle)
    if least < NEAR_ZERO * middle or ratio < 1 or middle - loss < care * BELOW * (middle - least):
        return []
    evidence = Evidence("loss", loss, middle, ratio, "out_of_range")
    return [alarm_by("loss_out_of_range", moment.step, evidence)]


def collapse_alarms(state: RunState, new: int, moment: Moment) -> list[Alarm]:
    """F37: off a cliff, far below all of late, or still: too good to be true. `new` readings since the last look."""
    history = state.history
    loss = history.of("loss")
    for find, ratio, readings in (
        ("fallen", fallen(loss, spike_level(1), LASTING_READINGS, PIECE - 1), LASTING_READINGS),
        ("gap", *_far_below(state, loss, new)),
        ("still", *still(loss, LAGS if history.taken >= 2 * KEPT else 1)),
    ):
        if ratio < 0.5:
            continue
        ratio *= state.slab.levels.gain("collapse", "loss") / caution(state)
        if ratio >= 1:
            first_step = int(history.steps[-readings])
            expected = float(np.nanmedian(loss[:-readings]))
            evidence = Evidence("loss", float(loss[-1]), expected, ratio, find)
            return [alarm_by("loss_collapse", first_step, evidence)]
    return []


def _far_below(state: RunState, loss: NDArray[np.float32], new: int) -> tuple[float, int]:
    """The ratio for readings that are all far below each of those before, and how many ago they began."""
    if len(loss) < LEAST + LASTING_READINGS:
        return 0.0, LASTING_READINGS
    with np.errstate(divide="ignore"):
        found = gap(1.0 / loss, new, LASTING_READINGS)
    return found.by / (FAR_BELOW * own_data(state)), found.readings


def spike_rate_alarms(state: RunState, seen: Glance, new: int, moment: Moment) -> list[Alarm]:
    """F31, a warning only where spikes that recover come far more often than they did."""
    history, known = state.history, state.history.known
    count = 0
    least = max(SPIKE_LOG2, SPIKE_NOISES / 4 * seen.change)
    if seen.readings >= POSITIVE_READINGS and seen.newest_most - seen.median >= least:
        count = _spikes(history.of("loss"), new)
    recent = known.get("spikes.recent", 0.0) * math.exp(-new / RECENT_SPIKES) + count
    usual = known.get("spikes.usual", 0.0) * math.exp(-new / USUAL_SPIKES) + count
    known["spikes.recent"], known["spikes.usual"] = recent, usual
    if recent < MANY_SPIKES or history.taken < RATE_READINGS or not count:
        return []
    older = max(usual - recent, 0.5) / min(USUAL_SPIKES, history.taken - RECENT_SPIKES)
    ratio = recent / RECENT_SPIKES / older / MORE_OFTEN
    if ratio < 1:
        return []
    first_step = int(history.steps[0])
    evidence = Evidence("loss", float(history.of("loss")[-1]), None, ratio, "spike_rate")
    return [alarm_by("loss_spike_transient", first_step, evidence, Severity.WARNING)]


def _spikes(loss: np.ndarray, new: int) -> int:
    """Spikes that begin in the last `new` readings."""
    y = np.log2(loss[np.isfinite(loss) & (loss > 0)].astype(np.float64))
    middle, upper = np.quantile(y, (0.5, 0.8))
    noise = (upper - middle) / 0.84
    high = y > middle + max(SPIKE_LOG2, SPIKE_NOISES * noise)
    begins = high & ~np.concatenate([[False], high[:-1]])
    return int(np.count_nonzero(begins[-new:]))


def far_up_alarms(state: RunState, seen: Glance, moment: Moment) -> list[Alarm]:
    """Critical where the loss is worse than at the start and nearly three times its best, and an incident is open.

    `seen` is of the last FAR_READINGS.
    """
    history, known = state.history, state.history.known
    if seen.readings < FAR_READINGS:
        return []
    if history.taken <= 2 * FAR_READINGS:
        known["far.start"] = max(known.get("far.start", -math.inf), seen.newest_most, seen.median)
    best = known["far.best"] = min(known.get("far.best", math.inf), seen.last_median)
    low = seen.last_least
    if low < best + FAR_UP or low < known.get("far.start", math.inf) + ABOVE_START:
        return []
    serious = [each for each in state.book.open if each.severity is not Severity.INFO]
    if not any(KINDS[each.kind].cause_group == "training" for each in serious):
        return []
    first_step = int(history.steps[-FAR_READINGS])
    loss, ratio = float(history.of("loss")[-1]), (low - best) / FAR_UP
    evidence = Evidence("loss", loss, 2.0**best, ratio, "far_up")
    return [alarm_by("loss_divergence", first_step, evidence, Severity.CRITICAL)]
