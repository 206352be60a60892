"""What the changelog says of runs, as plain values that `anomaly runs` prints."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from anomaly.errors import SnapshotError
from anomaly.incidents.transition import Severity
from anomaly.monitor.series import WHOLE_MODEL
from anomaly.monitor.snapshot import head, load
from anomaly.monitor.state import RunState
from anomaly.reading import TopicReader
from anomaly.records import step_number
from anomaly.settings import Settings
from detectors.profiles import PROFILES, Transform


@dataclass(frozen=True, slots=True)
class Saved:
    """A run's newest saved state, and when Kafka took it."""

    partition: int
    unix_seconds: float
    state: RunState


@dataclass(frozen=True, slots=True)
class Level:
    """What is normal for one series: `expected`, give or take `scale` (one deviation), in the signal's unit."""

    signal: str
    expected: float
    scale: float
    learned: int


@dataclass(frozen=True, slots=True)
class LayerLevels:
    """A level for each layer and signal, None where nothing is known."""

    signals: tuple[str, ...]
    rows: dict[str, list[Level | None]]


@dataclass(frozen=True, slots=True)
class Open:
    """An open incident in short."""

    incident: str
    kind: str
    severity: Severity
    first_step: float
    layer: str | None


@dataclass(frozen=True, slots=True)
class RunView:
    """One run for people; times are seconds before now."""

    run: str
    partition: int
    attempt: int
    readings: int
    last_step: float | None
    last_record_seconds_ago: float | None
    watched_seconds: float | None
    snapshot_seconds_ago: float
    ranks: int
    series: int
    budget: float
    """False warnings per million steps."""
    tails: str
    """The measured tails it was judged by when it was saved (`detectors.levels`)."""
    seconds_a_step: float | None
    tags: dict[str, str]
    open: list[Open]
    levels: list[Level]
    layers: LayerLevels | None = field(default=None)

    def as_json(self, with_layers: bool) -> dict[str, Any]:
        """For machines; what a layer's normal is only where one run was asked for."""
        found: dict[str, Any] = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("open", "levels", "layers")
        }
        found["open"] = [{name: getattr(one, name) for name in one.__dataclass_fields__} for one in self.open]
        found["normal"] = {level.signal: _json_level(level) for level in self.levels}
        if with_layers and self.layers is not None:
            found["normal_of_layers"] = {
                layer: {level.signal: _json_level(level) for level in levels if level is not None}
                for layer, levels in self.layers.rows.items()
            }
        return found


async def read_saved(settings: Settings, wanted: str | None = None) -> list[Saved]:
    """The highest state of each run (of `wanted` alone), ordered by run. What cannot be read is left out."""
    newest: dict[tuple[int, bytes], Any] = {}
    async with TopicReader(settings.connection) as reader:
        async for record in reader.to_end(settings.topics.changelog):
            if record.key is None or (wanted is not None and record.key != wanted.encode(errors="replace")):
                continue
            key = (record.partition, record.key)
            if record.value is None:
                newest.pop(key, None)
                continue
            try:
                marks = head(record.value).marks
            except SnapshotError:  # the worker says so, and starts that run cold
                continue
            # Not the last: a worker that had lost the partition may have written late.
            if key not in newest or (marks.offset, marks.revision) >= newest[key][0]:
                newest[key] = (marks.offset, marks.revision), record
    saved = []
    for _, record in newest.values():
        try:
            saved.append(Saved(record.partition, record.timestamp / 1000, load(record.value)))
        except SnapshotError:
            continue
    return sorted(saved, key=lambda one: (one.state.run, one.partition))


def view_of(saved: Saved, now_unix_seconds: float) -> RunView:
    """The state as people ask for it."""
    state = saved.state

    def ago(unix_seconds: float | None) -> float | None:
        return None if unix_seconds is None else max(0.0, now_unix_seconds - unix_seconds)

    return RunView(
        run=state.run,
        partition=saved.partition,
        attempt=state.attempt,
        readings=state.readings,
        last_step=_last_step(state),
        last_record_seconds_ago=ago(state.last_time),
        watched_seconds=ago(state.first_time),
        snapshot_seconds_ago=ago(saved.unix_seconds) or 0.0,
        ranks=len(state.ranks),
        series=state.table.slots,
        budget=state.slab.levels.budget,
        tails=state.tails,
        seconds_a_step=_pace(state),
        tags=dict(state.tags or {}),
        open=[_open(incident) for incident in state.open_incidents],
        levels=[
            level for slot in state.table.model_slots.values() if (level := _level(state, slot)) is not None
        ],
        layers=_layer_levels(state),
    )


def _open(incident: Any) -> Open:
    layer = incident.layers[0] if incident.layers else None
    return Open(
        incident.incident, incident.kind, Severity(incident.severity), step_number(incident.first_step), layer
    )


def _last_step(state: RunState) -> float | None:
    return None if state.newest_step is None else step_number(state.newest_step)


def _pace(state: RunState) -> float | None:
    """Seconds a judged step, from the first to the last; None where the records say no time."""
    if state.first_time is None or state.last_time is None or state.readings < 2:
        return None
    seconds = state.last_time - state.first_time
    return seconds / (state.readings - 1) if seconds > 0 else None


def _layer_levels(state: RunState) -> LayerLevels | None:
    table = state.table
    slots = {
        (int(table.slot_layer[slot]), int(table.slot_signal[slot])): slot
        for slot in range(table.slots)
        if table.slot_layer[slot] != WHOLE_MODEL
    }
    charted = [
        signal
        for signal in dict.fromkeys(signal for _, signal in slots)
        if any(_charted(state, slot) for (_, of_slot), slot in slots.items() if of_slot == signal)
    ]
    if not charted:
        return None
    rows: dict[str, list[Level | None]] = {}
    for number, name in enumerate(table.layers):
        found = [slots.get((number, signal)) for signal in charted]
        if any(slot is not None for slot in found):
            rows[name] = [None if slot is None else _level(state, slot) for slot in found]
    return LayerLevels(tuple(table.signals[signal] for signal in charted), rows)


def _charted(state: RunState, slot: int) -> bool:
    return bool(PROFILES[state.table.profiles[slot]].name != "uncharted")


def _level(state: RunState, slot: int) -> Level | None:
    """None where the series is not charted, or nothing is known of it yet."""
    learned = state.slab.learned(slot)
    if not learned or not _charted(state, slot):
        return None
    reading = state.slab.describe(slot)
    # Such a level is kept per unit of learning rate, and a snapshot does not say at which one it was last shown.
    over_lr = PROFILES[state.table.profiles[slot]].transform is Transform.LOG2_OVER_LR
    factor = (state.context.lr or 1.0) if over_lr else 1.0
    return Level(state.table.signal_name(slot), reading.expected * factor, reading.scale * factor, learned)


def _json_level(level: Level) -> dict[str, Any]:
    values = {"expected": level.expected, "scale": level.scale}
    finite: dict[str, Any] = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return {**finite, "learned": level.learned}
