"""Any drift or anomaly detector of river on one chosen series, made to fit: no NaN, no pickle, exact restarts.

Shift found: whatever the river detector finds.  Formula: its own.
Knobs: the detector's own options; `threshold` for anomaly detectors, in units of their score.
False alarms: the detector's own rate; it knows nothing of the other series or of a budget.
Sibling: the slab's charts (kernel.py), a thousand times cheaper; take this one for a method they do not have.
Source: https://riverml.xyz, packages `drift` and `anomaly`.

A river object's state is not plain bytes, so the state kept here is the readings it has seen: those of the present
epoch (1,024 readings) and the last 256 of the one before.  Each epoch begins with a new river object that is first
shown those 256 without its answer being asked; restoring does the same and replays the epoch.  So a restored watch
continues exactly as if never stopped, and a detector with a long memory has 256 to 1,280 readings of it.
"""

from __future__ import annotations

import inspect
import math
import struct
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["EPOCH", "OVERLAP", "RiverWatch"]

EPOCH: Final = 1024
OVERLAP: Final = 256
_FAMILIES: Final = ("drift", "anomaly")


class RiverWatch:
    """A river detector named `drift.X` or `anomaly.X` watches one series.

    options: keyword arguments of the river class; one that takes a `seed` gets 0 unless it is given.  threshold:
    the score from which an anomaly detector alarms; drift detectors decide for themselves.  An anomaly detector is
    given the reading as the feature "x".  ModuleNotFoundError without river; ValueError for a name, an option or a
    threshold that does not fit.
    """

    def __init__(
        self, detector: str, options: Mapping[str, Any] | None = None, threshold: float | None = None
    ) -> None:
        self.detector = detector
        self._class = _river_class(detector)
        self._options = dict(options or {})
        if "seed" in inspect.signature(self._class).parameters:
            self._options.setdefault("seed", 0)
        self._drift = detector.startswith("drift.")
        if self._drift != (threshold is None):
            wanted = (
                "decides for itself: leave the threshold out"
                if self._drift
                else "needs a threshold for its score"
            )
            raise ValueError(f"river detector {detector} {wanted}, got {threshold}")
        self._threshold = threshold
        self._before: list[float] = []
        self._epoch: list[float] = []
        self._river = self._new()

    def judge(self, x: float) -> float:
        """Judge one reading (taken as float32), then learn it; the ratio to the alarm level, 1.0 or more = alarm.

        Drift detectors give 0.0 or 1.0.  NaN and infinities never reach river and give 0.0.
        """
        if not math.isfinite(x):
            return 0.0
        (value,) = struct.unpack("<f", struct.pack("<f", x))
        ratio = self._show(value)
        self._epoch.append(value)
        if len(self._epoch) == EPOCH:
            self._before, self._epoch = self._epoch[-OVERLAP:], []
            self._river = self._new()
        return ratio

    def dump(self) -> bytes:
        """The readings the river object has seen, as two counts and little-endian float32."""
        seen = self._before + self._epoch
        return struct.pack(f"<II{len(seen)}f", len(self._before), len(self._epoch), *seen)

    @classmethod
    def load(
        cls,
        detector: str,
        state: bytes,
        options: Mapping[str, Any] | None = None,
        threshold: float | None = None,
    ) -> RiverWatch:
        """A watch that continues exactly as the dumped one; ValueError if the bytes are no state of it."""
        watch = cls(detector, options, threshold)
        before, epoch = struct.unpack_from("<II", state) if len(state) >= 8 else (0, 0)
        if len(state) != 8 + 4 * (before + epoch):
            raise ValueError(
                f"a river watch of {before} + {epoch} readings, got {len(state)} bytes; was it cut?"
            )
        seen = list(struct.unpack_from(f"<{before + epoch}f", state, 8))
        watch._before, watch._epoch = seen[:before], seen[before:]
        watch._river = watch._new()
        for value in watch._epoch:
            watch._show(value)
        return watch

    def _new(self) -> Any:
        """A new river object that has been shown the end of the epoch before."""
        try:
            self._river = self._class(**self._options)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"river detector {self.detector} refuses its options {self._options}: {error}"
            ) from error
        for value in self._before:
            self._show(value)
        return self._river

    def _show(self, value: float) -> float:
        """One reading for the river object; its answer as a ratio."""
        if self._drift:
            self._river.update(value)
            return float(self._river.drift_detected)
        features = {"x": value}
        if self._supervised():
            score = self._river.score_one(features, value)
            self._river.learn_one(features, value)
        else:
            score = self._river.score_one(features)
            self._river.learn_one(features)
        score = float(score)
        return score / self._threshold if self._threshold and math.isfinite(score) else 0.0

    def _supervised(self) -> bool:
        """Whether the river class scores a target besides the features."""
        return "y" in inspect.signature(self._class.score_one).parameters


def _river_class(name: str) -> type[Any]:
    """The river class of a dotted name below `drift` or `anomaly`."""
    try:
        import river.anomaly
        import river.drift
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{name} is a detector of river, which is not installed: pip install training-anomaly[worker]"
        ) from error
    family, _, rest = name.partition(".")
    found: Any = getattr(river, family) if family in _FAMILIES else None
    for part in rest.split("."):
        found = getattr(found, part, None) if not part.startswith("_") else None
    if not inspect.isclass(found) or not (hasattr(found, "update") or hasattr(found, "score_one")):
        known = [
            f"{kind}.{each}"
            for kind in _FAMILIES
            for each in getattr(river, kind).__all__
            if each[0].isupper()
        ]
        raise ValueError(f"river has no detector {name!r}; it has {', '.join(known)}")
    return found
