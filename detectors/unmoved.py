"""Numbers that move a little with each reading and then are bit for bit what they were: weights that no update reaches.

Shift found: `ratio`, a series that has moved at four checks or more is exactly as at the check before, for three
checks, or three times as long as ever before and three more;
`speed`, the median series moves next to nothing of what it did.

Formula, at each check, for series i with readings x_i and those at the check before, last_i:

    same_i   x_i == last_i, in float32
    run_i    checks in a row for which same_i holds;  longest_i the longest run that ended
    ratio_i  run_i / (3 + 3 longest_i)  for series with at least MOVES checks that were not the same; else 0
    speed    median of |x_i / last_i - 1| over the series that are not the same

Knobs: none.  False alarms: a series that is the same by chance with probability p is so three times at
first with p^2; from its first chance on it takes six.
Sibling: runlength.py, for conditions given from outside.  Source: the theory of runs.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["JUMP", "Unmoved"]

MOVES: Final = 4
JUMP: Final = 0.05
"""Of itself: what moves by so much from one check to the next is nothing to skim over."""
_JUMP: Final = np.float32(JUMP)
_MOST: Final = 1 << 14
_FACTOR: Final = 3
LEAST: Final = 3
"""Norms that move by few of their last bits come back by chance: once, and seldom twice in a row."""


class Unmoved:
    """n series; state: last float32 [n], and int16 [3, n]: run, longest, moves."""

    def __init__(self, series: int) -> None:
        self._last = np.full(series, np.nan, np.float32)
        self._counts = np.zeros((3, series), np.int16)
        self._watched = np.zeros(series, bool)
        self._running = False

    def __len__(self) -> int:
        return int(self._last.size)

    @property
    def last(self) -> NDArray[np.float32]:
        """The readings of the check before: float32 [n], NaN where there was none."""
        return self._last

    @property
    def run(self) -> NDArray[np.int16]:
        """Checks in a row at which nothing moved: int16 [n]."""
        run: NDArray[np.int16] = self._counts[0]
        return run

    @property
    def running(self) -> bool:
        """Whether a series that is watched was the same at the last check."""
        return self._running

    @property
    def moving(self) -> int:
        """How many series have moved often enough to be watched."""
        return int(np.count_nonzero(self._watched))

    def is_calm(self, x: NDArray[np.float32]) -> bool:
        """Whether of readings x (float32 [n]) none that is watched is the same, and none was; and none has jumped."""
        calm: bool = not self._running and _move(x, self._last, self._watched)
        return calm

    def take(self, x: NDArray[np.float32]) -> None:
        """Learn readings that are calm: as `judge` that counts no moves."""
        _take(x, self._last)

    def judge(self, x: NDArray[np.float32], counting: bool = True) -> tuple[NDArray[np.float64], float]:
        """The ratios, float64 [n], and the speed (NaN without any) at readings x, float32 [n]; learns them.

        What is not finite changes nothing of its series, and gives 0.  Moves are counted at a check that is `counting`.
        """
        ratios = np.zeros(len(self))
        speed, self._running = _judge(x, self._last, self._counts, self._watched, counting, ratios)
        return ratios, float(speed)

    def rest(self) -> None:
        """Nothing was to move up to now: what was the same says nothing."""
        self._counts[0] = 0
        self._running = False

    def restart(self) -> None:
        """Weights are those of before: nothing is known to be the same."""
        self._last[:] = np.nan
        self._counts[0] = 0
        self._settle()

    def _settle(self) -> None:
        self._watched = self._counts[2] >= MOVES
        self._running = bool((self._counts[0].astype(bool) & self._watched).any())

    def dump(self) -> bytes:
        """The state; the number of series is its length."""
        return self._last.tobytes() + self._counts.tobytes()

    @classmethod
    def load(cls, state: bytes) -> Unmoved:
        """Continue as the dumped one; ValueError if the bytes are no state of it."""
        if len(state) % 10:
            raise ValueError(f"an unmoved state has a multiple of 10 bytes, got {len(state)}; was it cut?")
        series = len(state) // 10
        chart = cls(series)
        chart._last[:] = np.frombuffer(state, np.float32, series)
        chart._counts[:] = np.frombuffer(state, np.int16, 3 * series, 4 * series).reshape(3, series)
        chart._settle()
        return chart


@njit(cache=True, error_model="numpy")
def _move(x: Any, last: Any, watched: Any) -> bool:
    """Whether none that is watched is the same, and none has jumped."""
    odd = False
    for i in range(x.size):
        odd |= (x[i] == last[i]) & watched[i]
        odd |= abs(x[i] - last[i]) >= _JUMP * last[i]
    return not odd


@njit(cache=True, error_model="numpy")
def _take(x: Any, last: Any) -> None:
    for i in range(x.size):
        if math.isfinite(x[i]):
            last[i] = x[i]


@njit(cache=True, error_model="numpy")
def _judge(x: Any, last: Any, counts: Any, watched: Any, counting: bool, ratios: Any) -> tuple[float, bool]:
    """Judge and learn in one pass; the speed, and whether a series that is watched is the same."""
    run, longest, moves = counts
    moved = np.empty(x.size, np.float32)
    told, running = 0, False
    for i in range(x.size):
        if math.isfinite(x[i]):
            limit = LEAST + _FACTOR * longest[i]
            if x[i] == last[i]:
                if watched[i]:
                    run[i] = min(run[i] + 1, _MOST)
                    ratios[i] = run[i] / limit
            elif math.isfinite(last[i]):
                if watched[i]:
                    longest[i] = max(longest[i], min(run[i], limit))
                run[i] = 0
                if counting and moves[i] < MOVES:
                    moves[i] += 1
                    watched[i] = moves[i] >= MOVES
                if last[i] != 0.0:
                    moved[told] = abs(x[i] / last[i] - np.float32(1.0))
                    told += 1
            last[i] = x[i]
        running |= watched[i] and run[i] > 0
    return (np.median(moved[:told]) if told else np.nan), running
