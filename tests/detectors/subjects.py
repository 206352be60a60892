"""The detectors as the laws see them: each judges a row of readings and can be saved. A new one joins SUBJECTS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.climb import Climb
from detectors.flat import Flat
from detectors.profiles import PROFILES, profile_index
from detectors.river_watch import RiverWatch
from detectors.runlength import RunLength
from detectors.slab import Slab
from detectors.unmoved import Unmoved
from tests.detectors.series import Floats

SERIES = 20


class Detector(Protocol):
    def judge(self, x: Floats) -> NDArray[Any]:
        """One reading per series, float32 [SERIES]; verdicts of any shape [..., SERIES]."""

    def dump(self) -> bytes: ...


class Slabs:
    """A slab of one profile, both ratios stacked."""

    def __init__(self, slab: Slab) -> None:
        self.slab = slab

    def judge(self, x: Floats) -> NDArray[Any]:
        self.slab.judge(x)
        return np.stack([self.slab.spike, self.slab.shift])

    def dump(self) -> bytes:
        return self.slab.dump()


class Small:
    """A run-length rule on "below 1"."""

    def __init__(self, rule: RunLength) -> None:
        self.rule = rule

    def judge(self, x: Floats) -> NDArray[Any]:
        return self.rule.judge(x < np.float32(1.0), np.isfinite(x))

    def dump(self) -> bytes:
        return self.rule.dump()


class Watches:
    """A river watch for each series; equal lengths of state, one after the other."""

    def __init__(self, watches: list[RiverWatch]) -> None:
        self.watches = watches

    def judge(self, x: Floats) -> NDArray[Any]:
        return np.array([watch.judge(float(value)) for watch, value in zip(self.watches, x, strict=True)])

    def dump(self) -> bytes:
        return b"".join(
            len(state).to_bytes(4, "little") + state for state in (w.dump() for w in self.watches)
        )


class Still:
    """Weights that no longer move."""

    def __init__(self, chart: Unmoved) -> None:
        self.chart = chart

    def judge(self, x: Floats) -> NDArray[Any]:
        return self.chart.judge(x)[0]

    def dump(self) -> bytes:
        return self.chart.dump()

    @classmethod
    def load(cls, state: bytes) -> Still:
        return cls(Unmoved.load(state))


class Climbs:
    """The ratios of the slow climb."""

    def __init__(self, chart: Climb) -> None:
        self.chart = chart

    def judge(self, x: Floats) -> NDArray[Any]:
        self.chart.alarms(x)
        return self.chart.ratio.copy()

    def dump(self) -> bytes:
        return self.chart.dump()

    @classmethod
    def load(cls, state: bytes) -> Climbs:
        return cls(Climb.load(state))


class Flats:
    """A flatness chart for each series; a step is a reading that it can learn. Equal lengths of state."""

    def __init__(self, charts: list[Flat]) -> None:
        self.charts, self.steps = charts, np.zeros(len(charts))

    def judge(self, x: Floats) -> NDArray[Any]:
        each = range(len(self.charts))
        ratios = [self.charts[at].take(x[at : at + 1], self.steps[at : at + 1]) for at in each]
        self.steps += np.isfinite(x) & (x > 0)
        return np.array(ratios, np.float32).T

    def dump(self) -> bytes:
        return self.steps.tobytes() + b"".join(chart.dump() for chart in self.charts)

    @classmethod
    def load(cls, state: bytes) -> Flats:
        steps, states = state[: 8 * SERIES], state[8 * SERIES :]
        size = len(states) // SERIES
        flats = cls([Flat.load(states[at : at + size]) for at in range(0, len(states), size)])
        flats.steps[:] = np.frombuffer(steps)
        return flats


@dataclass(frozen=True)
class Subject:
    name: str
    make: Callable[[], Detector]
    load: Callable[[bytes], Detector]
    scale_free: bool
    """Verdicts do not change when all readings are doubled."""


def _slab(name: str) -> Subject:
    profiles = np.full(SERIES, profile_index(name), np.uint8)
    scale_free = name in ("magnitude", "loss", "gradient", "update_ratio", "activation", "weight", "seconds")
    return Subject(
        name, lambda: Slabs(Slab(profiles)), lambda state: Slabs(Slab.load(profiles, state)), scale_free
    )


def _watches(state: bytes, detector: str, options: dict[str, Any], threshold: float | None) -> Watches:
    watches, at = [], 0
    while at < len(state):
        size = int.from_bytes(state[at : at + 4], "little")
        watches.append(RiverWatch.load(detector, state[at + 4 : at + 4 + size], options, threshold))
        at += 4 + size
    return Watches(watches)


def _river(detector: str, options: dict[str, Any], threshold: float | None = None) -> Subject:
    return Subject(
        detector,
        lambda: Watches([RiverWatch(detector, options, threshold) for _ in range(SERIES)]),
        lambda state: _watches(state, detector, options, threshold),
        scale_free=False,
    )


SUBJECTS: list[Subject] = [
    *(_slab(profile.name) for profile in PROFILES),
    Subject("flat", lambda: Flats([Flat() for _ in range(SERIES)]), Flats.load, scale_free=True),
    Subject("unmoved", lambda: Still(Unmoved(SERIES)), Still.load, scale_free=False),
    Subject("climb", lambda: Climbs(Climb(SERIES)), Climbs.load, scale_free=True),
    Subject(
        "run length", lambda: Small(RunLength(SERIES)), lambda s: Small(RunLength.load(s)), scale_free=False
    ),
    _river("drift.ADWIN", {}),
    _river("drift.PageHinkley", {"threshold": 20.0}),
    _river("anomaly.GaussianScorer", {"grace_period": 50}, 0.999),
]
