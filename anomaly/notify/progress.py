"""How far a lane has come: the lowest offset of each partition that is not done. Pure."""

from __future__ import annotations

from collections.abc import Mapping


class Progress:
    """Offsets are taken in order and done in any."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._waiting: dict[int, dict[int, None]] = {}

    def begin(self, positions: Mapping[int, int]) -> None:
        """Forget all; the next offsets are these."""
        self._next = dict(positions)
        self._waiting = {partition: {} for partition in positions}

    def take(self, partition: int, offset: int) -> None:
        """An offset was read."""
        self._next[partition] = offset + 1
        self._waiting[partition][offset] = None

    def done(self, partition: int, offset: int) -> None:
        """Everything that follows from it is recorded."""
        self._waiting.get(partition, {}).pop(offset, None)

    @property
    def waiting(self) -> int:
        """Offsets that are taken and not done."""
        return sum(len(each) for each in self._waiting.values())

    def positions(self) -> dict[int, int]:
        """What may be committed: where to go on, by partition."""
        return {
            partition: next(iter(self._waiting[partition]), following)
            for partition, following in self._next.items()
        }
