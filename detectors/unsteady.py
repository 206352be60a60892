"""Noise that grows: one series that jumps to and fro far more than it did, while the others do not.

Shift found: the spread of one series around its level, where the level itself may stay. The charts of kernel.py see
levels; a reading that is out and back is none to them, but thirty of them are something.

Formula, for series i, at every STRIDE-th reading, x_i the magnitude itself:

    jump_i  = min(|log2 x_i / x_i one reading before|, CLIP own_i)        so near that no drift counts
    m_i    += (jump_i - m_i) / max(SAMPLES, samples so far)
    grown_i = m_i / own_i                           own_i: the largest m_i before, learned late (see `learn`)
    ratio   = min(grown_i / GROWN, grown_i / (PER_SECOND max(1, second)), m_i / LEAST_JUMP)

of the i with the largest grown_i; second: the next largest.  A ratio of 1 or more is an alarm.  It asks for what the
series did before and not for its scale in kernel.py, which takes noise that has grown for usual within fifty readings.
m varies by a seventh where readings are independent, so GROWN, 2.75, is five deviations of the logarithm of a ratio of
two of them.  Knobs: none.  False alarms: tests/detectors/test_unsteady.py.
Sibling: kernel.py, for levels.  Source: mean successive difference, von Neumann 1941.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .lanes import log2

__all__ = ["SAMPLES", "STRIDE", "Roughest", "Unsteady"]

STRIDE: Final = 4
"""Readings from one sample to the next; each is of a reading and of the one before it."""
SAMPLES: Final = 32
"""Samples that count."""
CLIP: Final = 10.0
LEAST_JUMP: Final = 0.25
"""log2: noise of less than a fifth of a gradient is nobody's concern."""
PER_SECOND: Final = 2.0
GROWN: Final = 2.75
OWN_KEPT: Final = 0.98
LEAST: Final = 3
"""Series; fewer tell nothing of each other."""


class Roughest(NamedTuple):
    """Whose jumps have grown most (-1: too few are known), its m in log2, and the ratio."""

    series: int
    jump: float
    ratio: float


class Unsteady:
    """n series; state: float32 [4, n], the reading before, m, own and what own learns next; samples, ever."""

    __slots__ = ("_before", "_jump", "_next", "_own", "samples")

    def __init__(self, series: int) -> None:
        self.samples = 0
        self._before = np.full(series, np.nan, np.float32)
        self._jump = np.zeros(series, np.float32)
        self._own = np.zeros(series, np.float32)
        self._next = np.zeros(series, np.float32)

    def __len__(self) -> int:
        return int(self._before.size)

    def prepare(self, values: NDArray[np.float32], slots: NDArray[np.intp]) -> None:
        """The reading before a sample; arguments as `take`'s."""
        _prepare(values, slots, self._before)

    def take(self, values: NDArray[np.float32], slots: NDArray[np.intp]) -> None:
        """A sample: values float32 [slots of the run], those of the series at `slots`, int [n].

        What is not finite or not above 0 is none. A series that was not there at the reading before is held against
        its last sample.
        """
        self.samples += 1
        _take(
            values, slots, self._before, self._jump, self._own, np.float32(1.0 / min(self.samples, SAMPLES))
        )

    def judge(self) -> Roughest:
        """The series whose jumps have grown most, against the others and its own past; learns none of it."""
        return Roughest(*_judge(self._jump, self._own))

    def learn(self) -> None:
        """Take m of the call before this one as the series' own: so late that no fault becomes its own excuse."""
        np.maximum(self._own * np.float32(OWN_KEPT), self._next, out=self._own)
        self._next[:] = self._jump

    def restart(self) -> None:
        """The run repeats steps."""
        self._before[:] = np.nan

    def dump(self) -> bytes:
        """The state: the number of samples, then 16 bytes a series."""
        return self.samples.to_bytes(8, "little") + b"".join(
            each.tobytes() for each in (self._before, self._jump, self._own, self._next)
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
        chart._before[:], chart._jump[:], chart._own[:], chart._next[:] = rows
        return chart


@njit(cache=True, error_model="numpy")
def _prepare(values: Any, slots: Any, before: Any) -> None:
    for i in range(slots.size):
        now = values[slots[i]]
        if np.isfinite(now) and now > np.float32(0.0):
            before[i] = now


@njit(cache=True, error_model="numpy")
def _take(values: Any, slots: Any, before: Any, jump: Any, own: Any, rate: Any) -> None:
    for i in range(slots.size):
        now = values[slots[i]]
        if not (np.isfinite(now) and now > np.float32(0.0)):
            continue
        if np.isfinite(before[i]):
            moved = abs(log2(now / before[i]))
            if own[i] > np.float32(0.0):
                moved = min(moved, np.float32(CLIP) * own[i])
            if np.isfinite(moved):
                jump[i] += rate * (moved - jump[i])
        before[i] = now


@njit(cache=True, error_model="numpy")
def _judge(jump: Any, own: Any) -> tuple[int, float, float]:
    best, most, second, known = -1, 0.0, 1.0, 0
    for i in range(jump.size):
        if own[i] > np.float32(0.0):
            known += 1
            grown = np.float64(jump[i]) / np.float64(own[i])
            if grown > most:
                best, most, second = i, grown, max(second, most)
            else:
                second = max(second, grown)
    if known < LEAST or best < 0:
        return -1, 0.0, 0.0
    top = np.float64(jump[best])
    return best, top, min(min(most / GROWN, most / (PER_SECOND * second)), top / LEAST_JUMP)
