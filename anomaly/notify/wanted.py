"""Which of a run's values an incident is about, and those taken out of its records. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents import KINDS, Transition
from anomaly.records import MILLIONTHS, NOT_MEASURED_BITS, Layout, StepMessage

MAX_LAYERS_KEPT = 2000
"""Of a layout with more, those around the suspects, and some of all the others."""
MAX_READINGS = 600
LEAST_BEFORE, LEAST_AFTER = 48, 16
GAIN, GAIN_PARTS = "residual_gain", ("act_rms", "act_in_rms")
_INSTEAD_OF_MODEL = ("loss", "grad_norm_total", "lr", "step_seconds")
_INSTEAD_OF_LAYER = ("grad_norm", "act_rms", "update_ratio", "weight_norm")
_RANK_FAMILIES = ("ranks", "data")
_RANK_KINDS = ("residual_gain_outlier", "partial_telemetry", "resize")
IDENTITIES = ("weight_hash", "input_hash")
"""Only whether they are equal means anything: there is no curve of them."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to take from each record: the first of these signals that it has."""

    model: tuple[str, ...]
    identities: tuple[str, ...]
    """All of these, to compare ranks by."""
    signals: tuple[str, ...]
    over: str | None
    """The layers' signal is taken over this one."""
    of_layer: bool
    """Whether the curve is of a layer."""
    by_ranks: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """What was taken from one message of one rank: float32, a row a record, with the bits of *not measured*."""

    rank: int
    steps: tuple[float, ...]
    model: dict[str, NDArray[np.float32]]
    signal: str | None
    layers: tuple[str, ...]
    values: NDArray[np.float32]
    """[records, layers]."""


def plan_of(transition: Transition) -> Plan:
    """What an incident is about."""
    first = transition.evidence[0] if transition.evidence else None
    layer = transition.layer if first is None else first.layer
    named = [each.statistic for each in transition.evidence if each.layer is not None]
    known = KINDS.get(transition.kind)
    by_ranks = bool(transition.ranks) and (
        (known is not None and known.family in _RANK_FAMILIES) or transition.kind in _RANK_KINDS
    )
    signals = [GAIN_PARTS[0] if name == GAIN else name for name in named]
    statistics = [each.statistic for each in transition.evidence if each.layer is None]
    model = [name for name in statistics if name not in IDENTITIES]
    return Plan(
        model=tuple(dict.fromkeys((*model, *_INSTEAD_OF_MODEL))),
        identities=tuple(name for name in statistics if name in IDENTITIES),
        signals=tuple(dict.fromkeys((*signals, *_INSTEAD_OF_LAYER))) if transition.layers or layer else (),
        over=GAIN_PARTS[1] if GAIN in named[:1] else None,
        of_layer=layer is not None,
        by_ranks=by_ranks,
    )


def piece_of(plan: Plan, message: StepMessage, layout: Layout, suspects: Sequence[str]) -> Piece | None:
    """What the plan wants of a message; None where its values do not fit its layout."""
    if message.values.shape[1] != layout.width:
        return None
    models = {
        name: message.values[:, layout.model_signals.index(name)].copy()
        for name in (*plan.model, *plan.identities)
        if name in layout.model_signals
    }
    signal = next((name for name in plan.signals if name in layout.signals), None)
    layers: tuple[str, ...] = ()
    values = np.empty((len(message.steps), 0), np.float32)
    if signal is not None:
        kept = rows_of(layout.layers, suspects, MAX_LAYERS_KEPT)
        layers = tuple(layout.layers[at] for at in kept)
        cube = message.values[:, len(layout.model_signals) :].reshape(
            len(message.steps), len(layout.layers), len(layout.signals)
        )
        values = cube[:, kept, layout.signals.index(signal)]
        if plan.over is not None and plan.over in layout.signals and signal == GAIN_PARTS[0]:
            values = _over(values, cube[:, kept, layout.signals.index(plan.over)])
            signal = GAIN
    steps = tuple(step / MILLIONTHS for step in message.steps)
    return Piece(message.rank, steps, models, signal, layers, values)


def _over(values: NDArray[np.float32], by: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(all="ignore"):
        ratio: NDArray[np.float32] = (values / by).astype(np.float32)
    absent = ~(measured(values) & measured(by))
    ratio.view(np.uint32)[absent] = NOT_MEASURED_BITS
    return ratio


def before_and_after(transition: Transition, lasted: int) -> tuple[int, int]:
    """Readings to show before the onset and from it on: more of what `lasted` long, few where one step says it all."""
    if transition.kind.startswith("nonfinite"):
        lasted = 0
    before = min(max(2 * lasted, LEAST_BEFORE), MAX_READINGS // 3)
    return before, min(max(2 * lasted, LEAST_AFTER), MAX_READINGS - before)


def rows_of(names: Sequence[str], suspects: Sequence[str], most: int) -> list[int]:
    """Which of many layers to keep: the suspects, half of the rest around the first of them, half from everywhere."""
    if len(names) <= most:
        return list(range(len(names)))
    place = {name: at for at, name in enumerate(names)}
    chosen = {place[name] for name in suspects[:most] if name in place}
    middle = next((place[name] for name in suspects if name in place), 0)
    near = sorted(range(len(names)), key=lambda at: abs(at - middle))
    chosen.update(near[: max((most - len(chosen)) // 2, 0)])
    spread = np.linspace(0, len(names) - 1, most).round().astype(int).tolist()
    for at in sorted(spread, key=lambda at: spread.index(at) % 4):
        if len(chosen) >= most:
            break
        chosen.add(at)
    return sorted(chosen)


def measured(values: NDArray[np.float32]) -> Bools:
    """Where a number was measured, be it none."""
    found: Bools = np.ascontiguousarray(values).view(np.uint32) != NOT_MEASURED_BITS
    return found
