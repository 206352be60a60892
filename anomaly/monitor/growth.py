"""How the gradients of the whole model grow: by a factor (F10), as if never cleared (F15), or all at once (F08)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_by
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.charts import LASTING_STEPS
from anomaly.monitor.context import caution
from anomaly.monitor.history import KEPT, PIECE, History
from anomaly.monitor.kin import kindred_of
from anomaly.monitor.noise import GRADIENTS
from anomaly.monitor.state import RunState
from anomaly.monitor.strays import LEARNED
from anomaly.records import MILLIONTHS
from detectors.gaps import EFFECT, LEAST, gap
from detectors.rows import Row
from detectors.slab import SPARSE_STEPS
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
_TOP, _LONG_TOP, _FELL, _LARGEST = "growth.top", "growth.long_top", "growth.fell", "growth.largest"
LEARNING = 0.5
"""Of what growth says while the loss falls: leaving a plateau, or unfreezing layers, makes gradients grow, too."""
FAR, FAR_READINGS, FAR_BEFORE = 7.0, 3, (8, 32)
"""log2: the last readings all a hundred times anything up to so many readings ago. Where readings are rare."""
UNSETTLED = 50
"""Steps of the run at which a gap must be twice as large."""
OWN_DATA_CAUTION = 1.75
"""A policy's gradients leap with its data, of all a run has shown by up to seven times."""
FALLEN = 3.0
"""Standard errors."""
WORTH_A_LOOK = 0.25


def growth_alarms(state: RunState, new: int, moment: Moment, steps: float) -> list[Alarm]:
    """F15, or else F10, of the total norm before clipping, or of what the layers make of it where it is not told.

    `steps`: that the reading stands for.
    """
    history = state.history
    norm = history.of("grad_norm_total")
    top = _top_before(history, norm)
    told = "grad_norm_total" in state.table.model_slots
    last = float(norm[-1]) if told else _of_layers(state)
    compounded = max(compound(norm, top), _for_long(history, typical(norm[-PIECE:]) if told else last, new))
    if history.taken < SETTLED_READINGS:
        compounded *= EARLY
    elif compounded >= 1.0 and _learns(history):
        compounded *= LEARNING
    for kind, ratio, readings in (
        ("missing_zero_grad", adding_up(norm, new) * min(1.0, history.taken / ADDING_SETTLED), ADDING),
        ("gradient_explosion", compounded, BLOCK * BLOCKS),
        (
            "gradient_explosion",
            _far_beyond(history) if told and steps >= SPARSE_STEPS else 0.0,
            FAR_BEFORE[0],
        ),
    ):
        if ratio < WORTH_A_LOOK:
            continue
        ratio *= state.slab.levels.gain("growth", "gradient") / caution(state)
        if ratio >= 1:
            first_step = int(history.steps[-min(readings, len(history.steps))])
            evidence = Evidence("grad_norm_total", last, None, ratio, "growth")
            return [alarm_by(kind, first_step, evidence)]
    return []


def gap_alarms(state: RunState, new: int, moment: Moment) -> list[Alarm]:
    """F08: the total norm stands far above all there was of late, for LASTING_STEPS or more.

    A policy that has learned its task has next to no gradient, until it fails at it once: there all there ever was
    counts, and nearly twice the leap.
    """
    history = state.history
    norm = history.of("grad_norm_total")
    floor = 0.0
    if state.table.of_policy:
        floor = history.known.get(_LARGEST, 0.0)
        if len(norm) == KEPT:
            history.known[_LARGEST] = max(floor, typical(norm[:PIECE]))
    gain = state.slab.levels.gain("gap", "gradient")
    if len(norm) <= LEAST or gap(norm, new, FAR_READINGS, floor).by * gain < EFFECT:
        return []
    apart = max(float(np.median(np.abs(np.diff(history.steps[-PIECE:])))) / MILLIONTHS, 1.0)
    found = gap(norm, new, max(FAR_READINGS, 1 + math.ceil(LASTING_STEPS / apart)), floor)
    care = caution(state) * (1.0 + (UNSETTLED / max(state.age * apart, 1.0)) ** 2)
    care *= OWN_DATA_CAUTION if state.table.of_policy else 1.0
    ratio = found.by / EFFECT * gain / care
    if ratio < 1:
        return []
    first_step = int(history.steps[-min(found.readings, len(history.steps))])
    evidence = Evidence("grad_norm_total", found.value, found.before, ratio, "gap")
    return [alarm_by("gradient_spike", first_step, evidence)]


def _far_beyond(history: History) -> float:
    """The ratio for the total norm far beyond all there was, over few readings that each stand for many steps."""
    norm = history.of("grad_norm_total")
    norm = norm[np.isfinite(norm) & (norm > 0)]
    known = [norm[:-ago] for ago in FAR_BEFORE if len(norm) >= ago + FAR_BEFORE[0]]
    if not known:
        return 0.0
    beyond = max(math.log2(float(norm[-FAR_READINGS:].min()) / float(before.max())) for before in known)
    return beyond / FAR * (LEARNING if beyond >= FAR and _learns(history) else 1.0)


def _of_layers(state: RunState) -> float:
    """The norm of all layers' gradients together, of their levels over the last few readings; 0 for none."""
    slots = kindred_of(state.table, GRADIENTS).slots
    levels = state.slab.known(Row.FAST, slots, LEARNED).astype(np.float64)
    return float(np.sqrt(np.nansum(np.exp2(2.0 * levels))))


def _for_long(history: History, level: float, new: int) -> float:
    """The ratio for slow growth, over the levels of the last pieces; learns one."""
    if new < PIECE:
        return 0.0
    norms = [*history.norms, level]
    if len(norms) > LONG:
        history.known[_LONG_TOP] = max(history.known.get(_LONG_TOP, 0.0), norms[0])
    history.norms = norms[-LONG:]
    top = history.known.get(_LONG_TOP, 0.0)
    return compound(np.array(history.norms, np.float32), top, PIECES) / LONG_EFFECT


def _learns(history: History) -> bool:
    """Whether the loss falls, or did when growth was last seen: it may pause, and the growth is still the same."""
    if _falls(history.of("loss")):
        history.known[_FELL] = float(history.taken)
    return history.taken - history.known.get(_FELL, -math.inf) <= KEPT // 2


def _falls(loss: NDArray[np.float32]) -> bool:
    """Whether the median of the later half is below that of the earlier one, by more than chance."""
    known = loss[np.isfinite(loss)]
    half = len(known) // 2
    if half < PIECE:
        return False
    deviation = float(np.median(np.abs(np.diff(known)))) / 0.954
    fallen = float(np.median(known[:half]) - np.median(known[half:]))
    return bool(fallen > FALLEN * 1.2533 * deviation * (2.0 / half) ** 0.5)


def _top_before(history: History, norm: NDArray[np.float32]) -> float:
    """The largest median of a piece before the window in which growth is looked for; remembered."""
    oldest = norm[: KEPT - BLOCK * BLOCKS]
    known = history.known
    if len(norm) == KEPT:
        known[_TOP] = max(known.get(_TOP, 0.0), typical(oldest))
    return known.get(_TOP, 0.0)
