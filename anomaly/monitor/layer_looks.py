"""What is remembered of each layer to tell that it no longer reports: five numbers, taken at every look."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray


class SavedLooks(msgspec.Struct, omit_defaults=True):
    """`LayerLooks` in a snapshot; raw little-endian bytes."""

    due: int = 0
    suspects: dict[int, int] = {}
    learned: bytes = b""
    left: bytes = b""
    counts: bytes = b""


class LayerLooks:
    """Layers as `missing_layers` sees them.

    learned: int32 [layers], readings that all series of a layer had learned at the last look.
    left: float64 [layers], what the last readings had left behind by then (`Slab.readings`).
    seen, absent, longest: int32 [layers], all in readings of the run: for how many the layer was there, 0 while it is
    not expected to be; since when it is not; for how long it ever was not before it came back.
    due: the run's reading at which to look next.  suspects: layer -> reading since which it is searched for.
    """

    __slots__ = ("_counts", "due", "learned", "left", "suspects")

    def __init__(self, saved: SavedLooks | None = None) -> None:
        saved = saved or SavedLooks()
        self.due = saved.due
        self.suspects = dict(saved.suspects)
        self.learned: NDArray[np.int32] = np.frombuffer(saved.learned, np.int32).copy()
        left = saved.left or bytes(8 * len(self.learned))
        self.left: NDArray[np.float64] = np.frombuffer(left, np.float64).copy()
        self._counts = np.frombuffer(saved.counts, np.int32).reshape(3, -1).copy()

    @property
    def seen(self) -> NDArray[np.int32]:
        """See the class."""
        seen: NDArray[np.int32] = self._counts[0]
        return seen

    @property
    def absent(self) -> NDArray[np.int32]:
        """See the class."""
        absent: NDArray[np.int32] = self._counts[1]
        return absent

    @property
    def longest(self) -> NDArray[np.int32]:
        """See the class."""
        longest: NDArray[np.int32] = self._counts[2]
        return longest

    def grow(self, layers: int) -> None:
        """There are more layers now, and who reports may be another question: every layer is to be seen anew."""
        known = len(self.learned)
        self.learned = np.concatenate([self.learned, np.zeros(layers - known, np.int32)])
        self.left = np.concatenate([self.left, np.zeros(layers - known)])
        self._counts = np.concatenate([self._counts, np.zeros((3, layers - known), np.int32)], axis=1)
        self._counts[:2] = 0
        self.suspects = {}

    def returned(self, there: NDArray[np.bool_]) -> None:
        """These layers (bool [layers]) report; how long they were away is known from now on."""
        expected = there & (self.seen > 0)
        self.longest[expected] = np.maximum(self.longest[expected], self.absent[expected])
        self.absent[there] = 0

    def saved(self) -> SavedLooks:
        """For a snapshot."""
        learned, left, counts = self.learned.tobytes(), self.left.tobytes(), self._counts.tobytes()
        return SavedLooks(self.due, self.suspects, learned, left, counts)
