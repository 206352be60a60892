"""The last readings of the whole-model signals: read sixteen at a time, so that noting one costs next to nothing."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.flat import Flat

PIECE = 16
"""Readings between two looks at the history."""
KEPT = 64
RESUME_READINGS = 16
"""After a resume each of so many readings is looked at."""
KEPT_SIGNALS = ("loss", "eval_loss", "grad_norm_total", "lr", "loss_scale", "skipped", "clip_coef")
_SECONDS = len(KEPT_SIGNALS)
_ROW = {name: row for row, name in enumerate((*KEPT_SIGNALS, "step_seconds"))}
_ROWS = len(_ROW)
_BLANK = np.full((len(KEPT_SIGNALS), 0), np.nan, np.float32)


class SavedHistory(msgspec.Struct, omit_defaults=True):
    """`History` in a snapshot; raw little-endian bytes."""

    unread: list[tuple[int, dict[str, float]]] = []
    steps: bytes = b""
    values: bytes = b""
    taken: int = 0
    flat: bytes = b""
    resumed: int = -1
    known: dict[str, float] = {}
    speeds: list[float] = []
    norms: list[float] = []
    evaluations: list[tuple[float, float, float, float]] = []
    seconds: bytes = b""


class History:
    """The readings of a run's charted records, oldest first.

    steps: int64 [n], millionths.  values: float32 [signals of KEPT_SIGNALS, n], NaN where not measured; n is KEPT at
    the most.  unread: what came since the last `read`.  taken: readings read, ever.
    resumed: how many had come at the last resume, -1 without one.  known: what the looks have learned, by name.
    norms: the total gradient norm's medians over the last pieces (`growth`).
    speeds: how fast the weights' norms moved at the last checks (`stillness`).
    evaluations: the last: step in millionths, mean training loss since the one before, loss, learning rate.
    seconds: float32 [n], what the steps took; n is KEPT at the most, NaN where not measured.
    """

    __slots__ = (
        "evaluations",
        "flat",
        "known",
        "norms",
        "resumed",
        "seconds",
        "speeds",
        "steps",
        "taken",
        "unread",
        "values",
    )

    def __init__(self, saved: SavedHistory | None = None) -> None:
        saved = saved or SavedHistory()
        self.unread = list(saved.unread)
        self.taken = saved.taken
        self.steps: NDArray[np.int64] = np.frombuffer(saved.steps, np.int64)
        self.values: NDArray[np.float32] = np.frombuffer(saved.values, np.float32).reshape(
            len(KEPT_SIGNALS), -1
        )
        self.flat = Flat.load(saved.flat) if saved.flat else Flat()
        self.resumed = saved.resumed
        self.known = dict(saved.known)
        self.speeds = list(saved.speeds)
        self.norms = list(saved.norms)
        self.evaluations = list(saved.evaluations)
        self.seconds: NDArray[np.float32] = np.frombuffer(saved.seconds, np.float32)

    @property
    def seen(self) -> int:
        """Readings that came, ever."""
        return self.taken + len(self.unread)

    def due(self, further: int = 0) -> bool:
        """Whether to look at what has come, or will have come `further` readings on."""
        came = len(self.unread) + further
        return came >= PIECE or (self.resumed >= 0 and self.taken + came - self.resumed <= RESUME_READINGS)

    def of(self, signal: str) -> NDArray[np.float32]:
        """The kept readings of one of KEPT_SIGNALS: float32 [n]."""
        values: NDArray[np.float32] = self.values[_ROW[signal]]
        return values

    def of_all(self, signal: str) -> NDArray[np.float32]:
        """As `of`, with what is not read yet."""
        unread = [values.get(signal, np.nan) for _, values in self.unread]
        return np.concatenate([self.of(signal), np.array(unread, np.float32)])

    def read(self) -> int:
        """Take what is unread to the others; how many there were."""
        new = len(self.unread)
        readings = [values for _, values in self.unread]
        steps = np.array([step for step, _ in self.unread], np.int64)
        block = np.full((_ROWS, new), np.nan, np.float32)
        for name in set().union(*readings):
            row = _ROW.get(name)
            if row is not None:
                block[row] = [values.get(name, math.nan) for values in readings]
        self.unread = []
        self.taken += new
        self.steps = np.concatenate((self.steps, steps))[-KEPT:]
        self.values = np.concatenate((self.values, block[:_SECONDS]), axis=1)[:, -KEPT:]
        self.seconds = np.concatenate((self.seconds, block[_SECONDS]))[-KEPT:]
        return new

    def restart(self) -> None:
        """The run starts over and repeats steps."""
        self.unread = []
        self.steps = np.zeros(0, np.int64)
        self.values = _BLANK
        self.norms = []
        self.seconds = _BLANK[0]
        self.evaluations = []
        self.flat.restart()

    @property
    def fits(self) -> bool:
        """Whether its parts fit each other."""
        kept = self.values.shape[1] == len(self.steps) <= KEPT and len(self.seconds) <= KEPT
        return kept and len(self.unread) < PIECE

    def saved(self) -> SavedHistory:
        """For a snapshot."""
        if not self.taken and not self.unread and self.resumed < 0:
            return SavedHistory()
        return SavedHistory(
            self.unread,
            self.steps.tobytes(),
            self.values.tobytes(),
            self.taken,
            self.flat.dump(),
            self.resumed,
            self.known,
            self.speeds,
            self.norms,
            self.evaluations,
            self.seconds.tobytes(),
        )
