"""Logs of runs in which what is surveyed every sixteenth reading shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from anomaly.incidents import Severity, Transition
from tests.monitor.logs import transitions_of


def serious(transitions: list[Transition]) -> list[Transition]:
    """The first transition of each incident that reaches warning or critical."""
    found: dict[str, Transition] = {}
    for each in transitions:
        if each.severity is not Severity.INFO:
            found.setdefault(each.incident, each)
    return list(found.values())


def model_only(
    loss: Callable[[int], float], steps: range, spread: float = 0.02, **fields: Any
) -> list[dict[str, Any]]:
    """A log of the whole model only: a loss with noise."""
    noise = np.random.default_rng(1).standard_normal(len(steps))
    return [
        {"run": "r1", "step": step, "loss": float(loss(step) * np.exp(spread * each)), **fields}
        for step, each in zip(steps, noise, strict=True)
    ]


def falling(step: int) -> float:
    return float(2 + 8 * (step + 10) ** -0.3)


def kinds(records: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Kind and step of each incident that reaches warning."""
    return [(each.kind, int(each.step)) for each in serious(transitions_of(records))]
