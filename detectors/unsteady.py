"""Noise that grows: one series that jumps to and fro far more than it did, and than its siblings do.

Shift found: the spread of one series around its level, where the level itself may stay. The charts of kernel.py see
levels; a reading that is out and back is none to them, but twenty of them are something.

Formula, for series i, at every STRIDE-th reading, z_i that of kernel.py (deviations from its own level):

    jump_i  = min(|z_i - z_i of the sample before|, CLIP)       a level that has moved jumps once
    m_i    += (jump_i - m_i) / max(SAMPLES, samples so far)     1.1 on average in calm series
    second  = the largest m of the others;  middle = their median
    needed  = max(LEAST_JUMP, 2 second, 3.2 middle, 1.8 tail_i)
    ratio   = m_i / needed                                      from SAMPLES samples on

A ratio of 1 or more is an alarm.  tail_i: the largest m_i before, taken over every so often: a series that was always
rough may be.  Knobs: none.  False alarms: tests/detectors/test_unsteady.py.
Sibling: kernel.py, for levels.  Source: mean successive difference, von Neumann 1941.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["SAMPLES", "STRIDE", "Roughest", "Unsteady"]

STRIDE: Final = 4
"""Readings from one sample to the next."""
SAMPLES: Final = 24
"""Samples that count."""
CLIP: Final = 10.0
LEAST_JUMP: Final = 4.5
"""Deviations, on average, four times what calm series show."""
PER_SECOND: Final = 2.0
PER_MIDDLE: Final = 3.2
TAIL_FACTOR: Final = 1.8
TAIL_KEPT: Final = 0.98
LEAST: Final = 3
"""Series; fewer tell nothing of each other."""


class Roughest(NamedTuple):
    """Which series jumps most (-1: too few are known), its m in deviations, and the ratio."""

    series: int
    jump: float
    ratio: float


class Unsteady:
    """n series; state: float32 [4, n], the last sample, m, tail and what the tail learns next; samples, ever."""

    __slots__ = ("_jump", "_last", "_next", "_tail", "samples")

    def __init__(self, series: int) -> None:
        self.samples = 0
        self._last = np.full(series, np.nan, np.float32)
        self._jump = np.zeros(series, np.float32)
        self._tail = np.zeros(series, np.float32)
        self._next = np.zeros(series, np.float32)

    def __len__(self) -> int:
        return int(self._last.size)

    def take(self, z: NDArray[np.float32], slots: NDArray[np.intp]) -> None:
        """A sample: z float32 [slots of the run], those of the series at `slots`, int [n]; 0 was not measured."""
        self.samples += 1
        _take(z, slots, self._last, self._jump, np.float32(1.0 / min(self.samples, SAMPLES)))

    def judge(self) -> Roughest:
        """The series that jumps most, against the others and its own past; learns none of it."""
        if self.samples < SAMPLES:
            return Roughest(-1, 0.0, 0.0)
        return Roughest(*_judge(self._last, self._jump, self._tail))

    def learn(self) -> None:
        """Take m of the call before this one as the series' own: so late that no fault becomes its own excuse."""
        np.maximum(self._tail * np.float32(TAIL_KEPT), self._next, out=self._tail)
        self._next[:] = self._jump

    def restart(self) -> None:
        """The run repeats steps."""
        self._last[:] = np.nan

    def dump(self) -> bytes:
        """The state: the number of samples, then 16 bytes a series."""
        return self.samples.to_bytes(8, "little") + b"".join(
            each.tobytes() for each in (self._last, self._jump, self._tail, self._next)
        )

    @classmethod
    def load(cls, state: bytes) -> Unsteady:
        """Continue as the dumped one; ValueError if the bytes are no state of it."""
        if len(state) % 16 != 8:
            raise ValueError(
                f"an unsteady state has 8 bytes and a multiple of 16, got {len(state)}; was it cut?"
            )
        series = (len(state) - 8) // 16
        chart = cls(series)
        chart.samples = int.from_bytes(state[:8], "little")
        rows = np.frombuffer(state, np.float32, offset=8).reshape(4, series)
        chart._last[:], chart._jump[:], chart._tail[:], chart._next[:] = rows
        return chart


@njit(cache=True, error_model="numpy")
def _take(z: Any, slots: Any, last: Any, jump: Any, rate: Any) -> None:
    for i in range(slots.size):
        now = z[slots[i]]
        if now == np.float32(0.0):
            continue
        moved = abs(now - last[i])
        if np.isfinite(moved):
            jump[i] += rate * (min(moved, np.float32(CLIP)) - jump[i])
        last[i] = now


@njit(cache=True, error_model="numpy")
def _judge(last: Any, jump: Any, tail: Any) -> tuple[int, float, float]:
    known = np.isfinite(last)
    if known.sum() < LEAST:
        return -1, 0.0, 0.0
    best = -1
    for i in range(last.size):
        if known[i] and (best < 0 or jump[i] > jump[best]):
            best = i
    second = 0.0
    for i in range(last.size):
        if known[i] and i != best:
            second = max(second, np.float64(jump[i]))
    middle = np.float64(np.median(jump[known]))
    top = np.float64(jump[best])
    needed = max(max(LEAST_JUMP, PER_SECOND * second), max(PER_MIDDLE * middle, TAIL_FACTOR * tail[best]))
    return best, top, top / needed
