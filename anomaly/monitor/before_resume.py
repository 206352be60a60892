"""What is remembered of a run as it resumes: its loss, and its steps."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.state import RunState
from detectors.samples import Before

BEFORE_READINGS = 32
LEVEL_KEY, DEVIATION_KEY, WANDER_KEY = "resume.level", "resume.deviation", "resume.wander"
NEWEST_KEY, INTERVAL_KEY = "resume.newest", "resume.interval"
"""In the history's `known`: of the loss before, log2; its newest step, and the median of the steps' distances."""


def note_resume(state: RunState) -> None:
    """The next reading is the first after a resume: remember what the loss was before."""
    history = state.history
    if history.resumed == history.seen:
        return  # announced twice: by an event and by a new session
    history.read()
    history.resumed = history.taken
    history.known[NEWEST_KEY] = float(history.steps[-1]) if len(history.steps) else -math.inf
    history.known[INTERVAL_KEY] = float(np.median(np.diff(history.steps))) if len(history.steps) > 1 else 0.0
    before = Before.of(log2_of(history.of("loss"))[-BEFORE_READINGS:])
    for name in (LEVEL_KEY, DEVIATION_KEY, WANDER_KEY):
        history.known.pop(name, None)
    if before is not None:
        history.known |= {LEVEL_KEY: before.level, DEVIATION_KEY: before.deviation, WANDER_KEY: before.wander}


def log2_of(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of those that are positive: float32 [n] -> float64, as many as are."""
    positive: NDArray[np.float64] = values[np.isfinite(values) & (values > 0)].astype(np.float64)
    return np.log2(positive)
