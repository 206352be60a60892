"""The corpus: which runs a part has. `plan_of` draws each from its part and number alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.detection import drawing
from benchmarks.detection.catalogue import FAULTS, Fault
from benchmarks.detection.plan import Injection, Plan

PARTS = {"develop": 130, "validate": 50, "fit": 200, "test": 150}
"""Runs of each part; those of `fit` are healthy, all of them, and nobody looks at them."""
_OFFSET = {"develop": 10_000, "validate": 20_000, "test": 30_000, "small": 40_000, "fit": 50_000}


def plan_of(part: str, number: int) -> Plan:
    """Run `number` of `part`."""
    seed = _OFFSET[part] + number
    rng = random.Random(f"{part} {number}")
    fault = _fault_of(part, number)
    healthy = fault is None
    needs = set(fault.needs) if fault else set()
    if fault is not None and fault.kind.startswith("nonfinite"):
        needs.add("exact")  # a loss scale would skip the step and hide it
    if fault is not None and (fault.every or fault.code not in _WHOLE_MODEL):
        needs.add("layers")
    plan = drawing.base(f"{part}-{number:03d}", part, seed, rng, needs, healthy)
    plan = replace(plan, faults=_injections(part, number, plan, fault, rng))
    return replace(plan, benign=_benign(plan, rng))


def _fault_of(part: str, number: int) -> Fault | None:
    """Two runs of five are healthy; the faults take turns, in another order in each part."""
    if number % 5 in (0, 3) or part == "fit":
        return None
    faults = [fault for fault in FAULTS if part == "test" or not fault.test_only]
    at = number // 5 * 3 + {1: 0, 2: 1, 4: 2}[number % 5]
    order = random.Random(f"{part} {at // len(faults)}").sample(faults, len(faults))
    return order[at % len(faults)]


def _injections(
    part: str, number: int, plan: Plan, fault: Fault | None, rng: random.Random
) -> tuple[Injection, ...]:
    if fault is None:
        return ()
    if fault.at_start:
        onset = 0
    elif fault.kind == "loss_plateau":
        onset = rng.randint(40, 200)
    elif rng.random() < 0.15:
        onset = rng.randint(15, 50)
    else:
        latest = (
            round(plan.steps * 0.6) if part == "develop" else min(round(plan.steps * 0.6), plan.steps - 320)
        )
        onset = rng.randint(120, max(latest, 150))
    step = onset - onset % _coarsest(plan)
    first = Injection(fault.kind, step, _strength(fault, rng), fault.code, variant=_variant(fault, rng))
    if plan.steps - step < 420 or rng.random() > 0.12:
        return (first,)
    simple = [
        other
        for other in FAULTS
        if not other.needs and not other.at_start and other.code[:2] != fault.code[:2]
    ]
    second = rng.choice(
        [
            other
            for other in simple
            if other.kind in ("layer_gradient_spike", "gradient_dead", "lr_schedule", "nonfinite_weight")
        ]
    )
    later = rng.randint(step + 250, plan.steps - 120)
    return first, Injection(
        second.kind, later, _strength(second, rng), second.code, variant=_variant(second, rng)
    )


def _coarsest(plan: Plan) -> int:
    return max(every for _, every in plan.logging)


def _strength(fault: Fault, rng: random.Random) -> float:
    least, most = sorted((fault.weakest, fault.strongest))
    drawn: float = least * (most / least) ** rng.random()
    return float(f"{drawn:.4g}")


def _variant(fault: Fault, rng: random.Random) -> int:
    return rng.randrange({"lr_schedule": 3, "poor_initialisation": 3}.get(fault.kind, 2))


_WHOLE_MODEL = (
    "F01",
    "F08",
    "F10",
    "F15",
    "F28",
    "F32",
    "F33",
    "F34",
    "F36",
    "F37",
    "F38",
    "F39",
    "F42",
    "F50",
)
"""Faults that show in whole-model signals, and so also where no layer is reported."""
_EVENTS: Sequence[str] = (
    "batch_size_ramp", "accumulation_change", "data_mix", "epoch_boundary", "clip_saturation", "resume",
    "restart_from_checkpoint", "single_spike", "evaluation_pause", "checkpoint_pause", "pause", "precision_change",
    "unfreeze", "freeze",
)  # fmt: skip
TEST_EVENTS: Sequence[str] = ("sequence_ramp", "clipping_on", "augmentation", "elastic_resize")
"""Benign events that occur in the test part alone."""


def _benign(plan: Plan, rng: random.Random) -> tuple[Injection, ...]:
    """Several in a healthy run, at most one before the onset of a fault."""
    names = [*_EVENTS, *(TEST_EVENTS if plan.part == "test" else ())]
    names = [name for name in names if _possible(plan, name)]
    if plan.faults:
        onset = plan.faults[0].step
        if onset < 200 or rng.random() < 0.6:
            return ()
        return (_event(rng.choice(names), rng.randint(60, onset - 120), rng, plan),)
    count = rng.choice((0, 1, 2, 3, 4))
    room = plan.steps // (count + 1)
    chosen = rng.sample(names, count)
    steps = [room * (at + 1) + rng.randint(-room // 4, room // 4) for at in range(count)]
    return tuple(_event(name, step, rng, plan) for name, step in zip(chosen, steps, strict=True))


def _possible(plan: Plan, name: str) -> bool:
    forbidden = {
        "precision_change": plan.precision != "fp32" or plan.ranks > 1,
        "sequence_ramp": not _is_text(plan),
        "unfreeze": plan.model in ("gan", "gpt_lora", "policy"),
        "freeze": plan.model in ("gan", "gpt_lora", "policy"),
        "clipping_on": plan.clip is not None,
        "augmentation": not plan.model.startswith("gpt"),
        "elastic_resize": plan.ranks < 3 or bool(plan.faults),
        "restart_from_checkpoint": bool(plan.faults) and plan.faults[0].name == "resume_corruption",
    }
    return not forbidden.get(name, False)


def _is_text(plan: Plan) -> bool:
    return plan.model.startswith("gpt") or plan.model == "lstm"


def _event(name: str, step: int, rng: random.Random, plan: Plan) -> Injection:
    strength = {
        "batch_size_ramp": rng.choice((0.5, 2.0, 4.0)),
        "accumulation_change": rng.choice((2.0, 4.0)),
        "data_mix": rng.choice((0.1, 0.2, 0.3) if _is_text(plan) else (0.03, 0.06)),
        "clipping_on": drawing.CLIPS[plan.model.split("_")[0]] * 0.5,
        "clip_saturation": drawing.CLIPS[plan.model.split("_")[0]] * 0.05,
        "restart_from_checkpoint": float(rng.choice((30, 80, 150)) if step > 200 else 30),
        "single_spike": rng.choice((1.5, 2.5, 4.0)),
        "augmentation": 0.3,
    }.get(name, float(rng.choice((3, 10, 30))))
    announced = rng.random() < 0.5
    if name == "data_mix" and not _is_text(plan):
        announced = True  # a well-fitted loss doubles then: unannounced, somebody would have to look
    return Injection(name, step, strength, announced=announced)
