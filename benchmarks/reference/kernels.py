"""The worker's own decoding and kernels and nothing around them: a record in, flags out."""

from __future__ import annotations

import numpy as np

from anomaly import codec
from anomaly.monitor.meaning import meaning_of
from anomaly.records import Layout, LayoutMessage
from detectors.profiles import profile_index
from detectors.rows import Flag
from detectors.slab import Slab

_ALARM = int(Flag.ALARM)


class Runs:
    """A slab per run. No duplicates, restarts, ranks, rules, incidents or snapshots: that is the worker's work."""

    def __init__(self) -> None:
        self.alarms = 0
        self._slabs: dict[str, Slab] = {}

    def judge(self, payload: bytes | None) -> int:
        """Decode a message, judge its records; return how many values they had."""
        if not payload:
            return 0  # a worker's preflight tries out writing
        message = codec.decode(payload)
        if isinstance(message, LayoutMessage):
            self._slabs[message.run] = Slab(_profiles(message.layout))
            return 0
        slab = self._slabs[message.run]
        for record in message.values:
            if slab.judge(record) & _ALARM:
                self.alarms += 1
        return message.values.size


def _profiles(layout: Layout) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    signals = layout.model_signals + layout.signals * len(layout.layers)
    return np.array([profile_index(meaning_of(signal).profile) for signal in signals], np.uint8)
