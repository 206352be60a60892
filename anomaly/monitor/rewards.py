"""A reward that no longer varies, though it is not at its best (F53): of what gives it, not of the policy.

Formula, for r, what the reward was at the last looks, sixteen readings apart: the last LAST of them and those before,

    ratio = CALMER median |r_i - r_(i-1)| before / (max - min of the last)

where the last are all below the best before by more than that median, for a policy that has solved its task gets the
same each time, too. A ratio of 1 or more is an alarm. Of white noise the last are so near in one look of 100,000.
"""

from __future__ import annotations

import math

import numpy as np

from anomaly.incidents.alarm import Alarm, alarm_by
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.context import caution
from anomaly.monitor.history import PIECE
from anomaly.monitor.rules import onset_step
from anomaly.monitor.state import RunState

LAST, KEPT, ENOUGH = 8, 40, 24
"""Looks: the last, all that are kept, and as many as it takes."""
CALMER = 0.5


def reward_alarms(state: RunState, moment: Moment) -> list[Alarm]:
    """The rewards that hardly vary any more."""
    alarms = []
    for name, slot in state.table.reward_slots:
        value = state.slab.describe(slot).value
        if not math.isfinite(value):
            continue
        seen = state.history.rewards[name] = [*state.history.rewards.get(name, ()), value][-KEPT:]
        ratio = _calm(seen) * state.slab.levels.gain("collapse", "loss") / caution(state)
        if ratio >= 1:
            first_step = onset_step(state, LAST * PIECE, moment)
            evidence = Evidence(name, value, float(np.median(seen[:-LAST])), ratio, "still")
            alarms.append(alarm_by("rl_reward", first_step, evidence))
    return alarms


def _calm(seen: list[float]) -> float:
    if len(seen) < ENOUGH:
        return 0.0
    before, last = np.array(seen[:-LAST]), seen[-LAST:]
    usual = float(np.median(np.abs(np.diff(before))))
    if max(last) > float(before.max()) - usual or not usual > 0:
        return 0.0
    return min(CALMER * usual / max(max(last) - min(last), 1e-30), 1e6)
