"""Plans of a few steps that bring what a fault or an event needs, and what they leave in their tables."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa

from benchmarks.detection import generate
from benchmarks.detection.catalogue import BY_KIND
from benchmarks.detection.plan import Injection, Plan
from benchmarks.detection.table import table_of
from benchmarks.detection.trace import Trace

STEPS, ONSET = 24, 14
_MODELS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("moe", "gpt_moe", {"blocks": 1, "width": 16, "tokens": 8, "experts": 2}),
    ("rl", "policy", {"width": 16}),
    ("tanh", "policy", {"width": 16}),
    ("attention", "gpt_pre", {"blocks": 1, "width": 16, "tokens": 8}),
    ("blocks", "gpt_pre", {"blocks": 1, "width": 16, "tokens": 8}),
    ("norm", "cnn", {"stages": 1, "channels": 4}),
    ("", "mlp", {"width": 8, "hidden": 1}),
)


def plan(**options: Any) -> Plan:
    """A short run of a small multilayer perceptron, unless `options` say otherwise."""
    defaults: dict[str, Any] = {
        "run": "short",
        "part": "small",
        "seed": 7,
        "model": "mlp",
        "size": {"width": 8, "hidden": 1},
        "steps": STEPS,
        "updates_every": 2,
        "activations_every": 2,
        "batch_size": 8,
        "length": 8,
    }
    return Plan(**{**defaults, **options})


def faulty(kind: str, variant: int = 0, step: int = ONSET) -> Plan:
    """A short run with this fault at its strongest, on a model and in a setting where it can happen."""
    fault = BY_KIND[kind]
    needs = set(fault.needs)
    model, size = next((model, size) for need, model, size in _MODELS if need in needs or not need)
    injection = Injection(kind, step, fault.strongest, fault.code, variant=variant)
    return plan(
        model=model,
        size=size,
        faults=(injection,),
        precision="fp16" if "fp16" in needs else "fp32",
        ranks=3 if "ranks" in needs else 1,
        hashes="hashes" in needs,
        timed="timed" in needs,
        sessions="sessions" in needs,
        eval_every=4 if "eval" in needs else 0,
        gradient_statistics="fp16" in needs,
    )


def without_fault(faulty: Plan) -> Plan:
    """The same run, its fault put off until after the end."""
    return replace(faulty, faults=tuple(replace(fault, step=10_000) for fault in faulty.faults))


def table(of: Plan) -> pa.Table:
    """What training it leaves."""
    trace = Trace()
    training, _ = generate.prepare(of, trace)
    training.run()
    return table_of(of, trace.records())


def rows(of: pa.Table, before: int) -> list[dict[str, Any]]:
    """The rows of the steps before `before`, as the bits of their values: NaN equals NaN."""
    found = [row for row in of.to_pylist() if row["step"] < before]
    return [{name: repr(value) for name, value in row.items() if value is not None} for row in found]


def events(of: pa.Table) -> list[tuple[int, str]]:
    """Step and kind of every event, those of rank 0."""
    said = [(row["step"], row["events"]) for row in of.to_pylist() if row["events"] and not row["rank"]]
    return [(step, event["kind"]) for step, text in said for event in json.loads(text)]
