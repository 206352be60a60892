"""How a run without faults is drawn: its model, optimiser, schedule, ranks and ways of reporting."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from benchmarks.detection import schedules
from benchmarks.detection.plan import Plan

_FEATURES: dict[str, frozenset[str]] = {
    "gpt_pre": frozenset({"attention", "norm", "blocks", "labels", "leaky", "positive"}),
    "gpt_post": frozenset({"attention", "norm", "blocks", "labels", "leaky", "positive"}),
    "gpt_tied": frozenset({"attention", "norm", "blocks", "labels", "leaky", "positive"}),
    "gpt_lora": frozenset({"attention", "labels", "leaky", "positive"}),
    "gpt_tied_nobias": frozenset({"attention", "norm", "blocks", "labels", "leaky", "positive"}),
    "gpt_moe": frozenset({"attention", "norm", "blocks", "labels", "positive", "moe"}),
    "lstm": frozenset({"labels", "leaky", "positive"}),
    "cnn": frozenset({"relu", "norm", "labels", "leaky", "positive"}),
    "cnn_plain": frozenset({"relu", "labels", "leaky", "positive"}),
    "mlp": frozenset({"relu", "tanh", "labels", "leaky", "positive"}),
    "residual": frozenset({"relu", "norm", "labels", "leaky", "positive"}),
    "vae": frozenset({"relu"}),
    "gan": frozenset(),
    "policy": frozenset({"tanh", "rl"}),
}
TEST_MODELS = ("gpt_moe", "gpt_tied_nobias", "policy")
"""Models that occur in the test part alone."""
_MODELS = (
    "gpt_pre", "gpt_pre", "gpt_post", "gpt_tied", "lstm", "cnn", "cnn", "mlp", "mlp", "vae", "vae", "gan", "residual",
)  # fmt: skip
_CHEAP = ("mlp", "vae", "gan", "policy")
_RATES = {
    "sgd": {
        "gpt": 0.15,
        "lstm": 1.0,
        "cnn": 0.03,
        "mlp": 0.25,
        "residual": 0.05,
        "vae": 2e-3,
        "gan": 0.02,
        "policy": 0.05,
    },
    "adam": {
        "gpt": 1.5e-3,
        "lstm": 4e-3,
        "cnn": 2e-3,
        "mlp": 2e-3,
        "residual": 2e-3,
        "vae": 1.5e-3,
        "gan": 5e-4,
        "policy": 1.5e-3,
    },
    "muon": {
        "gpt": 6e-3,
        "lstm": 6e-3,
        "cnn": 6e-3,
        "mlp": 6e-3,
        "residual": 4e-3,
        "vae": 3e-3,
        "gan": 1e-3,
        "policy": 3e-3,
    },
}
CLIPS = {
    "gpt": 1.0,
    "lstm": 1.0,
    "cnn": 2.0,
    "mlp": 0.5,
    "residual": 1.0,
    "vae": 20.0,
    "gan": 2.0,
    "policy": 1.0,
}


def base(run: str, part: str, seed: int, rng: random.Random, needs: set[str], healthy: bool) -> Plan:
    """Model, optimiser, schedule and the ways of reporting."""
    model = _model(part, rng, needs)
    family = model.split("_")[0]
    ranks = _ranks(rng, needs, model)
    often = 0.5 if family == "residual" and part != "develop" else 0.1
    size = _size(family, model, rng, large=ranks == 1 and rng.random() < often)
    if ranks > 2:
        size = _small(size)
    if part != "develop" and (model == "gpt_moe" or (ranks > 3 and "blocks" in size)):
        size["blocks"] = min(size["blocks"], 1 if family == "gpt" else 8)
    optimizer = _optimizer(part, rng, needs, family)
    if optimizer == "sgd" and size.get("hidden", 0) > 4:
        optimizer = "adamw"  # as deep as that and without norms, a perceptron does not learn by plain descent
    total = _steps(part, rng, healthy, ranks, family, size)
    precision = (
        "fp16"
        if "fp16" in needs
        else rng.choices(("fp32", "bf16", "bf16_weights", "fp16"), (75, 12, 4, 9))[0]
    )
    if (precision == "bf16_weights" and family != "gpt") or (precision == "fp16" and "exact" in needs):
        precision = "fp32"
    schedule = rng.choice(schedules.NAMES)
    warmup = 0 if rng.random() < 0.25 else rng.choice((20, 50, 100, total // 10))
    clipped = rng.random() < (0.7 if family in ("gpt", "lstm") else 0.25)
    rate = _RATES.get(optimizer, _RATES["adam"])[family] * 2.0 ** rng.uniform(-1, 0.7)
    plan = Plan(
        run=run,
        part=part,
        seed=seed,
        model=model,
        size=size,
        steps=total,
        optimizer=optimizer,
        lr=rate if precision != "bf16_weights" else rate * 2,
        schedule=schedule,
        warmup=warmup,
        precision=precision,
        clip=CLIPS[family] * rng.choice((0.5, 1.0, 2.0)) if clipped else None,
        accumulation=rng.choices((1, 2, 4), (80, 15, 5))[0] if ranks == 1 else 1,
        ranks=ranks,
        local_norms="local" in needs or rng.random() < 0.6,
        batch_size=_batch_size(family, rng) if ranks <= 2 else _batch_size(family, rng) // 2,
        length=size.get("tokens", 16),
        eval_every=rng.choice((25, 50, 100)) if "eval" in needs or rng.random() < 0.5 else 0,
        hashes="hashes" in needs or ranks > 1 or rng.random() < 0.15,
        gradient_statistics=precision == "fp16" or rng.random() < 0.2,
        timed="timed" in needs or rng.random() < 0.1,
        sessions="sessions" in needs or rng.random() < 0.5,
        host_signals=rng.random() < 0.3,
        announced=rng.random() < 0.5,
    )
    return _reporting(plan, rng, needs)


def _model(part: str, rng: random.Random, needs: set[str]) -> str:
    names = [*_MODELS, "cnn_plain", "gpt_lora"]
    if part == "test":
        names += [*TEST_MODELS, "gpt_moe", "policy"]  # twice
    wanted = needs & {
        "attention",
        "norm",
        "blocks",
        "labels",
        "leaky",
        "positive",
        "moe",
        "relu",
        "tanh",
        "rl",
    }
    return rng.choice([name for name in names if wanted <= _FEATURES[name]])


def _ranks(rng: random.Random, needs: set[str], model: str) -> int:
    if "ranks" in needs:
        return rng.choice((3, 4, 4, 6, 8))
    if "one_rank" not in needs and rng.random() < 0.1 and model not in ("gpt_moe", "residual"):
        return rng.choice((2, 3, 4))
    return 1


def _size(family: str, model: str, rng: random.Random, *, large: bool) -> dict[str, Any]:
    if family == "gpt":
        if large:
            return {"blocks": rng.choice((12, 20)), "width": 8, "tokens": 12}
        size = {
            "blocks": rng.choice((1, 1, 2, 2, 3)),
            "width": rng.choice((16, 24, 32)),
            "tokens": rng.choice((12, 16, 24)),
        }
        if model == "gpt_moe":
            size["experts"] = 4
        elif rng.random() < 0.2:
            size["dropout"] = 10
        return size
    if family == "residual":
        return {
            "width": rng.choice((8, 12)),
            "blocks": rng.choice((100, 200, 300)) if large else rng.randint(8, 16),
        }
    if family == "cnn":
        return {"stages": rng.choice((2, 3, 4)), "channels": rng.choice((6, 8, 12))}
    if family == "mlp":
        return {"width": rng.choice((24, 32, 48)), "hidden": rng.choice((1, 2, 4, 8))}
    return {"width": rng.choice((24, 32, 48))}


def _small(size: dict[str, Any]) -> dict[str, Any]:
    """As every rank has one in the same process."""
    most = {"blocks": 2, "stages": 2, "hidden": 2, "tokens": 12, "width": 24}
    return {name: min(value, most.get(name, value)) for name, value in size.items()}


def _optimizer(part: str, rng: random.Random, needs: set[str], family: str) -> str:
    names = (
        ["adamw", "adamw", "adam", "sgd"]
        if family in ("gpt", "vae", "gan", "policy")
        else ["adamw", "adam", "sgd", "sgd"]
    )
    if part == "test" and rng.random() < 0.15 and family != "gan":
        return "muon"
    if "stateful" in needs or family in ("vae", "gan", "policy"):
        names = [name for name in names if name != "sgd"]
    return rng.choice(names)


def _steps(
    part: str, rng: random.Random, healthy: bool, ranks: int, family: str, size: dict[str, Any]
) -> int:
    if size.get("blocks", 0) >= 12:
        return rng.randrange(500, 800, 50) if size["blocks"] < 50 else rng.randrange(350, 600, 50)
    develop = part == "develop"
    if not healthy:
        most = (1001 if ranks < 5 else 701) if develop else (801 if ranks < 5 else 601)
        return rng.randrange((600 if ranks < 5 else 450) if develop else 500, most, 50)
    total = rng.randrange(1000, 1801 if develop else 1401, 100)
    if family in _CHEAP:
        total *= {"develop": 2, "validate": 2}.get(part, 4)
    return total // 2 if ranks > 1 else total


def _batch_size(family: str, rng: random.Random) -> int:
    return rng.choice({"gpt": (4, 8), "lstm": (8, 16), "cnn": (16, 32)}.get(family, (32, 64)))


def _reporting(plan: Plan, rng: random.Random, needs: set[str]) -> Plan:
    """How often and how much is reported."""
    which = rng.random()
    if needs & {"hashes", "fp16", "moe", "rl", "ranks"} or which < 0.72:
        return replace(plan, sharded=plan.ranks > 1 and not needs & {"ranks", "local"} and rng.random() < 0.3)
    if which < 0.80:
        every = rng.choice((2, 5, 10) if plan.model in _CHEAP else (2, 3, 5))
        longer = round(plan.steps * 1.5)
        return replace(plan, logging=((0, every),), updates_every=1, activations_every=every, steps=longer)
    if which < 0.85:
        third = plan.steps // 3
        return replace(plan, logging=((0, 1), (third, 5), (2 * third, 2)), updates_every=1)
    if which < 0.87 and not needs:
        return replace(plan, weights_every=100)
    if which < 0.90:
        return replace(plan, missing_share=rng.choice((0.05, 0.2)))
    if which < 0.96 and "layers" not in needs:
        gone = rng.choice(
            (
                ("update_ratio",),
                ("weight_norm",),
                ("act_rms", "act_mean", "act_absmax"),
                ("grad_norm_total", "lr"),
            )
        )
        return replace(plan, missing=gone)
    return plan if "layers" in needs else replace(plan, missing=("layers",))
