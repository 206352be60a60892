"""Exact conditions that held too long: gradients exactly 0, weights that do not move, the same loss or hash again.

Shift found: a condition that holds for `minimum` readings in a row, or for 3 times the longest run of it that ended
in this series while healthy, whichever is more; at that very reading.

Formula:  run = readings in a row for which the condition holds;  ratio = run / max(minimum, 3 * longest);
longest = max(longest, min(run, limit)) when a run ends.

Knobs: minimum, in readings; more of it: later and surer.  False alarms: a condition true by chance with
probability p does so p^minimum of the time, until its own longest run is learned.
Sibling: kernel.py's ZERO_RUN, the same rule for exact zeros within a slab.  Source: the theory of runs.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["RunLength"]

FACTOR: Final = 3


class RunLength:
    """Runs of one condition over n series; state: run and longest, int32 [2, n]."""

    def __init__(self, series: int, minimum: int = 3) -> None:
        if minimum < 1:
            raise ValueError(f"minimum must be at least 1 reading, got {minimum}")
        self.minimum = minimum
        self._state = np.zeros((2, series), np.int32)
        self._holding = False

    @property
    def run(self) -> NDArray[np.int32]:
        """Readings in a row for which the condition holds: int32 [n]."""
        run: NDArray[np.int32] = self._state[0]
        return run

    @property
    def idle(self) -> bool:
        """Whether no run is going on: a reading for which no condition holds would then change nothing."""
        return not self._holding

    def judge(self, holds: NDArray[np.bool_], measured: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Take one reading per series; returns run / limit, float64 [n]; 1.0 or more is an alarm.

        holds: bool [n].  measured: bool [n]; False changes nothing of that series, and it gives 0.0.
        """
        run, longest = self._state
        limit = np.maximum(self.minimum, FACTOR * longest)
        ended = measured & ~holds
        np.maximum(longest, np.minimum(run, limit), out=longest, where=ended)
        run[measured & holds] += 1
        run[ended] = 0
        self._holding = bool(run.any())
        return np.where(measured, run / limit, 0.0)

    def dump(self) -> bytes:
        """The state; `minimum` is not in it."""
        return self._state.tobytes()

    @classmethod
    def load(cls, state: bytes, minimum: int = 3) -> RunLength:
        """Continue exactly as the dumped one; ValueError if the bytes are no state of it."""
        if len(state) % 8:
            raise ValueError(f"a run-length state has a multiple of 8 bytes, got {len(state)}; was it cut?")
        rule = cls(len(state) // 8, minimum)
        rule._state[:] = np.frombuffer(state, np.int32).reshape(2, -1)
        rule._holding = bool(rule.run.any())
        return rule
