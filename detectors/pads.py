"""What judging works in: one for all slabs, so that it stays in the cache and costs no run any memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .rows import LANES, NOT_MEASURED

__all__ = ["PADS"]

_BLANK = np.array([NOT_MEASURED], np.uint32).view(np.float32)[0]


class Pads:
    """A record and what the kernel says of it."""

    def __init__(self) -> None:
        self.judged: object = None
        """Whose verdicts are in there."""
        self.rows = np.zeros((5, 0), np.float32)
        """The record, z, spike, shift, small."""
        self.work = np.zeros(6 * LANES, np.float32)
        self._filled = 0
        """From here on the record is blank."""

    def take(self, slab: object, x: NDArray[np.float32]) -> None:
        """The next record to judge."""
        self.judged = slab
        size = x.size
        if size > self.rows.shape[1] - LANES:
            self.rows = np.zeros((5, 2 * size + 2 * LANES), np.float32)
            self.rows[0] = _BLANK
        elif size < self._filled:
            self.rows[0, size : self._filled] = _BLANK
        self.rows[0, :size] = x
        self._filled = size


PADS = Pads()
