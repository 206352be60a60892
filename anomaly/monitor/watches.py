"""The series a user asked a river detector to watch; what it finds is a shift of that series."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_of
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Evidence
from anomaly.monitor.limits import Watch
from anomaly.monitor.state import RunState
from anomaly.records import step_number
from detectors.river_watch import RiverWatch


def watch_alarms(
    state: RunState, watches: tuple[Watch, ...], values: NDArray[np.float32], moment: Moment
) -> list[Alarm]:
    """Alarms of the chosen series in one record (`values` float32 [slots])."""
    alarms = []
    for watch in watches:
        slot = state.table.slot_of(watch.layer, watch.signal)
        if slot is None:
            continue
        value = float(values[slot])
        ratio = _ratio(state, watch, value) if math.isfinite(value) else 0.0
        if ratio >= 1:
            layer = watch.layer or None
            step = step_number(moment.step)
            evidence = Evidence(watch.signal, value, None, ratio, watch.detector, layer, step)
            layers = () if layer is None else (layer,)
            alarms.append(alarm_of("series_shift", moment.step, (evidence,), layers))
    return alarms


def _ratio(state: RunState, watch: Watch, value: float) -> float:
    """The river detector's answer. One that fails on this series starts anew: it is no reason to lose the run."""
    try:
        return _watcher(state, watch).judge(value)
    except Exception:  # whatever river, or what it calls, may raise
        del state.watchers[watch.name]
        return 0.0


def _watcher(state: RunState, watch: Watch) -> RiverWatch:
    """The run's river object for a watch, made or restored when first asked."""
    name = watch.name
    watcher = state.watchers.get(name)
    if watcher is None:
        saved = state.saved_watchers.pop(name, None)
        watcher = state.watchers[name] = watch.new() if saved is None else watch.restored(saved)
    return watcher
