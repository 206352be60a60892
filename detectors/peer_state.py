"""What `peers` knows of ranks that come and go: arrays that grow with them and the columns, and the same as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "PeerState"]

USUAL, UP, DOWN, PEAK, LEARNED, BEFORE = range(6)
_PAIR_ROWS: Final = 6
COUNT, SPREAD, TAIL, CENTER, SWING, WILDEST, FLOOR, ECHO, POWER, RECENT = range(10)
_COLUMN_ROWS: Final = 10

Floats = NDArray[np.float64]


class PeerState:
    """What is known of ranks and columns: `_pairs` and `_onset` of each pair of them, `_columns` of each column."""

    def __init__(self, names: NDArray[np.int64], floors: Floats) -> None:
        """names, floors: of the columns, one entry each; a name is any integer."""
        self.ranks: list[int] = []
        self.names = names
        self._pairs = np.zeros((_PAIR_ROWS, 0, len(names)), np.float32)
        self._onset = np.zeros((0, len(names)), np.int64)
        self._columns = np.zeros((_COLUMN_ROWS, len(names)))
        self._columns[FLOOR] = floors

    def widen(self, names: NDArray[np.int64], floors: Floats) -> None:
        """Append columns with these names and floors."""
        more = len(names)
        self.names = np.concatenate([self.names, names])
        self._pairs = np.pad(self._pairs, ((0, 0), (0, 0), (0, more)))
        self._onset = np.pad(self._onset, ((0, 0), (0, more)))
        self._columns = np.pad(self._columns, ((0, 0), (0, more)))
        self._columns[FLOOR, -more:] = floors

    def restart(self) -> None:
        """The ranks are others, or hold other parts: what is usual of each is learned anew; scales and tails stay."""
        self.ranks = []
        self._pairs = self._pairs[:, :0]
        self._onset = self._onset[:0]
        self._columns[COUNT] = np.minimum(self._columns[COUNT], 1.0)

    def _rows(self, ranks: Sequence[int]) -> NDArray[np.intp]:
        row = {rank: at for at, rank in enumerate(self.ranks)}
        new = [rank for rank in ranks if rank not in row]
        if new:
            row.update((rank, len(self.ranks) + at) for at, rank in enumerate(new))
            self.ranks = [*self.ranks, *new]
            self._pairs = np.pad(self._pairs, ((0, 0), (0, len(new)), (0, 0)))
            self._onset = np.pad(self._onset, ((0, len(new)), (0, 0)))
        return np.array([row[rank] for rank in ranks], np.intp)

    def dump(self) -> bytes:
        """All of it."""
        head = np.array([len(self.ranks), len(self.names), *self.ranks], np.int64)
        return b"".join(
            part.tobytes() for part in (head, self.names, self._onset, self._columns, self._pairs)
        )

    @classmethod
    def load(cls, state: bytes) -> Self:
        """A chart that continues exactly as the dumped one; ValueError if the bytes are no state of it."""
        ranks, columns = np.frombuffer(state[:16], np.int64).tolist() if len(state) >= 16 else (-1, -1)
        pairs = ranks * columns
        starts = np.cumsum([16, 8 * ranks, 8 * columns, 8 * pairs, 8 * _COLUMN_ROWS * columns])
        if ranks < 0 or columns < 0 or len(state) != starts[-1] + 4 * _PAIR_ROWS * pairs:
            raise ValueError(f"{len(state)} bytes are no state of a chart of ranks; were they cut?")
        numbers, names, onset, of_columns, of_pairs = starts.tolist()
        chart = cls(np.frombuffer(state, np.int64, columns, names).copy(), np.zeros(columns))
        chart.ranks = np.frombuffer(state, np.int64, ranks, numbers).tolist()
        chart._onset = np.frombuffer(state, np.int64, pairs, onset).reshape(ranks, columns).copy()
        of_all = np.frombuffer(state, np.float64, _COLUMN_ROWS * columns, of_columns)
        chart._columns = of_all.reshape(_COLUMN_ROWS, columns).copy()
        of_each = np.frombuffer(state, np.float32, -1, of_pairs)
        chart._pairs = of_each.reshape(_PAIR_ROWS, ranks, columns).copy()
        return chart
