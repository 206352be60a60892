"""Noise that grows: one series that jumps to and fro far more than it did, while the others do not.

Shift found: the spread of one series around its level, where the level itself may stay. The charts of kernel.py see
levels; a reading that is out and back is none to them, but thirty of them are something.

Formula, for series i, at every reading, x_i the magnitude itself:

    moved_i = log2 x_i / x_i one reading before         so near that no drift counts
    common  = median of moved over FEW of the series, evenly spread       what a batch does, it does to all
    jump_i  = min(|moved_i - common|, |moved_i|, CLIP own_i)        the common move is none of who does not share it
    m_i    += (jump_i - m_i) / max(SAMPLES, samples so far)
    grown_i = m_i / own_i                           own_i: the largest m_i before, learned late (see `learn`)
    ratio   = min(grown_i / GROWN, grown_i / (PER_SECOND max(1, second)), m_i / LEAST_JUMP)       of fewer than
                                                    ENOUGH series GROWN_OF_FEW: what all do shows badly in them

of the i with the largest grown_i; second: the next largest.  A ratio of 1 or more is an alarm.  It asks for what the
series did before and not for its scale in kernel.py, which takes noise that has grown for usual within fifty readings.
Where readings are independent, log m varies by an eighth with 64 samples and by a sixth with 32, the fewest that are
learned as own: GROWN is five deviations of the logarithm of their ratio, and more later.
Knobs: none.  False alarms: tests/detectors/test_unsteady.py.
Sibling: kernel.py, for levels.  Source: mean successive difference, von Neumann 1941.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .lanes import least, log2

__all__ = ["SAMPLES", "Roughest", "Unsteady"]

SAMPLES: Final = 64
"""Readings that count."""
CLIP: Final = 10.0
LEAST_JUMP: Final = 0.25
"""log2: noise of less than a fifth of a gradient is nobody's concern."""
PER_SECOND: Final = 2.0
GROWN: Final = 3.15
ENOUGH: Final = 5
GROWN_OF_FEW: Final = 4.0
OWN_KEPT: Final = 0.98
LEAST: Final = 3
"""Series; fewer tell nothing of each other."""
FEW: Final = 15
"""Series that say what all do."""
FIRST_LEARNED: Final = 32
LEARNING: Final = 128
"""Samples: as soon as there are so many, when they have doubled, and then from one time to the next."""
_ZERO, _ONE, _CLIP = np.float32(0.0), np.float32(1.0), np.float32(CLIP)
_INFINITE = np.float32(np.inf)


class Roughest(NamedTuple):
    """Whose jumps have grown most (-1: too few are known), its m in log2, and the ratio."""

    series: int
    jump: float
    ratio: float


class Unsteady:
    """n series; state: float32 [4, n], the reading before, m, own and what own learns next; samples, ever."""

    __slots__ = ("_state", "samples")

    def __init__(self, series: int) -> None:
        self.samples = 0
        self._state = np.zeros((4, series), np.float32)

    @property
    def jumps(self) -> NDArray[np.float32]:
        """The m of each series: float32 [n]."""
        jumps: NDArray[np.float32] = self._state[1]
        return jumps

    def __len__(self) -> int:
        return int(self._state.shape[1])

    def take(self, values: NDArray[np.float32], slots: NDArray[np.intp]) -> NDArray[np.float32]:
        """A reading: values float32 [slots of the run], those of the series at `slots`, int [n]; their moves.

        moves: float32 [n], moved without what is common; infinite where not measured, or where fewer than LEAST are.

        What is not finite or not above 0 is none. A series that was not measured at the reading before has no move:
        what all did meanwhile is none of its own; one that was 0 is held against its last one. A reading with none of
        them is no sample, and nobody was missing there.
        """
        moves = np.empty(len(self), np.float32)
        self.samples += _take(values, slots, self._state, moves, min(self.samples + 1, SAMPLES))
        return moves

    def judge(self) -> Roughest:
        """The series whose jumps have grown most, against the others and its own past; learns none of it."""
        return Roughest(*_judge(self._state))

    def learn(self, learned: int) -> bool:
        """Take m of the call before this one as the series' own: so late that no fault becomes its own excuse.

        Only if it is time: `learned` are the samples at the call before. Whether it was.
        """
        if self.samples < max(FIRST_LEARNED, min(2 * learned, learned + LEARNING)):
            return False
        _, jump, own, following = self._state
        np.maximum(own * np.float32(OWN_KEPT), following, out=own)
        following[:] = jump
        return True

    def restart(self) -> None:
        """The run repeats steps."""
        self._state[0] = 0.0

    def dump(self) -> bytes:
        """The state: the number of samples, then 16 bytes a series."""
        return self.samples.to_bytes(8, "little") + self._state.tobytes()

    @classmethod
    def load(cls, state: bytes) -> Unsteady:
        """Continue as the dumped one; ValueError if the bytes are no state of it."""
        if len(state) % 16 != 8:
            raise ValueError(
                f"an unsteady state has 8 bytes and a multiple of 16, got {len(state)}; was it cut?"
            )
        chart = cls((len(state) - 8) // 16)
        chart.samples = int.from_bytes(state[:8], "little")
        chart._state[:] = np.frombuffer(state, np.float32, offset=8).reshape(4, -1)
        return chart


@njit(cache=True, error_model="numpy")
def _take(values: Any, slots: Any, state: Any, moves: Any, samples: int) -> int:
    """Returns whether anything was measured, 0 or 1. Loops without branches, which vectorise."""
    n, rate = slots.size, np.float32(1.0 / samples)
    now, moved = np.empty(n, np.float32), moves
    measured = 0
    for i in range(n):
        now[i] = values[slots[i]]
        measured += (now[i] > _ZERO) & (now[i] < _INFINITE)
    kept = _ZERO if measured else _ONE
    for i in range(n):
        before = state[0, i]
        there = (now[i] > _ZERO) & (now[i] < _INFINITE)
        known = there & (before > _ZERO)
        moved[i] = log2((now[i] if known else _ONE) / (before if known else _ONE)) if known else _INFINITE
        state[0, i] = now[i] if there else (before if now[i] == _ZERO else kept * before)
    common, enough = _median(moved)
    for i in range(n):
        jump, own, apart = state[1, i], state[2, i], moved[i] - common
        whole = least(abs(apart), abs(moved[i]))
        size = least(whole, _CLIP * own if own > _ZERO else _INFINITE)
        known = moved[i] < _INFINITE
        state[1, i] = jump + rate * (size - jump) if known else jump
        signed = whole if apart > _ZERO else -whole
        moves[i] = (signed if apart * moved[i] > _ZERO else _ZERO) if known & enough else _INFINITE
    return 1 if measured else 0


@njit(cache=True, error_model="numpy")
def _median(moved: Any) -> Any:
    """Of FEW of them, and whether LEAST are measured; else it is 0."""
    few = np.empty(FEW, np.float32)
    known = 0
    for i in range(0, moved.size, (moved.size + FEW - 1) // FEW):
        if moved[i] < _INFINITE:
            at = known
            while at > 0 and few[at - 1] > moved[i]:
                few[at] = few[at - 1]
                at -= 1
            few[at] = moved[i]
            known += 1
    return (few[known // 2], True) if known >= LEAST else (_ZERO, False)


@njit(cache=True, error_model="numpy")
def _judge(state: Any) -> tuple[int, float, float]:
    best, most, second, known = -1, 0.0, 1.0, 0
    for i in range(state.shape[1]):
        if state[2, i] > _ZERO:
            known += 1
            grown = np.float64(state[1, i]) / np.float64(state[2, i])
            if grown > most:
                best, most, second = i, grown, max(second, most)
            else:
                second = max(second, grown)
    if known < LEAST or best < 0:
        return -1, 0.0, 0.0
    top = np.float64(state[1, best])
    needed = GROWN if known >= ENOUGH else GROWN_OF_FEW
    return best, top, min(min(most / needed, most / (PER_SECOND * second)), top / LEAST_JUMP)
