"""The last readings of the whole-model signals: read sixteen at a time, so that noting one costs next to nothing."""

from __future__ import annotations

import math
import struct
from array import array

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.series import REMEMBERED_SIGNALS
from detectors.flat import Flat

PIECE = 16
"""Readings between two looks at the history."""
KEPT = 64
RESUME_READINGS = 16
"""After a resume each of so many readings is looked at."""
_NAMES = REMEMBERED_SIGNALS
_SECONDS = _NAMES.index("step_seconds")
KEPT_SIGNALS = _NAMES[:_SECONDS]
_ROW = {name: row for row, name in enumerate(_NAMES)}
_NOT_MEASURED = (math.nan,) * len(_NAMES)
_READING = struct.Struct(f"<{len(_NAMES)}f")
_BLANK = np.full((len(_NAMES), 0), np.nan, np.float32)


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
    rewards: dict[str, list[float]] = {}
    evaluations: list[tuple[float, float, float, float]] = []
    seconds: bytes = b""


class History:
    """The readings of a run's charted records, oldest first.

    steps: int64 [n], millionths.  values: float32 [signals of KEPT_SIGNALS, n], NaN where not measured; n is KEPT at
    the most.  What came since the last `read` is unread, packed.  taken: readings read, ever.
    resumed: how many had come at the last resume, -1 without one.  known: what the looks have learned, by name.
    norms: the total gradient norm's medians over the last pieces (`growth`).
    rewards: what each reward was at the last looks (`rewards`).
    speeds: how fast the weights' norms moved at the last checks (`stillness`).
    evaluations: the last: step in millionths, mean training loss since the one before, loss, learning rate.
    seconds: float32 [n], what the steps took, NaN where not measured.
    """

    __slots__ = (
        "_kept",
        "_new_steps",
        "_unread",
        "evaluations",
        "flat",
        "known",
        "norms",
        "resumed",
        "rewards",
        "speeds",
        "steps",
        "taken",
    )

    def __init__(self, saved: SavedHistory | None = None) -> None:
        saved = saved or SavedHistory()
        self._new_steps = array("q", [step for step, _ in saved.unread])
        self._unread = bytearray().join(_packed(values) for _, values in saved.unread)
        self.taken = saved.taken
        self.steps: NDArray[np.int64] = np.frombuffer(saved.steps, np.int64)
        self._kept = _kept(saved)
        self.flat = Flat.load(saved.flat) if saved.flat else Flat()
        self.resumed = saved.resumed
        self.known = dict(saved.known)
        self.speeds = list(saved.speeds)
        self.norms = list(saved.norms)
        self.rewards = dict(saved.rewards)
        self.evaluations = list(saved.evaluations)

    @property
    def values(self) -> NDArray[np.float32]:
        """See the class."""
        return self._kept[:_SECONDS]

    @property
    def seconds(self) -> NDArray[np.float32]:
        """See the class."""
        seconds: NDArray[np.float32] = self._kept[_SECONDS]
        return seconds

    def note(self, step: int, values: dict[str, float]) -> None:
        """A reading: the measured, finite values of the whole model by signal, at a step in millionths."""
        self._new_steps.append(step)
        self._unread += _packed(values)

    def note_packed(self, step: int, reading: bytes) -> None:
        """As `note`; the reading is float32 of REMEMBERED_SIGNALS, NaN where not measured."""
        self._new_steps.append(step)
        self._unread += reading

    def newest(self, signal: str) -> float | None:
        """The last reading's value of one of REMEMBERED_SIGNALS, None where not measured; another thread may ask."""
        unread, kept = self._unread[-_READING.size :], self._kept
        if unread:
            value = _READING.unpack(unread)[_ROW[signal]]
        else:
            value = float(kept[_ROW[signal], -1]) if kept.shape[1] else math.nan
        return None if math.isnan(value) else value

    @property
    def seen(self) -> int:
        """Readings that came, ever."""
        return self.taken + len(self._new_steps)

    def due(self, further: int = 0) -> bool:
        """Whether to look at what has come, or will have come `further` readings on."""
        came = len(self._new_steps) + further
        return came >= PIECE or (self.resumed >= 0 and self.taken + came - self.resumed <= RESUME_READINGS)

    def of(self, signal: str) -> NDArray[np.float32]:
        """The kept readings of one of KEPT_SIGNALS: float32 [n]."""
        values: NDArray[np.float32] = self._kept[_ROW[signal]]
        return values

    def of_all(self, signal: str) -> NDArray[np.float32]:
        """As `of`, with what is not read yet."""
        return np.concatenate([self.of(signal), self._unread_rows()[_ROW[signal]]])

    def read(self) -> int:
        """Take what is unread to the others; how many there were."""
        new = len(self._new_steps)
        self.steps = np.concatenate((self.steps, np.array(self._new_steps, np.int64)))[-KEPT:]
        self._kept = np.concatenate((self._kept, self._unread_rows()), axis=1)[:, -KEPT:]
        self._forget_unread()
        self.taken += new
        return new

    def _unread_rows(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(np.frombuffer(bytes(self._unread), np.float32).reshape(-1, len(_NAMES)).T)

    def _forget_unread(self) -> None:
        """Another thread may be reading them."""
        self._new_steps, self._unread = array("q"), bytearray()

    def restart(self) -> None:
        """The run starts over and repeats steps."""
        self._forget_unread()
        self.steps = np.zeros(0, np.int64)
        self._kept = _BLANK
        self.norms = []
        self.rewards = {}
        self.evaluations = []
        self.flat.restart()

    @property
    def fits(self) -> bool:
        """Whether its parts fit each other."""
        return self._kept.shape[1] == len(self.steps) <= KEPT and len(self._new_steps) < PIECE

    def saved(self) -> SavedHistory:
        """For a snapshot."""
        fresh = not self.taken and not self._new_steps and self.resumed < 0
        return SavedHistory(
            list(zip(self._new_steps, map(_measured, _READING.iter_unpack(self._unread)), strict=True)),
            self.steps.tobytes(),
            self.values.tobytes(),
            self.taken,
            b"" if fresh else self.flat.dump(),
            self.resumed,
            self.known,
            self.speeds,
            self.norms,
            self.rewards,
            self.evaluations,
            self.seconds.tobytes(),
        )


def _packed(values: dict[str, float]) -> bytes:
    """A reading in a tenth of a dictionary's room: float32 each, NaN where not measured."""
    return _READING.pack(*map(values.get, _NAMES, _NOT_MEASURED))


def _measured(reading: tuple[float, ...]) -> dict[str, float]:
    """The signals of an unpacked reading that are kept."""
    values = zip(_NAMES, reading, strict=True)
    return {name: value for name, value in values if not math.isnan(value)}


def _kept(saved: SavedHistory) -> NDArray[np.float32]:
    """Float32 [signals, n]; seconds that came before an older release kept them are not measured."""
    values = np.frombuffer(saved.values, np.float32).reshape(len(KEPT_SIGNALS), -1)
    kept = np.full((len(_NAMES), values.shape[1]), np.nan, np.float32)
    kept[:_SECONDS] = values
    seconds = np.frombuffer(saved.seconds, np.float32)[-values.shape[1] :]
    if len(seconds):
        kept[_SECONDS, -len(seconds) :] = seconds
    return kept
