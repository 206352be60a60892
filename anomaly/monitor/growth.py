"""How the gradients of the whole model grow: by a factor (F10), or by an amount as if never cleared (F15)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_of
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.context import caution
from anomaly.monitor.history import KEPT, PIECE, History
from anomaly.monitor.state import RunState
from anomaly.records import step_number
from detectors.trends import ADDING, BLOCK, BLOCKS, adding_up, compound, typical

SETTLED_READINGS = 256
"""Gradients grow in a run's first steps: before that only growth by `EARLY` counts."""
EARLY = 0.25
ADDING_SETTLED = 128
PIECES = 2
LONG = PIECES * BLOCKS
"""Medians of pieces of sixteen readings: where growth is slow it takes so many to see it."""
LONG_EFFECT = 1.5
"""Of what is enough over the short window: a run that leaves a plateau may take as long, and less evenly."""
_TOP, _LONG_TOP = "growth.top", "growth.long_top"
WORTH_A_LOOK = 0.25


def growth_alarms(state: RunState, new: int, moment: Moment) -> list[Alarm]:
    """F15, or else F10, of the total norm before clipping."""
    history = state.history
    norm = history.of("grad_norm_total")
    top = _top_before(history, norm)
    compounded = max(compound(norm, top), _for_long(history, norm, new))
    compounded *= 1.0 if history.taken >= SETTLED_READINGS else EARLY
    for kind, ratio, readings in (
        ("missing_zero_grad", adding_up(norm) * min(1.0, history.taken / ADDING_SETTLED), ADDING),
        ("gradient_explosion", compounded, BLOCK * BLOCKS),
    ):
        if ratio < WORTH_A_LOOK:
            continue
        ratio *= state.slab.levels.gain("growth", "gradient") / caution(state)
        if ratio >= 1:
            first_step = int(history.steps[-min(readings, len(history.steps))])
            since = step_number(first_step)
            evidence = Evidence("grad_norm_total", float(norm[-1]), None, ratio, "growth", since_step=since)
            return [alarm_of(kind, first_step, (evidence,))]
    return []


def _for_long(history: History, norm: NDArray[np.float32], new: int) -> float:
    """The ratio for slow growth, over the medians of the last pieces; learns one."""
    if new < PIECE:
        return 0.0
    norms = [*history.norms, typical(norm[-PIECE:])]
    if len(norms) > LONG:
        history.known[_LONG_TOP] = max(history.known.get(_LONG_TOP, 0.0), norms[0])
    history.norms = norms[-LONG:]
    top = history.known.get(_LONG_TOP, 0.0)
    return compound(np.array(history.norms, np.float32), top, PIECES) / LONG_EFFECT


def _top_before(history: History, norm: NDArray[np.float32]) -> float:
    """The largest median of a piece before the window in which growth is looked for; remembered."""
    oldest = norm[: KEPT - BLOCK * BLOCKS]
    known = history.known
    if len(norm) == KEPT:
        known[_TOP] = max(known.get(_TOP, 0.0), typical(oldest))
    return known.get(_TOP, 0.0)
