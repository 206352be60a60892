"""What the charts of one run showed, on a scale that depends on no setting (`detectors.tails`): the *scores*.

They are taken while the run is judged at `REFERENCE`: the default budget, and theory's levels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.state import RunState
from detectors.levels import Levels, shift_level, spike_level
from detectors.profiles import PROFILES
from detectors.tail_fits import Scores
from detectors.tails import NO_TAILS, TOGETHER

REFERENCE = Levels(base=NO_TAILS)
FLOOR_SHARE = 0.1
"""Of the reference level: scores below are not kept."""
Key = tuple[str, str]
"""Chart and kind."""


class ScoreBook:
    """One run's scores and the readings they were taken from."""

    def __init__(self) -> None:
        self.steps = 0
        self.slots = 1
        self.exposures: dict[str, float] = {}
        """By kind: readings times slots ** TOGETHER."""
        self.of_kind: dict[str, int] = {}
        """Slots by kind, at most."""
        self._found: dict[Key, tuple[list[int], list[float]]] = {}
        self._readings = -1
        self._kinds: NDArray[np.uint8] = np.zeros(0, np.uint8)

    def note(self, state: RunState) -> None:
        """Take what the charts said of the run's last record."""
        if not state.table.slots:
            return
        if state.table.profiles is not self._kinds:
            self._kinds = state.table.profiles
            self.slots = state.table.slots
        if state.readings != self._readings:  # else it is the same step, from another rank
            self._readings = state.readings
            self.steps += 1
            self._expose(state.slab.z)
        for chart, level, ratios in _ratios(state):
            if ratios.size and ratios.max() >= FLOOR_SHARE:
                self._keep(chart, level, ratios)
        climb = float(state.climb.ratio.max(initial=0.0))
        if climb >= FLOOR_SHARE:
            self._add("climb", "loss", climb * level_of_one("climb", 1))

    def scores(self, key: Key) -> Scores:
        """Readings, ascending, and the highest score over the slots of that kind at each."""
        readings, scores = self._found.get(key, ([], []))
        return np.array(readings, np.int64), np.array(scores, np.float64)

    @property
    def peak(self) -> float:
        """The highest ratio to the reference's level of any chart."""
        return max(
            (
                max(scores) / level_of_one(chart, 1 if chart == "climb" else self.slots)
                for (chart, _), (_, scores) in self._found.items()
            ),
            default=0.0,
        )

    @property
    def keys(self) -> set[Key]:
        """All that showed anything."""
        return set(self._found)

    def _expose(self, z: NDArray[np.float32]) -> None:
        measured = np.bincount(self._kinds[z != 0], minlength=len(PROFILES))
        for kind in np.flatnonzero(measured).tolist():
            name = PROFILES[kind].name
            self.of_kind[name] = max(self.of_kind.get(name, 0), int(measured[kind]))
            self.exposures[name] = self.exposures.get(name, 0.0) + float(measured[kind]) ** TOGETHER

    def _keep(self, chart: str, level: float, ratios: NDArray[np.float32]) -> None:
        high = np.flatnonzero(ratios >= FLOOR_SHARE)
        for kind in np.unique(self._kinds[high]).tolist():
            worst = float(ratios[high][self._kinds[high] == kind].max())
            self._add(chart, PROFILES[kind].name, worst * level)

    def _add(self, chart: str, kind: str, score: float) -> None:
        readings, scores = self._found.setdefault((chart, kind), ([], []))
        readings.append(self._readings)
        scores.append(score)


def level_of_one(chart: str, slots: int) -> float:
    """The score of a ratio of 1 at the reference, in a run of so many slots."""
    return shift_level(slots) if chart == "shift" else spike_level(slots)


def _ratios(state: RunState) -> Iterator[tuple[str, float, NDArray[np.float32]]]:
    """Each chart of the slab: its name, the score of its ratio 1, its ratios by magnitude."""
    slots = state.table.slots
    yield "spike", level_of_one("spike", slots), np.abs(state.slab.spike)
    yield "shift", level_of_one("shift", slots), np.abs(state.slab.shift)
