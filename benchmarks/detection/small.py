"""The small runs that are kept in the repository for the tests: plain faults and common benign events, one each."""

from __future__ import annotations

from typing import Any

from benchmarks.detection.catalogue import BY_KIND
from benchmarks.detection.plan import Injection, Plan

_GPT = {"blocks": 1, "width": 16, "tokens": 12}
_CNN = {"stages": 2, "channels": 6}
_MLP = {"width": 24, "hidden": 2}


def plans() -> list[Plan]:
    """Every small run, the healthy ones first."""
    found = [_healthy(number, **options) for number, options in enumerate(_HEALTHY)]
    return found + [_faulty(len(_HEALTHY) + number, *fault) for number, fault in enumerate(_FAULTY)]


_RANKS = {"model": "mlp", "size": {"width": 24, "hidden": 1}, "ranks": 4, "hashes": True}
_LSTM = {"model": "lstm", "size": {"width": 24}, "lr": 4e-3}
_SGD = {"model": "cnn", "size": _CNN, "optimizer": "sgd", "lr": 0.03}
_HEALTHY: tuple[dict[str, Any], ...] = (
    {"name": "warmup_cosine", "schedule": "cosine", "warmup": 40, "announced": True},
    {"name": "restarts", "schedule": "restarts", "warmup": 20},
    {"name": "step_decay", **_SGD, "schedule": "step"},
    {
        "name": "batch_and_mix",
        "model": "mlp",
        "size": _MLP,
        "benign": (("batch_size_ramp", 150, 4.0), ("data_mix", 280, 0.05)),
    },
    {
        "name": "checkpoint_restart",
        **_LSTM,
        "sessions": True,
        "benign": (("restart_from_checkpoint", 250, 60.0),),
    },
    {
        "name": "single_spike",
        "clip": 1.0,
        "benign": (("single_spike", 200, 3.0), ("evaluation_pause", 300, 10.0)),
    },
    {"name": "gan", "model": "gan", "size": {"width": 24}, "lr": 5e-4},
    {"name": "loss_scale_search", "model": "vae", "size": {"width": 24}, "precision": "fp16"},
    {"name": "four_ranks", **_RANKS, "steps": 200},
)

_FAULTY: tuple[tuple[str, int, float, int, dict[str, Any]], ...] = (
    ("nonfinite_weight", 150, 1, 0, {}),
    ("nonfinite_gradient", 30, 1, 0, {"model": "mlp", "size": _MLP}),
    ("gradient_spike", 250, 30, 0, {"model": "cnn", "size": _CNN, "lr": 2e-3}),
    ("layer_gradient_spike", 250, 100, 0, {}),
    ("gradient_dead", 200, 1, 0, {"model": "mlp", "size": _MLP}),
    ("missing_zero_grad", 200, 1, 0, {"model": "cnn", "size": _CNN, "optimizer": "sgd", "lr": 0.01}),
    ("dead_units", 250, 0.9, 1, {"model": "cnn", "size": _CNN, "lr": 2e-3}),
    ("attention_logit_growth", 150, 0.04, 0, {}),
    ("weights_frozen", 250, 1, 0, _LSTM),
    ("update_ratio_high", 250, 20, 1, {}),
    ("lr_schedule", 250, 50, 0, {}),
    ("poor_initialisation", 0, 60, 0, {}),
    ("loss_spike_persistent", 250, 0.9, 0, {"model": "cnn", "size": _CNN, "lr": 2e-3}),
    ("loss_divergence", 150, 120, 0, {"model": "cnn", "size": _CNN, "lr": 2e-3}),
    ("loss_out_of_range", 250, 2, 0, _LSTM),
    ("repeated_batch", 150, 1, 0, {"hashes": True}),
    ("replica_divergence", 120, 1e-3, 0, {**_RANKS, "steps": 240}),
    ("rank_gradient_outlier", 120, 20, 0, {**_RANKS, "steps": 240}),
    ("straggler", 120, 3, 0, {**_RANKS, "steps": 240}),
)


def _plan(name: str, number: int, options: dict[str, Any]) -> Plan:
    defaults: dict[str, Any] = {"model": "gpt_pre", "size": _GPT, "steps": 380, "lr": 2e-3, "warmup": 20}
    batch = 4 if options.get("model", "gpt_pre").startswith("gpt") else 16
    settings = {**defaults, "length": 12, "batch_size": batch, **options}
    return Plan(run=f"small-{name}", part="small", seed=40_000 + number, **settings)


def _healthy(number: int, name: str, benign: tuple[tuple[str, int, float], ...] = (), **options: Any) -> Plan:
    events = tuple(
        Injection(event, step, strength, announced=at % 2 == 0)
        for at, (event, step, strength) in enumerate(benign)
    )
    return _plan(f"healthy-{name}", number, {**options, "benign": events})


def _faulty(
    number: int, kind: str, step: int, strength: float, variant: int, options: dict[str, Any]
) -> Plan:
    fault = Injection(kind, step, float(strength), BY_KIND[kind].code, variant=variant)
    return _plan(kind, number, {**options, "faults": (fault,)})
