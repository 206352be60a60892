"""Where the layers' levels stood at two earlier readings: what `strays` holds them against."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

WINDOW = 32
"""Readings between two anchors: a level is held against one that is that old, or up to twice as old."""
TAIL_KEPT = 0.95


class Anchors(msgspec.Struct, omit_defaults=True):
    """Levels of n series, log2, at an older and a newer reading; NaN where not known.

    looked, newer, older: readings of the run's history, at the last look and of the two anchors; -1 before the first.
    levels: float16 [2, n], raw.  tails: of each signal three numbers, the largest excess of windows before the two
    anchors, between them, and since; empty before the first look.
    """

    looked: int = -1
    newer: int = -1
    older: int = -1
    levels: bytes = b""
    tails: list[float] = []

    @property
    def oldest(self) -> NDArray[np.float32]:
        """Levels at the older anchor: float32 [n]."""
        levels: NDArray[np.float32] = self._pair()[0].astype(np.float32)
        return levels

    def fits(self, series: int) -> bool:
        """Whether these are anchors of so many series."""
        return len(self.levels) == 4 * series

    def begin(self, reading: int, levels: NDArray[np.float32], signals: int) -> None:
        """The first anchors, or those after a restart; tails are kept."""
        self.looked = self.newer = self.older = reading
        self.levels = 2 * levels.astype(np.float16).tobytes()
        if len(self.tails) != 3 * signals:
            self.tails = [0.0] * (3 * signals)

    def take(self, reading: int, levels: NDArray[np.float32]) -> None:
        """A look: the newer anchor becomes the older one once it is old enough."""
        self.looked = reading
        if reading - self.newer < WINDOW:
            return
        self.older, self.newer = self.newer, reading
        self.levels = self._pair()[1].tobytes() + levels.astype(np.float16).tobytes()
        tails: list[float] = []
        for before, between, since in zip(self.tails[::3], self.tails[1::3], self.tails[2::3], strict=True):
            tails += (max(before * TAIL_KEPT, between), since, 0.0)
        self.tails = tails

    def restart(self) -> None:
        """The run repeats steps, or begins anew: levels are others."""
        self.looked = self.newer = self.older = -1
        self.levels = b""

    def _pair(self) -> NDArray[np.float16]:
        return np.frombuffer(self.levels, np.float16).reshape(2, -1)
