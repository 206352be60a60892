"""The closed list of signals: what a training run may report by a name of ours, with its unit.

Any other name is a *generic* series, watched on both sides without knowing what it means.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signal:
    """One statistic a run reports each step.

    ``unit`` is for people; values travel as float32.
    """

    name: str
    unit: str


_MODEL = (
    ("loss", "the task's unit; up is bad"),
    ("eval_loss", "the task's unit; up is bad"),
    ("grad_norm_total", "L2, before clipping"),
    ("lr", "learning rate of the first parameter group"),
    ("loss_scale", "factor"),
    ("clip_coef", "factor; 1 = no clipping"),
    ("skipped", "0 or 1"),
    ("tokens", "tokens in this step"),
    ("step_seconds", "seconds, this rank's own"),
    ("data_seconds", "seconds, this rank's own"),
    ("peak_memory_bytes", "bytes"),
    ("input_hash", "24 bits; only equality means anything"),
    ("weight_hash", "24 bits; only equality means anything"),
)
_LAYER = (
    ("grad_norm", "L2, before clipping"),
    ("grad_absmax", "largest magnitude"),
    ("grad_zero_frac", "share 0…1"),
    ("act_zero_frac", "share 0…1"),
    ("act_saturated_frac", "share 0…1"),
    ("weight_norm", "L2"),
    ("update_ratio", "‖Δw‖/‖w‖"),
    ("act_mean", "of the output"),
    ("act_rms", "of the output"),
    ("act_in_rms", "of the input"),
    ("act_absmax", "of the output"),
    ("attn_logit_max", "largest logit"),
    ("attn_entropy", "nats"),
    ("router_entropy", "nats"),
    ("grad_nonfinite", "count"),
    ("act_nonfinite", "count"),
    ("weight_nonfinite", "count"),
    ("nonfinite", "count, source unknown"),
)

MODEL_SIGNALS: dict[str, Signal] = {name: Signal(name, unit) for name, unit in _MODEL}
LAYER_SIGNALS: dict[str, Signal] = {name: Signal(name, unit) for name, unit in _LAYER}
