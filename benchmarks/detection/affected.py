"""The series that a fault shows in, for who knows which fault, layer and rank it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from anomaly.signals import LAYER_SIGNALS, MODEL_SIGNALS
from benchmarks.detection.labels import Fault
from benchmarks.detection.series import Floats, RankSeries

Pair = tuple[Floats, Floats]
_GRADIENTS, _UPDATES, _OUTPUTS = ("grad_norm", "grad_absmax"), ("update_ratio",), ("act_rms", "act_absmax")
MODEL = {
    "loss_scale_collapse": ("loss_scale", "skipped"),
    "gradient_spike": ("grad_norm_total",),
    "layer_gradient_spike": ("grad_norm_total",),
    "gradient_explosion": ("grad_norm_total",),
    "missing_zero_grad": ("grad_norm_total",),
    "lr_schedule": ("lr",),
    "loss_spike_persistent": ("loss",),
    "loss_spike_transient": ("loss",),
    "loss_divergence": ("loss",),
    "loss_plateau": ("loss", "grad_norm_total"),
    "flat_from_start": ("loss",),
    "loss_out_of_range": ("loss",),
    "loss_collapse": ("loss",),
    "overfit": ("loss", "eval_loss"),
    "eval_regression": ("eval_loss",),
    "bad_batch": ("loss", "grad_norm_total"),
    "rank_gradient_outlier": ("grad_norm_total",),
    "straggler": ("step_seconds", "data_seconds"),
    "throughput_drop": ("step_seconds", "data_seconds"),
    "resume_corruption": ("loss", "grad_norm_total"),
    "rl_kl": ("kl",),
    "rl_entropy": ("entropy",),
    "rl_reward": ("reward",),
}
"""By kind: signals of the whole model; for those of `CONTAINS`, any whose name contains it."""
CONTAINS = frozenset(("rl_kl", "rl_entropy", "rl_reward"))
LAYER = {
    "underflow": ("grad_zero_frac", *_GRADIENTS),
    "outlier_growth": ("act_absmax", "act_rms"),
    "gradient_spike": _GRADIENTS,
    "layer_gradient_spike": _GRADIENTS,
    "gradient_explosion": _GRADIENTS,
    "gradient_vanishing": _GRADIENTS,
    "gradient_noise": _GRADIENTS,
    "missing_zero_grad": ("grad_norm",),
    "dead_units": ("act_zero_frac", *_OUTPUTS),
    "saturation": ("act_saturated_frac", *_OUTPUTS),
    "variance_collapse": _OUTPUTS,
    "residual_gain_outlier": ("act_rms",),
    "attention_logit_growth": ("attn_logit_max", "attn_entropy"),
    "update_ratio_high": _UPDATES,
    "update_ratio_low": _UPDATES,
    "weight_blowup": ("weight_norm", *_UPDATES),
    "poor_initialisation": (*_GRADIENTS, *_OUTPUTS, "weight_norm"),
    "lr_schedule": _UPDATES,
    "loss_plateau": _UPDATES,
    "flat_from_start": _UPDATES,
    "optimizer_state_lost": _UPDATES,
    "bad_batch": ("act_rms", "act_mean"),
    "rank_gradient_outlier": ("grad_norm",),
    "router_collapse": ("router_entropy",),
}
"""By kind: signals of the true layer; where the fault has none, of the median over layers."""
LAST_RESORT = ("loss", "grad_norm_total")
"""Where none of them was measured, as for a layer's fault in a run that reports no layers."""
_SHARES = frozenset(("grad_zero_frac", "act_zero_frac", "act_saturated_frac", "skipped"))
_PER_RATE = frozenset(_UPDATES)


def affected(fault: Fault, ranks: Sequence[RankSeries]) -> Iterator[Pair]:
    """(steps, values) of each affected series that was measured, on a scale where changes add up."""
    found = list(_pairs(fault, ranks, list(_wanted(fault, ranks[0]))))
    yield from found or _pairs(fault, ranks, [(signal, "") for signal in LAST_RESORT])


def affected_names(fault: Fault, series: RankSeries) -> list[tuple[str, str]]:
    """(signal, layer) of what to show of a fault; "" is the whole model."""
    wanted = [(signal, layer or "") for signal, layer in _wanted(fault, series)]
    return [*wanted, *((signal, "") for signal in LAST_RESORT)]


def _pairs(
    fault: Fault, ranks: Sequence[RankSeries], wanted: Sequence[tuple[str, str | None]]
) -> Iterator[Pair]:
    one = next((each for each in ranks if each.rank == fault.rank), ranks[0])
    others = [each for each in ranks if each is not one] if fault.rank is not None else []
    for signal, layer in wanted:
        pair = _scaled(one, signal, layer)
        if len(pair[0]):
            yield pair
            if others and (relative := _relative(pair, [_scaled(each, signal, layer) for each in others])):
                yield relative


def _wanted(fault: Fault, series: RankSeries) -> Iterator[tuple[str, str | None]]:
    """(signal, layer); "" is the whole model, None the median over layers."""
    for name in MODEL.get(fault.kind, ()):
        if fault.kind in CONTAINS:
            yield from ((signal, "") for signal in series.values if name in signal)
        else:
            yield name, ""
    if fault.kind == "series_shift":
        yield from (
            (signal, "") for signal in series.values if signal not in {*LAYER_SIGNALS, *MODEL_SIGNALS}
        )
    for signal in LAYER.get(fault.kind, ()):
        yield from ((signal, layer) for layer in _layers(fault, series, signal))


def _layers(fault: Fault, series: RankSeries, signal: str) -> list[str | None]:
    """The true layer, else those of its block that have the signal, else None for all."""
    there = [name for name in series.layers[1:] if series.has(signal, name)]
    if fault.layer in there:
        return [fault.layer]
    inside = [name for name in there if fault.block and f"{name}.".startswith(f"{fault.block}.")]
    return [*inside[:8]] or [None]


def _scaled(series: RankSeries, signal: str, layer: str | None) -> Pair:
    if signal not in series.values:
        return np.empty(0), np.empty(0)
    if layer is None:
        dense = np.where(np.isfinite(series.values[signal][:, 1:]), series.values[signal][:, 1:], np.nan)
        there = np.isfinite(dense).any(axis=1)
        steps, values = series.steps[there], _scale(signal, dense[there])
        values = np.nanmedian(values, axis=1) if len(values) else np.empty(0)
    else:
        steps, values = series.column(signal, layer)
        values = _scale(signal, values)
    return (steps, _without_rate(series, steps, values)) if signal in _PER_RATE else (steps, values)


def _scale(signal: str, values: Floats) -> Floats:
    """The log of a magnitude, the logit of a share; what may be negative as it is."""
    if signal in _SHARES:
        inside = np.clip(values, 1e-4, 1 - 1e-4)
        return np.asarray(np.log(inside / (1 - inside)))
    if np.nanmin(values, initial=1.0) < 0:
        return values
    return np.asarray(np.log(np.maximum(values, 1e-30)))


def _without_rate(series: RankSeries, steps: Floats, values: Floats) -> Floats:
    """Log update ratios less the log of the learning rate, where it is known."""
    known, rate = series.column("lr")
    good = rate > 0
    if not good.any():
        return values
    at = np.clip(np.searchsorted(known[good], steps, side="right") - 1, 0, None)
    return np.asarray(values - np.log(rate[good][at]))


def _relative(one: Pair, others: Sequence[Pair]) -> Pair | None:
    """One rank against the median of the others, at the steps that all report."""
    steps = one[0]
    for other, _ in others:
        steps = np.intersect1d(steps, other)
    if not len(steps):
        return None
    rest = np.median([_at(pair, steps) for pair in others], axis=0)
    return steps, np.asarray(_at(one, steps) - rest)


def _at(pair: Pair, steps: Floats) -> Floats:
    """The values at `steps`; of a step that was reported twice, the last."""
    return pair[1][np.searchsorted(pair[0], steps, side="right") - 1]
