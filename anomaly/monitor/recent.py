"""The last judged steps of a run and at which of them nothing was suspicious, in nine bytes each instead of forty."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

RECENT_STEPS = 128
LEAST_PACKED = -(1 << 63)
"""A snapshot has no smaller integers. Steps below -2**42 are remembered as that one; nobody counts from there."""
_CUT_AT = RECENT_STEPS + 32


class Recent:
    """The newest `RECENT_STEPS` steps, oldest first, each as 2 * step + (1 if nothing was suspicious)."""

    __slots__ = ("_quiet", "_steps")

    def __init__(self, packed: Iterable[int] = ()) -> None:
        self._steps = array("q")
        self._quiet = bytearray()
        self.extend(packed)

    def append(self, packed: int) -> None:
        """The newest; the oldest goes."""
        self._steps.append(packed >> 1)
        self._quiet.append(packed & 1)
        if len(self._quiet) > _CUT_AT:
            del self._steps[:-RECENT_STEPS], self._quiet[:-RECENT_STEPS]

    def extend(self, packed: Iterable[int]) -> None:
        """As many times `append`."""
        for each in packed:
            self.append(each)

    def clear(self) -> None:
        """Nothing is remembered."""
        del self._steps[:], self._quiet[:]

    def __len__(self) -> int:
        return min(len(self._quiet), RECENT_STEPS)

    def __iter__(self) -> Iterator[int]:
        steps = zip(self._steps[-RECENT_STEPS:], self._quiet[-RECENT_STEPS:], strict=True)
        return (2 * step + quiet for step, quiet in steps)

    def newest_first(self) -> Iterator[int]:
        """As iterating, from the other end."""
        return reversed(list(self))

    def ago(self, readings: int) -> int:
        """The step judged so many readings ago, 1 for the newest; the oldest, where that is further than is known."""
        return self._steps[-min(readings, len(self))]
