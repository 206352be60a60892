"""What a run's records must be like to be plain, for as long as they are (`plain`): worked out once, not each time."""

from __future__ import annotations

from dataclasses import dataclass

from anomaly.monitor.series import SeriesTable
from detectors.fences import Fences


@dataclass(slots=True)
class Stretch:
    """From a record that took the long way to the next one that does; derived, not in the snapshot.

    `fences` are those of EXPLAINING_SIGNALS. At `learned_lr` another reading of the same rate changes nothing.
    """

    table: SeriesTable
    fences: Fences
    learned_lr: float | None = None
