"""What one partition may hold and is asked to watch: bounds that keep a broken producer from taking the worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anomaly.errors import SettingsError
from detectors.levels import BUDGET
from detectors.river_watch import RiverWatch

if TYPE_CHECKING:
    from anomaly.settings import Settings


@dataclass(frozen=True, slots=True)
class Watch:
    """A series that a river detector watches beside our charts; `layer` "" is the whole model.

    ``threshold`` is in units of the detector's score, for those that give one; drift detectors decide for themselves.
    """

    signal: str
    detector: str
    layer: str = ""
    threshold: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What tells it from others in a run's state: all of it, so that a changed watch starts anew."""
        options = ",".join(f"{name}={value!r}" for name, value in sorted(self.options.items()))
        return f"{self.layer}/{self.signal}:{self.detector}({options}){self.threshold or ''}"

    def new(self) -> RiverWatch:
        """A watch that has seen nothing. ValueError or ModuleNotFoundError where the detector does not fit."""
        return RiverWatch(self.detector, self.options, self.threshold)

    def restored(self, state: bytes) -> RiverWatch:
        """The watch that `RiverWatch.dump` wrote."""
        return RiverWatch.load(self.detector, state, self.options, self.threshold)


@dataclass(frozen=True, slots=True)
class Limits:
    """Defaults as the contracts have them; the settings may lower or raise them."""

    max_message_bytes: int = 8 << 20
    series_per_run: int = 100_000
    layouts_per_run: int = 64
    false_warnings_per_million_steps: float = BUDGET
    watches: tuple[Watch, ...] = ()


def limits_of(settings: Settings) -> Limits:
    """The limits, as the settings have them; the same for a worker and a replay. Raises `SettingsError`."""
    return Limits(
        max_message_bytes=settings.max_message_bytes,
        series_per_run=settings.max_series_per_run,
        false_warnings_per_million_steps=settings.false_warnings_per_million_steps,
        watches=watches_of(settings.watch),
    )


def watches_of(tables: tuple[dict[str, Any], ...]) -> tuple[Watch, ...]:
    """The watches of the ``[[watch]]`` tables of a settings file, each tried once. Raises `SettingsError`."""
    watches, problems = [], []
    for at, table in enumerate(tables, 1):
        try:
            watch = Watch(**table)
            watch.new()
            watches.append(watch)
        except (TypeError, ValueError, ModuleNotFoundError) as error:
            wanted = 'signal = "loss", detector = "drift.ADWIN", and optionally layer, threshold and options'
            problems.append(f"watch number {at}: {error}; a table has {wanted}")
    if problems:
        raise SettingsError(problems)
    return tuple(watches)
