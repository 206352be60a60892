"""Logs of a partition for the monitor's tests: records as the broker would hand them out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomaly.incidents import Status, Transition
from anomaly.monitor import Outcome, PartitionMonitor, snapshot

LAYERS = ("embed", "h.0", "h.1", "h.2", "head")


@dataclass
class Record:
    offset: int
    value: bytes | None
    key: bytes | None = None
    timestamp: int = 1_790_000_000_000
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass
class Log:
    """Appends records at the next offset."""

    records: list[Record] = field(default_factory=list)

    def add(self, value: bytes, **fields: Any) -> Record:
        record = Record(len(self.records), value, **fields)
        self.records.append(record)
        return record

    def json(self, **fields: Any) -> Record:
        return self.add(json.dumps(fields).encode())


def healthy(step: int, seed: int = 0, layers: Sequence[str] = LAYERS) -> dict[str, Any]:
    """One step of a calm run: a falling loss, steady norms."""
    noise = np.random.default_rng([seed, step])

    def around(value: float, spread: float) -> float:
        return float(value * np.exp(spread * noise.standard_normal()))

    return {
        "step": step,
        "loss": around(2 + 2 * 0.99**step, 0.02),
        "lr": 1e-3,
        "grad_norm_total": around(1.0, 0.1),
        "layers": {
            name: {
                "grad_norm": around(0.5, 0.1),
                "weight_norm": 10.0 + 0.001 * step,
                "update_ratio": around(1e-3, 0.1),
                "act_rms": around(1.0, 0.05),
            }
            for name in layers
        },
    }


def training(
    steps: Iterable[int], change: Callable[[int, dict[str, Any]], None] | None = None, **fields: Any
) -> list[dict[str, Any]]:
    """Healthy steps of run r1, each changed in place by `change(step, record)`."""
    records = []
    for step in steps:
        record = {"run": "r1", **healthy(step), **fields}
        if change is not None:
            change(step, record)
        records.append(record)
    return records


def log_of(records: Iterable[dict[str, Any]]) -> Log:
    log = Log()
    for record in records:
        log.json(**record)
    return log


def monitor(**options: Any) -> PartitionMonitor:
    return PartitionMonitor(0, 1, **options)


def outcome_of(log: Log) -> Outcome:
    return monitor().process(log.records)


def transitions_of(records: Iterable[dict[str, Any]]) -> list[Transition]:
    return [transition for _, transition in outcome_of(log_of(records)).transitions]


def opened(transitions: Iterable[Transition]) -> list[Transition]:
    return [transition for transition in transitions if transition.status is Status.OPENED]


def states(partition: PartitionMonitor) -> dict[str, bytes]:
    return {run: snapshot.dump(state, marks=False) for run, state in partition.runs.items()}
