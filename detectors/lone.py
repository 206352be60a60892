"""One series that jumps up and stays while the others do not: held against the others, so against less noise.

Shift found: three readings of one series that all stand far above the one before them, where what all series did at
each is taken off. A batch moves all gradients, and that is a third to a half of their noise: the charts of kernel.py,
which hold a series against its own past alone, have to ask for twice as much, and for more while the past is short.

Formula, for series i, at every reading, own_i its move (log2) without what all did, noise_i how it usually moves
(unsteady.py has both):

    off     = the sum of own_i, of which KEPT is kept from one reading to the next: how far from where it was of late
    scale   = max(noise_i, FLOOR), the largest since the first reading of which off >= LEVEL / 2 scale
    gone    = off as long as it is, all of it kept meanwhile
    second  = the largest gone of other blocks
    ratio   = min(gone / (LEVEL (1 + 20 / readings) scale), gone / EFFECT, gone / (GAP second), gone / (2 tail scale))

of the i with the largest gone, from its third reading on (second, where readings are rare) to its LONGEST-th; then it
is at home there. A ratio of 1 or more is an alarm.  tail: the largest gone / scale that lasted three readings and was
none, of all series.
Knobs: none.  False alarms: tests/detectors/test_lone.py; none in 530,000 steps of small healthy runs.
Sibling: kernel.py, for what moves together, and downwards; leaps.py, for series that are reported rarely.
Source: differences against a control group; three in a row, Western Electric 1956.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .lanes import most

__all__ = ["NONE", "Leader", "Lone"]

LASTING: Final = 3
LONGEST: Final = 6
LEVEL: Final = 8.0
EFFECT: Final = 1.5
"""log2: a factor of 2.8."""
FLOOR: Final = 0.2
"""log2: the noise of a series that hardly moves."""
GAP: Final = 2.0
KEPT: Final = 0.8
TAIL_FACTOR: Final = 2.0
TAIL_KEPT: Final = 0.999
UNSETTLED: Final = 20.0
FIRST: Final = 16
"""Readings; before, noise is not known."""
_HALF_LEVEL, _FLOOR, _KEPT = np.float32(0.5 * LEVEL), np.float32(FLOOR), np.float32(KEPT)
_ZERO, _ONE, _LONGEST, _INFINITE = np.float32(0.0), np.float32(1.0), np.float32(LONGEST), np.float32(np.inf)


class Leader(NamedTuple):
    """Which series has gone furthest (-1: none stays up), by how much (log2), for how many readings, and the ratio."""

    series: int
    gone: float
    readings: int
    ratio: float


NONE: Final = Leader(-1, 0.0, 0, 0.0)


class Lone:
    """n series; state: float32 [3, n], how far each is off, its scale and for how many readings; one tail of all.

    due: whether the next reading may find something.
    """

    __slots__ = ("_state", "_tail", "due")

    def __init__(self, series: int) -> None:
        self._state = np.zeros((3, series), np.float32)
        self._tail = 0.0
        self.due = False

    def __len__(self) -> int:
        return int(self._state.shape[1])

    def take(
        self,
        moves: NDArray[np.float32],
        noise: NDArray[np.float32],
        blocks: NDArray[np.int32],
        readings: int,
        lasting: int = LASTING,
    ) -> Leader:
        """A reading, judged and learned.

        moves: float32 [n], log2, without what all did; infinite where not measured.  noise: float32 [n], log2.
        blocks: int32 [n], equal for layers of one block.  readings: from which the noise is known.
        lasting: how many in a row are enough; fewer than LASTING where each stands for many steps.
        """
        longest = _take(self._state, moves, noise)
        self.due = longest >= LASTING - 1
        if longest < lasting or readings < FIRST:
            return NONE
        series, gone, lasted, second = _leader(self._state, blocks, lasting)
        if not np.isfinite(moves[series]):
            return NONE  # it says nothing now
        out = gone / float(self._state[1, series])
        early = 1.0 + UNSETTLED / readings
        ratio = min(out / (LEVEL * early), gone / EFFECT, gone / (GAP * second + 1e-9))
        ratio = min(ratio, out / (TAIL_FACTOR * self._tail + 1e-9))
        self._tail *= TAIL_KEPT
        if ratio < 1.0:
            self._tail = max(self._tail, min(out, LEVEL))
        return Leader(series, gone, lasted, ratio)

    def restart(self) -> None:
        """The run repeats steps."""
        self._state[:] = 0.0
        self.due = False

    def dump(self) -> bytes:
        """The state: the tail in 8 bytes, then 12 a series."""
        return np.float64(self._tail).tobytes() + self._state.tobytes()

    @classmethod
    def load(cls, state: bytes) -> Lone:
        """Continue as the dumped one; ValueError if the bytes are no state of it."""
        if len(state) % 12 != 8:
            raise ValueError(f"a lone state has 8 bytes and a multiple of 12, got {len(state)}; was it cut?")
        chart = cls((len(state) - 8) // 12)
        chart._tail = float(np.frombuffer(state, np.float64, 1)[0])
        chart._state[:] = np.frombuffer(state, np.float32, offset=8).reshape(3, -1)
        chart.due = bool((chart._state[2] >= LASTING - 1).any())
        return chart


@njit(cache=True, error_model="numpy")
def _take(state: Any, moves: Any, noise: Any) -> int:
    """For how many readings the series that has been up for longest has been. No branches: so it vectorises."""
    longest = _ZERO
    for i in range(moves.size):
        move, before, readings = moves[i], state[0, i], state[2, i]
        known, was_out = move < _INFINITE, readings > _ZERO
        scale = most(state[1, i] if was_out else _FLOOR, noise[i])
        off = (before if was_out else _KEPT * before) + (move if known else _ZERO)
        out = off >= _HALF_LEVEL * scale
        readings_out = readings + _ONE if out else _ZERO
        at_home = readings_out > _LONGEST
        now = readings if not known else (_ZERO if at_home else readings_out)
        state[0, i] = before if not known else (_ZERO if at_home else off)
        state[1, i] = scale
        state[2, i] = now
        longest = most(longest, now)
    return int(longest)


@njit(cache=True, error_model="numpy")
def _leader(state: Any, blocks: Any, lasting: int) -> tuple[int, float, int, float]:
    """Who has gone furthest of those that stay up, by what, for how long, and how far anyone else of other blocks."""
    best, second = -1, 0.0
    for i in range(blocks.size):
        if state[2, i] >= lasting and (best < 0 or state[0, i] > state[0, best]):
            best = i
    for i in range(blocks.size):
        if blocks[i] != blocks[best] and state[2, i] > 0.0:
            second = max(second, np.float64(state[0, i]))
    return best, np.float64(state[0, best]), int(state[2, best]), second
