"""What explains a change: events, the learning rate, the batch, skipped steps. It asks for more evidence, no more."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly.errors import RecordError
from anomaly.incidents.transition import LEARNING_RATE
from anomaly.monitor.before_resume import note_resume
from anomaly.monitor.history import PIECE
from anomaly.monitor.state import Context, RunState
from anomaly.records import MILLIONTHS, Event, step_millionths

CAUTION_READINGS = 30
CAUTION_FACTOR = 2.0
LR_JUMP = 1.5
_TOKENS_JUMP = 1.25
CHECKPOINTS_KEPT = 16
ANNOUNCED_READINGS = 100
"""For so long what the run said of its learning rate, or of its data, explains it."""
ANNOUNCED_STEPS, ANNOUNCED_LEAST = 100, 10
"""Where readings are rare, for so many steps, and so many readings at the least."""
ANNOUNCING = ("lr_schedule", "phase", "batch_size", "world_size")
BATCH, RESTART, TRAINED = "batch size", "restart", "trained layers"
DATA = ("data_mix", "phase", BATCH)
NATS = 0.75
"""What other data may make of a loss, however small it was; a contrastive one of a batch twice as large, 0.69."""
_EXPLAINED = {"resume": RESTART, "batch_size": BATCH, "lr_schedule": LEARNING_RATE}
PAUSE_ENDS = 2
"""Readings: one may still come in a pause, as an event travels with the next record and ranks are not equally far."""
CAUTIOUS_EVENTS = frozenset(
    (
        "resume",
        "batch_size",
        "data_mix",
        "phase",
        "precision",
        "clipping",
        "lr_schedule",
        "world_size",
        "pause",
    )
)


def caution(state: RunState, further: int = 0) -> float:
    """The factor on every alarm level: twice the evidence for some readings after what explains a change.

    It is that of the present reading, or of one `further` on.
    """
    return CAUTION_FACTOR if state.readings + further < state.context.cautious_until else 1.0


def own_data(state: RunState) -> float:
    """The factor on what one layer must do by itself: a policy makes its own data, and another policy others."""
    return CAUTION_FACTOR if state.table.of_policy else 1.0


def left_by_clipping(state: RunState) -> float:
    """What clipping leaves of the gradients of late over what it left before; 1 where it takes nothing more."""
    left = state.history.of("clip_coef")
    now, before = (_typical(piece) for piece in (left[-PIECE:], left[:-PIECE][:PIECE]))
    return min(1.0, now / before)


def clipping_of_late(state: RunState) -> float:
    """The typical clipping coefficient of the last readings: a single step may be clipped far less."""
    return _typical(state.history.of_all("clip_coef")[-PIECE:])


def _typical(left: NDArray[np.float32]) -> float:
    """The median; 1 where nothing was clipped, so nothing reported."""
    left = left[left > 0]
    return float(np.median(left)) if len(left) else 1.0


def is_announced(state: RunState) -> bool:
    """Whether the run has said of late that its learning rate may change."""
    said = state.context.announced
    return said is not None and _is_recent(state, said)


def other_data_explain(state: RunState, loss: float, expected: float) -> bool:
    """Whether the run has said of late that its data change, and they may make as much of a difference."""
    said = max((state.context.changes.get(event, (-math.inf, 0))[0] for event in DATA), default=-math.inf)
    return _is_recent(state, said) and loss - expected < NATS


def _is_recent(state: RunState, said: float) -> bool:
    """Whether what was said at that reading still explains what comes now."""
    ago = state.readings - said
    if ago < ANNOUNCED_LEAST or ago >= ANNOUNCED_READINGS or not len(state.recent):
        return ago < ANNOUNCED_READINGS
    newest, then = state.recent.ago(1), state.recent.ago(int(ago))
    return newest - then < ANNOUNCED_STEPS * MILLIONTHS


def batch_factor(state: RunState) -> float:
    """How many times as large the batch became of late, 1 at the least: the learning rate may follow."""
    changed = state.context.batch_changed
    recent = changed is not None and state.readings - changed < CAUTION_READINGS
    return max(state.context.batch_factor, 1.0) if recent else 1.0


def be_cautious(state: RunState, why: str, step: int | None = None) -> None:
    """Ask for twice the evidence from now on, for a while. `step` in millionths: the newest, where it is not given."""
    context = state.context
    context.cautious_until = state.readings + CAUTION_READINGS
    at = state.newest_step if step is None else step
    context.changes = {**context.changes, why: (state.readings, at or 0)}


def note_trained(state: RunState, layers: NDArray[np.intp]) -> None:
    """These layers are trained from now on, or are no more: what they did before says nothing, and others follow."""
    be_cautious(state, TRAINED)
    state.slab.forget(np.flatnonzero(np.isin(state.table.slot_layer, layers)))
    restart_looks(state)


def restart_looks(state: RunState) -> None:
    """What looks hold levels against, from one to the next, is no more."""
    for looks in (state.anchors, state.unsteady, state.lone, state.leaps):
        looks.restart()
    for norms in state.norms:
        norms.restart()


PAUSES = {
    "pause": "pause",
    "eval_start": "eval",
    "eval_end": "eval",
    "checkpoint_start": "checkpoint",
    "checkpoint_end": "checkpoint",
}
"""Events that begin or end a pause without records, and what the pause is for."""


def note_events(state: RunState, events: tuple[Event, ...], step: int) -> None:
    """Take what the run says of itself. An event of an unknown kind, or without its fields, explains nothing."""
    context = state.context
    for event in events:
        kind = event["kind"]
        if kind in PAUSES:
            _note_pause(state, kind, event)
        if kind in CAUTIOUS_EVENTS:
            be_cautious(state, _EXPLAINED.get(str(kind), str(kind)), step)
        if kind in ANNOUNCING:
            context.announced = state.readings
        if kind == "lr_schedule":
            context.declared = _declared(event)
        if kind == "resume":
            note_resume(state)
        if kind == "checkpoint_end":
            context.checkpoints = [*context.checkpoints, _event_step(event, step)][-CHECKPOINTS_KEPT:]
        elif kind == "finished":
            context.outcome = str(event.get("outcome", "completed"))


def note_values(state: RunState, values: dict[str, float]) -> None:
    """Take the whole-model values of a record that explain others: `values` holds only what was measured."""
    context = state.context
    tokens = values.get("tokens")
    if tokens is not None and tokens > 0:
        if context.tokens is not None and not 1 / _TOKENS_JUMP < tokens / context.tokens < _TOKENS_JUMP:
            be_cautious(state, BATCH)
            context.batch_factor, context.batch_changed = tokens / context.tokens, state.readings
        context.tokens = tokens
    skipped = values.get("skipped")
    scale = values.get("loss_scale")
    halved = scale is not None and context.loss_scale is not None and scale < context.loss_scale
    if skipped is not None or scale is not None:
        context.skipped = context.skipped + 1 if skipped or halved else 0
    if scale is not None:
        context.loss_scale = scale
    lr = values.get("lr")
    if lr is not None and context.lr is not None and _jumped(context, lr):
        be_cautious(state, LEARNING_RATE)


def usual_lr(context: Context) -> tuple[float, float]:
    """Within these `note_values` calls for no care because of a learning rate; 0 and infinity before the first."""
    known = context.lr
    return (0.0, math.inf) if known is None or known <= 0 else (known / LR_JUMP, known * LR_JUMP)


def lr_offset(state: RunState, lr: float | None = None) -> float:
    """log2 of the learning rate in force, for series that are judged over it; NaN while it is 0.

    `lr` is the record's own, None where it has none.
    """
    if lr is None:
        lr = state.context.lr
    if lr is None:
        return 0.0
    return math.log2(lr) if 0 < lr < math.inf else math.nan


def _jumped(context: Context, lr: float) -> bool:
    known = context.lr
    return known is not None and known > 0 and lr > 0 and not 1 / LR_JUMP < lr / known < LR_JUMP


def _declared(event: Event) -> dict[str, float | str]:
    """The fields of the declaration that a rule can read."""
    return {
        name: value
        for name, value in event.items()
        if isinstance(value, int | float | str) and not isinstance(value, bool) and len(str(value)) <= 64
    }


def _note_pause(state: RunState, kind: str, event: Event) -> None:
    """Begin or end a declared pause. It is over, too, two readings on: the run goes on without having said so."""
    paused = {name: since for name, since in state.context.paused.items() if name != PAUSES[kind]}
    if not kind.endswith("_end"):
        paused[PAUSES[kind]] = (state.readings, _seconds(event.get("seconds")))
    state.context.paused = paused


def declared_pauses(state: RunState) -> list[float | None]:
    """The seconds of each declared pause that the run is in; None for one without a length."""
    return [
        seconds for reading, seconds in state.context.paused.values() if state.readings - reading < PAUSE_ENDS
    ]


def _seconds(stated: object) -> float | None:
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 <= stated < math.inf:
        return None
    return float(stated)


def _event_step(event: Event, step: int) -> int:
    """The step an event states, or the record's own."""
    stated = event.get("step")
    if isinstance(stated, bool) or not isinstance(stated, int | float):
        return step
    try:
        return step_millionths(stated)
    except RecordError:
        return step
