"""What the layers' weights, gradients or activations were at equal distances of the last readings: for `swelling`."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.swelling import PIECES

SIGNALS = ("weight_norm", "grad_norm", "act_absmax")


class Norms(msgspec.Struct, omit_defaults=True):
    """Levels of n norms, log2, NaN where not known. looked: readings of the run's history at the last, -1 before any.

    levels: float16 [up to PIECES, n], raw, oldest first.
    """

    looked: int = -1
    levels: bytes = b""

    def take(self, reading: int, now: NDArray[np.float32]) -> NDArray[np.float32]:
        """The levels with those of now, float32 [up to PIECES + 1, n]; keeps the last of them."""
        newest = now.astype(np.float16)
        size = newest.nbytes
        before = self.levels if size and len(self.levels) % size == 0 else b""  # else there were fewer layers
        self.looked = reading
        self.levels = (before + newest.tobytes())[-PIECES * size :]
        levels = np.frombuffer(before + newest.tobytes(), np.float16).reshape(-1, newest.size)
        return levels.astype(np.float32)

    def restart(self) -> None:
        """The run repeats steps: weights are others."""
        self.looked, self.levels = -1, b""


def no_norms() -> list[Norms]:
    """Of a run that has not been looked at: those of each of SIGNALS."""
    return [Norms() for _ in SIGNALS]
