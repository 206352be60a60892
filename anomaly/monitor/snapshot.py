"""A run's state as versioned plain bytes, and back. A restored run continues exactly as if it had never stopped.

The bytes are one MessagePack map: `version`, what identifies the run, and every part of `RunState`; arrays are raw
little-endian bytes inside it. A reader of version N also reads N - 1; fields it does not know are ignored, fields that
are missing have defaults. `marks` are what may differ between two histories with the same effect: source offset,
revision, forwarding offsets, how long it is known, which depends on the partition's other runs. So may `timers`, whose
clock is the worker's.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from anomaly.errors import SnapshotError
from anomaly.incidents.book import IncidentBook
from anomaly.monitor.anchors import Anchors
from anomaly.monitor.history import History, SavedHistory
from anomaly.monitor.layer_looks import LayerLooks, SavedLooks
from anomaly.monitor.norms import Norms, no_norms
from anomaly.monitor.numbering import SeriesNames
from anomaly.monitor.recent import Recent
from anomaly.monitor.series import table_of
from anomaly.monitor.snapshot_checks import misfit
from anomaly.monitor.state import (
    REPEATS,
    Context,
    Excursion,
    Life,
    PendingStep,
    RankState,
    RunState,
    Timers,
)
from anomaly.records import Fork, Layout, shared
from detectors.climb import Climb
from detectors.leaps import Leaps
from detectors.levels import Levels
from detectors.lone import Lone
from detectors.peers import PeerChart
from detectors.runlength import RunLength
from detectors.slab import Slab
from detectors.unmoved import Unmoved
from detectors.unsteady import Unsteady

VERSION = 1


class _Marks(msgspec.Struct, omit_defaults=True):
    offset: int = -1
    revision: int = 0
    origins: dict[int, int] = {}
    life: Life = msgspec.field(default_factory=Life)


class _Saved(msgspec.Struct, omit_defaults=True):
    version: int
    run: str
    marks: _Marks
    series: SeriesNames
    budget: float
    slab: bytes
    tails: str = ""
    fork: Fork | None = None
    attempt: int = 0
    newest_step: int | None = None
    readings: int = 0
    messages: int = 0
    first_time: float | None = None
    last_time: float | None = None
    tags: dict[str, str] | None = None
    layouts: list[Layout] = []
    growths: int = 0
    owners: bytes | None = None
    ranks: dict[int, RankState] = {}
    context: Context = msgspec.field(default_factory=Context)
    recent: list[int] = []
    pending: list[PendingStep] = []
    peer_runs: dict[str, list[int]] = {}
    peer_chart: bytes = b""
    excursions: dict[str, Excursion] = {}
    history: SavedHistory = msgspec.field(default_factory=SavedHistory)
    unmoved: bytes = b""
    noise: bytes = b""
    leaps: bytes = b""
    lone: bytes = b""
    norms: list[Norms] = msgspec.field(default_factory=no_norms)
    anchors: Anchors = msgspec.field(default_factory=Anchors)
    climb: bytes = b""
    repeats: bytes = b""
    last_values: list[float] = []
    watchers: dict[str, bytes] = {}
    book: IncidentBook = msgspec.field(default_factory=IncidentBook)
    looks: SavedLooks = msgspec.field(default_factory=SavedLooks)
    timers: Timers | None = None


class Head(msgspec.Struct):
    """What a worker must know of a run that it does not hold in memory; the rest of the snapshot is passed over."""

    version: int
    run: str
    marks: _Marks
    attempt: int = 0
    newest_step: int | None = None
    last_time: float | None = None
    context: Context = msgspec.field(default_factory=Context)
    book: IncidentBook = msgspec.field(default_factory=IncidentBook)
    timers: Timers | None = None


class _Version(msgspec.Struct):
    version: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Saved)
_head_decoder = msgspec.msgpack.Decoder(Head)
_version_decoder = msgspec.msgpack.Decoder(_Version)


def dump(state: RunState, *, marks: bool = True) -> bytes:
    """The state as bytes. Without `marks` and timers, two states of the same effect are the same bytes."""
    return _encoder.encode(
        _Saved(
            version=VERSION,
            run=state.run,
            marks=_Marks(state.offset, state.revision, state.origins, state.life) if marks else _Marks(),
            series=state.table.names,
            budget=state.slab.levels.budget,
            tails=state.tails,
            slab=state.slab.dump(),
            fork=state.fork,
            attempt=state.attempt,
            newest_step=state.newest_step,
            readings=state.readings,
            messages=state.messages,
            first_time=state.first_time,
            last_time=state.last_time,
            tags=state.tags,
            layouts=list(state.layouts.values()),
            growths=state.growths,
            owners=None if state.owners is None else state.owners.tobytes(),
            ranks=state.ranks,
            context=state.context,
            recent=list(state.recent),
            pending=state.pending,
            peer_runs=state.peer_runs,
            peer_chart=b"" if state.peer_chart is None else state.peer_chart.dump(),
            excursions=state.excursions,
            history=state.history.saved(),
            unmoved=state.unmoved.dump(),
            noise=state.unsteady.dump() if len(state.unsteady) else b"",
            leaps=state.leaps.dump() if len(state.leaps) else b"",
            lone=state.lone.dump() if len(state.lone) else b"",
            norms=state.norms,
            anchors=state.anchors,
            climb=b"" if state.life.closed else state.climb.dump(),
            repeats=b"" if state.life.closed else state.repeats.dump(),
            last_values=[] if state.life.closed else state.last_values,
            watchers={**state.saved_watchers, **{name: each.dump() for name, each in state.watchers.items()}},
            book=state.book,
            looks=state.looks.saved(),
            timers=state.timers if marks else None,
        )
    )


def load(payload: bytes) -> RunState:
    """The state that `dump` wrote, to be judged by the levels of whoever goes on with it. Raises `SnapshotError`."""
    try:
        _check_version(payload)
        state = _restored(_decoder.decode(payload))
        wrong = misfit(state)
    except SnapshotError:
        raise
    except Exception as error:  # whatever damaged bytes do to a reader
        raise SnapshotError(f"not a snapshot: {error}; its run starts cold") from None
    if wrong is not None:
        raise SnapshotError(f"not a snapshot: its {wrong} does not fit the rest; its run starts cold")
    return state


def head(payload: bytes) -> Head:
    """The head of the state that `dump` wrote. Raises `SnapshotError`; what it passes over may still be damaged."""
    try:
        _check_version(payload)
        return _head_decoder.decode(payload)
    except SnapshotError:
        raise
    except Exception as error:
        raise SnapshotError(f"not a snapshot: {error}; its run starts cold") from None


def _check_version(payload: bytes) -> None:
    version = _version_decoder.decode(payload).version
    if version != VERSION:
        raise SnapshotError(
            f"snapshot version: got {version}, this worker reads {VERSION}; its run starts cold"
        )


def _of_losses(saved: _Saved) -> dict[str, Any]:
    """What follows the loss; a closed run has none of it."""
    if saved.marks.life.closed:
        return {}
    return {
        "climb": Climb.load(saved.climb),
        "repeats": RunLength.load(saved.repeats, REPEATS),
        "last_values": saved.last_values,
    }


def _restored(saved: _Saved) -> RunState:
    table = table_of(saved.series)
    return RunState(
        run=saved.run,
        fork=saved.fork,
        offset=saved.marks.offset,
        revision=saved.marks.revision,
        origins=saved.marks.origins,
        life=saved.marks.life,
        attempt=saved.attempt,
        newest_step=saved.newest_step,
        readings=saved.readings,
        messages=saved.messages,
        first_time=saved.first_time,
        last_time=saved.last_time,
        tags=saved.tags,
        layouts={layout.hash: shared(layout) for layout in saved.layouts},
        table=table,
        slab=Slab.load(table.profiles, saved.slab, Levels(saved.budget)),
        tails=saved.tails,
        growths=saved.growths,
        owners=None if saved.owners is None else np.frombuffer(saved.owners, np.int32).copy(),
        ranks=saved.ranks,
        context=saved.context,
        recent=Recent(saved.recent),
        pending=saved.pending,
        peer_runs=saved.peer_runs,
        peer_chart=PeerChart.load(saved.peer_chart) if saved.peer_chart else None,
        excursions=saved.excursions,
        history=History(saved.history),
        unmoved=Unmoved.load(saved.unmoved),
        unsteady=Unsteady.load(saved.noise) if saved.noise else Unsteady(0),
        leaps=Leaps.load(saved.leaps) if saved.leaps else Leaps(0),
        lone=Lone.load(saved.lone) if saved.lone else Lone(0),
        norms=saved.norms,
        anchors=saved.anchors,
        **_of_losses(saved),
        saved_watchers=saved.watchers,
        book=saved.book,
        looks=LayerLooks(saved.looks),
        timers=saved.timers,
        saved=True,
    )
