"""What judging works in: one for all slabs, so that it stays in the cache and costs no run any memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .rows import LANES, PAD_ROWS, Told

__all__ = ["PADS"]


class Pads:
    """A record and what the kernel says of it, tile by tile."""

    def __init__(self) -> None:
        self.judged: object = None
        """Whose verdicts are in there."""
        self.tiles = np.zeros(0, np.float32)
        """Flat [tiles * 5 * 16]: of each tile the record, z, spike, shift, small."""
        self.told = np.zeros(len(Told) * LANES, np.float32)

    def take(self, slab: object, tiles: int) -> None:
        """The next to judge is this slab, of so many tiles."""
        self.judged = slab
        size = tiles * PAD_ROWS * LANES
        if size > self.tiles.size:
            self.tiles = np.zeros(2 * size, np.float32)

    def row(self, row: int, slots: int) -> NDArray[np.float32]:
        """One of the five rows, for all slots: float32 [n]."""
        return self.tiles.reshape(-1, PAD_ROWS, LANES)[:, row].reshape(-1)[:slots]

    def of(self, row: int, slot: int) -> float:
        """The same for one slot."""
        return float(self.tiles[(slot // LANES * PAD_ROWS + row) * LANES + slot % LANES])


PADS = Pads()
