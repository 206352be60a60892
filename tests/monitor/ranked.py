"""Logs of runs of several ranks."""

from __future__ import annotations

from typing import Any

from anomaly.incidents import Severity, Transition
from tests.monitor.logs import healthy, log_of, outcome_of


def of_ranks(steps: range, ranks: int, change: Any = None, **fields: Any) -> list[dict[str, Any]]:
    records = []
    for step in steps:
        for rank in range(ranks):
            record = {"run": "r1", **healthy(step, seed=rank), "rank": rank, **fields}
            if change is not None:
                change(step, rank, record)
            records.append(record)
    return records


def warnings(records: list[dict[str, Any]]) -> list[Transition]:
    transitions = outcome_of(log_of(records)).transitions
    return [each for _, each in transitions if each.severity is not Severity.INFO and each.status == "opened"]
