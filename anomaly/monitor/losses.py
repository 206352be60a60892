"""Losses get a second look: the slow climb that no spike chart sees, and the same value again and again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.book import Moment
from anomaly.monitor.state import RunState


def loss_alarms(state: RunState, values: NDArray[np.float32], moment: Moment) -> list[Alarm]:
    """Alarms on the whole-model losses of one record (`values` float32 [slots])."""
    return []
