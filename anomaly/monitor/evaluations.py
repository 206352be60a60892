"""Evaluations against the training loss between them: overfitting (F38), or an evaluation that got worse (F39)."""

from __future__ import annotations

import math

import numpy as np

from anomaly.incidents.alarm import Alarm, alarm_of
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.context import CAUTION_FACTOR
from anomaly.monitor.state import RunState
from detectors.paired import best_before, worse

KEPT_EVALUATIONS = 24
LR_ROSE = 1.2
AT_ONCE = 0.8
"""Of the rise, from one evaluation to the next: nobody overfits so quickly."""
_SUM, _COUNT, _SIGNED = "evaluations.sum", "evaluations.count", "evaluations.signed"


def evaluation_alarms(state: RunState, new: int, moment: Moment) -> list[Alarm]:
    """F38 and F39. Of several evaluations in a piece of sixteen readings the last counts: they are no rare event."""
    history = state.history
    evaluated = history.of("eval_loss")[-new:]
    _note_training(state, new)
    if not np.isfinite(evaluated).any():
        return []
    at = int(np.flatnonzero(np.isfinite(evaluated))[-1])
    known = history.known
    count = known.pop(_COUNT, 0.0)
    mean = known.pop(_SUM, 0.0) / count if count else math.nan
    step = int(history.steps[-new:][at])
    entry = (float(step), mean, float(evaluated[at]), state.context.lr or 0.0)
    history.evaluations = [*history.evaluations, entry][-KEPT_EVALUATIONS:]
    return _judged(state)


def _note_training(state: RunState, new: int) -> None:
    known, loss = state.history.known, state.history.of("loss")[-new:]
    loss = loss[np.isfinite(loss)]
    known[_SUM] = known.get(_SUM, 0.0) + float(loss.sum(dtype=np.float64))
    known[_COUNT] = known.get(_COUNT, 0.0) + len(loss)


def _judged(state: RunState) -> list[Alarm]:
    table = np.array(state.history.evaluations)
    steps, training, losses = table[:, 0], table[:, 1], table[:, 2]
    if not np.all(losses > 0):
        state.history.known[_SIGNED] = 1.0
    if _SIGNED in state.history.known:
        return []  # how far it is from 0 says nothing
    e = np.log2(losses)
    ratio = worse(e) * state.slab.levels.gain("evaluation", "loss")
    if ratio < 1:
        return []
    best = best_before(e)
    known = training[-3:][np.isfinite(training[-3:])]
    falls = len(known) > 0 and bool(np.mean(known) < training[best])
    if table[best:, 3].max() > LR_ROSE * table[best, 3]:
        ratio /= CAUTION_FACTOR if falls else math.inf
    if ratio < 1:
        return []  # a warm restart: what it costs comes back, and most of it shows in the training loss
    since_best = e[best:]
    at_once = float(np.diff(since_best).max()) >= AT_ONCE * float(since_best[-1] - since_best[0])
    kind = "overfit" if falls and not at_once else "eval_regression"
    first_step = int(steps[best + 1])
    evidence = [Evidence("eval_loss", float(losses[-1]), float(losses[best]), ratio, "evaluations")]
    if math.isfinite(training[-1]) and math.isfinite(training[best]):
        evidence.append(Evidence("loss", float(training[-1]), float(training[best]), 1.0, "evaluations"))
    return [alarm_of(kind, first_step, tuple(evidence))]
