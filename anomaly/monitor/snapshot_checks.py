"""Whether the parts of a snapshot fit each other: bytes that decode may be damaged, and the kernels index unchecked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from anomaly.incidents.kinds import KINDS
from anomaly.monitor.norms import SIGNALS
from anomaly.monitor.series import WHOLE_MODEL, SeriesTable
from anomaly.monitor.state import REPEATED, RunState
from detectors.profiles import PROFILES

MAX_COUNT = 1 << 62
"""What counts up must have room to; MessagePack has 64 bits."""
_COUNTS = ("offset", "revision", "attempt", "readings", "messages", "growths")
_CONTEXT_COUNTS = ("zero_lr", "high_lr", "skipped", "loss_changes")
_LOSSES = 2
_PEER_RUNS = {"replicas": 3, "seconds": 2}
"""Integers an entry."""


def misfit(state: RunState) -> str | None:
    """What of a restored state does not fit the rest of it; None where all does."""
    return next((what for what, fits in _checks(state) if not fits), None)


def _checks(state: RunState) -> Iterator[tuple[str, bool]]:
    yield "series", _table_fits(state.table)
    slots = state.table.slots
    yield "owners", state.owners is None or len(state.owners) == slots
    yield "losses", (len(state.climb.since), len(state.repeats.run)) == (_LOSSES, len(REPEATED))
    yield "history", state.history.fits
    anchors = state.anchors
    yield "anchors", len(anchors.levels) % 4 == 0 and len(anchors.tails) % 3 == 0
    yield "unsteady", len(state.unsteady) <= len(state.table.slots_of(("grad_norm",)))
    yield "unsteady", state.unsteady.samples < MAX_COUNT
    yield "lone", len(state.lone) == len(state.unsteady)
    yield "norms", len(state.norms) == len(SIGNALS)
    yield "norms", all(len(each.levels) % 2 == 0 and each.looked < MAX_COUNT for each in state.norms)
    yield "leaps", len(state.leaps) <= len(state.table.slots_of(("update_ratio",)))
    yield "unmoved", len(state.unmoved) <= len(state.table.weight_slots)
    yield "last_values", len(state.last_values) == len(REPEATED)
    yield "counts", all(-1 <= getattr(state, name) < MAX_COUNT for name in _COUNTS)
    yield "context", all(0 <= getattr(state.context, name) < MAX_COUNT for name in _CONTEXT_COUNTS)
    yield "history", state.history.taken < MAX_COUNT
    yield (
        "ranks",
        all(_vector_fits(waiting.values, slots) for rank in state.ranks.values() for waiting in rank.waiting),
    )
    for pending in state.pending:
        size = len(state.table.model_only) if pending.model_only else slots
        yield "pending", pending.values.keys() == pending.sent.keys() <= state.ranks.keys()
        yield "pending", all(_vector_fits(values, size) for values in pending.values.values())
    yield (
        "peer_runs",
        all(len(flat) % _PEER_RUNS.get(name, 1) == 0 for name, flat in state.peer_runs.items()),
    )
    looks = state.looks
    yield "looks", len(looks.learned) == len(looks.left) == len(looks.seen) <= len(state.table.layers)
    yield "book", all(incident.kind in KINDS and incident.evidence for incident in state.book.open)


def _table_fits(table: SeriesTable) -> bool:
    if not len(table.slot_layer) == len(table.slot_signal) == table.slots:
        return False
    if not len(table.trainable) == len(table.coarse) == len(table.layers):
        return False
    if len(set(table.layers)) != len(table.layers) or len(set(table.signals)) != len(table.signals):
        return False
    return not table.slots or bool(
        table.slot_layer.min() >= WHOLE_MODEL
        and table.slot_layer.max() < len(table.layers)
        and table.slot_signal.min() >= 0
        and table.slot_signal.max() < len(table.signals)
        and table.profiles.max() < len(PROFILES)
        and np.isin((table.trainable, table.coarse), (-1, 0, 1)).all()
    )


def _vector_fits(values: bytes, slots: int) -> bool:
    return len(values) % 4 == 0 and len(values) <= 4 * slots
