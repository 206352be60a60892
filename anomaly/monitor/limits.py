"""What one partition may hold and is asked to watch: bounds that keep a broken producer from taking the worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from anomaly.errors import Reason, RecordError, SettingsError
from anomaly.records import MAX_EVENTS, Event, Layout
from anomaly.topics import DAY_SECONDS, INCIDENTS_LONGER_DAYS
from detectors.levels import BUDGET, Levels
from detectors.river_watch import RiverWatch
from detectors.tails import NO_TAILS, Tails

if TYPE_CHECKING:
    from anomaly.settings import Settings


MAX_LAYOUT_BYTES = 4 << 20
DAY_MS = DAY_SECONDS * 1000
HOUR_MS = DAY_MS // 24


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
    layers_per_run: int = 50_000
    layouts_per_run: int = 256
    """Layouts of the compact form, and how often a run's set of series may grow."""
    events_per_record: int = MAX_EVENTS
    ranks_per_run: int = 16_384
    sessions_per_rank: int = 1_000
    runs_per_partition: int = 5_000
    finished_ms: int = 2 * HOUR_MS
    """A run that said `finished` is closed this long after its last record, by the partition's clock (`lives`)."""
    silent_ms: int = 3 * DAY_MS
    """A run that did not, this long after it."""
    forgotten_ms: int = 14 * DAY_MS
    """Nothing at all is known of a run this long after its last record."""
    false_warnings_per_million_steps: float = BUDGET
    tails: Tails = NO_TAILS
    """Measured on a team's own healthy runs; they stand above those that the package ships."""
    watches: tuple[Watch, ...] = ()

    @property
    def levels(self) -> Levels:
        """What every run is judged by."""
        return Levels(self.false_warnings_per_million_steps, self.tails)


def check_events(events: Sequence[Sequence[Event]], limit: int) -> None:
    """Raise `RecordError` where one record carries more events than `limit`; `events` are those of each record."""
    most = max(len(of_record) for of_record in events)
    if most > limit:
        raise RecordError(Reason.EVENT_LIMIT, f"events: got {most}, at most {limit} a record are allowed")


def check_layout_bytes(layout: Layout, known: Iterable[Layout]) -> None:
    """Raise `RecordError` where a run's layouts would take too much of its snapshot."""
    size = sum(len(msgspec.msgpack.encode(each)) for each in (layout, *known))
    if size > MAX_LAYOUT_BYTES:
        raise RecordError(
            Reason.LAYOUT_LIMIT,
            f"the run's layouts have {size} bytes, at most {MAX_LAYOUT_BYTES} are kept; shorten the names, or send the "
            "same in the same order",
        )


def limits_of(settings: Settings) -> Limits:
    """The limits, as the settings have them; the same for a worker and a replay. Raises `SettingsError`."""
    return Limits(
        max_message_bytes=settings.max_message_bytes,
        series_per_run=settings.max_series_per_run,
        layers_per_run=settings.max_layers_per_run,
        layouts_per_run=settings.max_layouts_per_run,
        events_per_record=settings.max_events_per_record,
        ranks_per_run=settings.max_ranks_per_run,
        sessions_per_rank=settings.max_sessions_per_rank,
        runs_per_partition=settings.max_runs_per_partition,
        finished_ms=int(settings.finished_run_hours * HOUR_MS),
        silent_ms=int(settings.silent_run_days * DAY_MS),
        forgotten_ms=int(max(incidents_days(settings), settings.silent_run_days) * DAY_MS),
        false_warnings_per_million_steps=settings.false_warnings_per_million_steps,
        watches=watches_of(settings.watch),
    )


def incidents_days(settings: Settings) -> float:
    """How long incidents are kept: as long, a run's ordinals must be known, so that no identity comes twice."""
    return settings.telemetry_retention_days + INCIDENTS_LONGER_DAYS


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
