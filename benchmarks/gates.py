"""What must hold: every target in one place, and what is wrong with a set of rows.

A gate that is missing, could not be measured or is not met is a failure of the benchmark; `complaints` says which.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from benchmarks.rows import Row


class Gate(msgspec.Struct, frozen=True):
    """A row's target: `at_least` or `at_most`, in the row's unit."""

    name: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def target(self) -> str:
        """The target as tables show it.

        >>> Gate("cost_growth", at_most=2.0).target
        '≤ 2'
        """
        return f"≤ {self.at_most:.12g}" if self.at_least is None else f"≥ {self.at_least:.12g}"

    def met(self, value: float) -> bool:
        """Whether `value` is on the right side; a NaN is on neither."""
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most


GATES = {
    gate.name: gate
    for gate in (
        Gate("throughput_1k", at_least=20e6),
        Gate("throughput_8k", at_least=40e6),
        Gate("vs_plain_aiokafka", at_least=0.5),
        Gate("vs_json_river", at_least=100),
        Gate("vs_stock_agent", at_least=2.5),
        Gate("latency_p50_1000_runs", at_most=100),
        Gate("latency_p99_1000_runs", at_most=250),
        Gate("latency_p50_5000_runs", at_most=100),
        Gate("latency_p99_5000_runs", at_most=250),
        Gate("memory_per_series", at_most=128),
        Gate("cost_growth", at_most=2),
        Gate("cpu_two_workers", at_most=1.15),
        Gate("snapshot_pause", at_most=100),
        Gate("cold_start", at_most=5),
        Gate("recovery_1000_runs", at_most=10),
        Gate("recovery_1000_runs_overwritten", at_most=10),
        Gate("hook_overhead_pytorch", at_most=1.2),
        Gate("hook_overhead_jax", at_most=1.2),
    )
}
"""What ``make bench`` measures, by row name. Rows that are in neither table are for information."""

DETECTION = {
    gate.name: gate
    for gate in (
        Gate("detection_recall", at_least=0.97),
        Gate("detection_false_alarms", at_most=0.2),
        Gate("detection_critical_false_alarms", at_most=0),
        Gate("detection_delay_p50", at_most=2),
        Gate("detection_delay_p90", at_most=20),
        Gate("detection_localised", at_least=0.95),
        Gate("detection_rank_named", at_least=0.95),
        Gate("detection_kind", at_least=0.8),
        Gate("detection_incidents_per_fault", at_most=1.2),
        Gate("detection_public_recall", at_least=0.85),
        Gate("detection_public_healthy", at_most=1),
    )
}
"""What ``make scoreboard`` measures, by row name."""


def complaints(rows: Sequence[Row], wanted: Collection[str]) -> list[str]:
    """What is wrong, a sentence each: of the rows `wanted`, those missing, not measured or short of their target."""
    by_name = {row.name: row for row in rows}
    found = []
    for name in wanted:
        row = by_name.get(name)
        if row is None:
            found.append(f"{name} is missing")
        elif row.value is None:
            found.append(f"{name} could not be measured")
        elif row.ok is False:
            found.append(f"{name} misses its target: {row.value:.4g} {row.unit}, wanted {row.target}")
    return found
