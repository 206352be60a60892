"""Levels that leap: three readings all beyond the three before them, in one of many series or in most of them.

Shift found: a level that moves at once and stays, by more than it ever did. The charts of kernel.py hold a reading
against what a series is expected to do and against its noise; where a level wanders from reading to reading, both hide
a leap, and a dozen readings of a past are too few for either. Here nothing is asked of the past but the last readings.

Formula, of each series the last readings y (log2), as they are looked at:

    gap    = min(3 readings) - max(the 3 before) - half the wider range of both; or so downwards; 0 where they overlap
    wide_i = the largest gap by size of those that end 0 to 3 readings ago;  late_i: 1 or 2 readings ago
    own_i  = min(|late_i|, |late_i - median wide|) - explained_i     explained: what moves it by its nature, so far
    lone   = own_i / max(EFFECT, 2 second, 1.5 tail_i)   of the largest own_i
    second = the largest |wide_j - median wide| of other blocks
    common = (|median wide| - median explained) / max(EFFECT, 1.5 common tail)

A ratio of 1 or more is an alarm. A level that drifts evenly leaves no gap, however fast; tails are the largest of a
series' own past, and of all. One series is late by a reading, so that others which are reported in turns with it have
shown what all do. To be judged at every second look: late are two of them.
Knobs: none. False alarms: tests/detectors/test_leaps.py.
Sibling: kernel.py, for what moves in several readings; stray.py, for what layers that are alike do in a longer time.
Source: the gap between order statistics (Dixon 1950), of two samples of three.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .rows import FAST_RATE

__all__ = ["EFFECT", "SIDE", "Leap", "Leaps"]

SIDE: Final = 3
"""Readings on either side of a gap."""
ENDS: Final = 4
"""Of gaps: how many readings ago they may have ended."""
KEPT: Final = 2 * SIDE + ENDS - 1
EFFECT: Final = 1.15
"""log2: a factor of 2.2; healthy updates leap by up to two."""
GAP: Final = 2.0
TAIL_FACTOR: Final = 1.5
TAIL_KEPT: Final = 0.997
LEAST: Final = 3
"""Series; of fewer, none is alone."""
KNOWN_SHARE: Final = 0.7
STEPS: Final = 256.0
UNKNOWN: Final = -(1 << 15)
_MOST = float((1 << 15) - 1)


class Leap(NamedTuple):
    """The series that leapt, -1: most of them; by how much (log2, signed); the level now; and the ratio."""

    series: int
    by: float
    level: float
    ratio: float


class Leaps:
    """n series; state: their last KEPT levels int16 [KEPT, n], oldest first, in STEPS to an octave, UNKNOWN: none;
    tails float16 [n + 1], the last of all; marks float32 [n], the fast means of the last look.
    """

    __slots__ = ("_levels", "_marks", "_tails")

    def __init__(self, series: int) -> None:
        self._levels = np.full((KEPT, series), UNKNOWN, np.int16)
        self._tails = np.zeros(series + 1, np.float16)
        self._marks = np.full(series, np.nan, np.float32)

    def __len__(self) -> int:
        return int(self._marks.size)

    def take(self, levels: NDArray[np.float32], fast: NDArray[np.float32], readings: int = 1) -> None:
        """A look: the newest levels, float32 [n], log2, and their fast means, float32 [n], that tell of a new reading.

        Where only the mean is known (levels NaN), the level is what so many readings at it make of the mean before.
        """
        _take(self._levels, self._marks, levels, fast, (1.0 - FAST_RATE) ** readings)

    def gaps(self) -> NDArray[np.float32]:
        """`late` and `wide` of each series, signed: float32 [2, n], NaN where too few levels are known."""
        gaps = np.empty((2, len(self)), np.float32)
        _gaps(self._levels, gaps)
        return gaps

    def judge(
        self,
        gaps: NDArray[np.float32],
        explained: NDArray[np.float32],
        blocks: NDArray[np.int32],
        care: float = 1.0,
    ) -> list[Leap]:
        """What leapt; learns the tails. gaps: as of `gaps`.  explained: float32 [n], signed, in log2.

        blocks: int32 [n], equal for layers of one block.  care: what every ratio is divided by.
        """
        tails = self._tails.astype(np.float32)
        count, middle, common, best, apart, second = _judge(gaps, explained, blocks, tails)
        if count < KNOWN_SHARE * len(self) or count < LEAST - 1:
            return []
        found = []
        ratio = common / max(EFFECT, TAIL_FACTOR * float(self._tails[-1])) / care
        if ratio >= 1.0:
            found.append(Leap(-1, middle, float(np.median(self._last()[np.isfinite(gaps[0])])), ratio))
        if count >= LEAST:
            needed = max(EFFECT, GAP * second, TAIL_FACTOR * float(self._tails[best]))
            ratio = apart / needed / care
            if ratio >= 1.0:
                found.append(Leap(best, float(gaps[0, best]), float(self._last()[best]), ratio))
        self._tails[:] = tails
        return found

    def _last(self) -> NDArray[np.float64]:
        return np.where(self._levels[-1] == UNKNOWN, np.nan, self._levels[-1] / STEPS)

    def restart(self) -> None:
        """The run repeats steps: levels are others; tails are kept."""
        self._levels[:] = UNKNOWN
        self._marks[:] = np.nan

    def dump(self) -> bytes:
        """The state: 24 bytes a series and 2."""
        return self._marks.tobytes() + self._levels.tobytes() + self._tails.tobytes()

    @classmethod
    def load(cls, state: bytes) -> Leaps:
        """Continue as the dumped one; ValueError if the bytes are no state of it."""
        series, rest = divmod(len(state) - 2, 4 + 2 * KEPT + 2)
        if series < 0 or rest:
            raise ValueError(
                f"a state of leaps has 2 bytes and a multiple of 24, got {len(state)}; was it cut?"
            )
        chart = cls(series)
        chart._marks[:] = np.frombuffer(state, np.float32, series)
        chart._levels[:] = np.frombuffer(state, np.int16, KEPT * series, 4 * series).reshape(KEPT, series)
        chart._tails[:] = np.frombuffer(state, np.float16, series + 1, (4 + 2 * KEPT) * series)
        return chart


@njit(cache=True, error_model="numpy")
def _take(levels: Any, marks: Any, now: Any, fast: Any, kept: float) -> None:
    newest = levels.shape[0] - 1
    for i in range(marks.size):
        mean, before = np.float64(fast[i]), np.float64(marks[i])
        if not math.isfinite(mean) or mean == before:
            continue
        level = np.float64(now[i])
        if not math.isfinite(level):
            level = (mean - kept * before) / (1.0 - kept) if math.isfinite(before) else mean
        for at in range(newest):
            levels[at, i] = levels[at + 1, i]
        levels[newest, i] = np.int16(round(max(-_MOST, min(_MOST, STEPS * level))))
        marks[i] = fast[i]


@njit(cache=True, error_model="numpy")
def _judge(gaps: Any, explained: Any, blocks: Any, tails: Any) -> tuple[int, float, float, int, float, float]:
    """How many are known, what their middle did, unexplained; who is furthest apart, by what, and the second block.

    Learns the tails, which the call is judged by as they were before.
    """
    n = blocks.size
    wide, because = np.empty(n), np.empty(n)
    count = 0
    for i in range(n):
        if math.isfinite(gaps[0, i]):
            wide[count], because[count] = gaps[1, i], explained[i]
            count += 1
    if count < KNOWN_SHARE * n or count < LEAST - 1:
        return count, 0.0, 0.0, 0, 0.0, 0.0
    middle, of_all = np.median(wide[:count]), np.median(because[:count])
    common = max(0.0, abs(middle) - (abs(of_all) if of_all * middle > 0.0 else 0.0))
    best, apart, second = 0, -1.0, 0.0
    for i in range(n):
        own = 0.0
        if math.isfinite(gaps[0, i]):
            late = gaps[0, i] - middle
            toward = explained[i] if late > 0.0 else -explained[i]
            own = max(min(abs(late), abs(gaps[0, i])) - max(toward, 0.0), 0.0)
        if own > apart:
            best, apart = i, own
        tails[i] = max(tails[i] * TAIL_KEPT, own if own < EFFECT else 0.0)
    for i in range(n):
        if blocks[i] != blocks[best] and math.isfinite(gaps[1, i]):
            second = max(second, abs(gaps[1, i] - middle))
    tails[n] = max(tails[n] * TAIL_KEPT, common if common < EFFECT else 0.0)
    return count, middle, common, best, apart, second


@njit(cache=True, error_model="numpy")
def _gaps(levels: Any, gaps: Any) -> None:
    kept = levels.shape[0]
    for i in range(gaps.shape[1]):
        gaps[:, i] = np.nan
        for ago in range(ENDS):
            end = kept - ago
            if levels[end - 2 * SIDE, i] == UNKNOWN:
                break
            low = high = levels[end - 1, i] / STEPS
            below = above = levels[end - SIDE - 1, i] / STEPS
            for back in range(2, SIDE + 1):
                after, before = levels[end - back, i] / STEPS, levels[end - SIDE - back, i] / STEPS
                low, high = min(low, after), max(high, after)
                below, above = min(below, before), max(above, before)
            drift = 0.5 * max(high - low, above - below)
            gap = max(low - above - drift, 0.0) - max(below - high - drift, 0.0)
            if not abs(gaps[1, i]) >= abs(gap):
                gaps[1, i] = gap
            if 1 <= ago <= 2 and not abs(gaps[0, i]) >= abs(gap):
                gaps[0, i] = gap
