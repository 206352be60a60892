"""What a worker tells Prometheus: its own counts here, and a few series for each run it watches.

Everything is there with 0 from the start. No label is unbounded: never a layer, and runs only up to a cap, the longest
silent ones making room. A run's series are read from its live state at the scrape, so that they cost nothing between
scrapes and are gone with the run's partition; two workers never both show a run, whose series would add up.
"""

from __future__ import annotations

import enum
import heapq
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from anomaly.errors import Reason
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import Severity

PROCESSING_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Phase(enum.StrEnum):
    """Where a run stands, as far as the worker knows."""

    TRAINING = "training"
    PAUSED = "paused"
    """It declared an evaluation, a checkpoint or another pause."""
    SILENT = "silent"
    """It should report, and does not."""
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class RunReading:
    """What one run shows: its latest whole-model numbers (None = never measured) and its open incidents."""

    run: str
    phase: Phase = Phase.TRAINING
    last_record_unix_seconds: float | None = None
    step: float | None = None
    loss: float | None = None
    grad_norm_total: float | None = None
    lr: float | None = None
    steps_per_second: float | None = None
    worst_score: float | None = None
    attempt: float | None = None
    ranks: float | None = None
    incidents_open: Mapping[str, int] = field(default_factory=dict)
    """How many, by severity."""
    opened: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """When the oldest of them was opened (Unix seconds), by kind and severity."""


_RUN_GAUGES = (
    (
        "last_record_unix_seconds",
        "anomaly_run_last_record_timestamp_seconds",
        "Time of the run's latest record.",
    ),
    ("step", "anomaly_run_step", "The run's latest optimiser step."),
    ("loss", "anomaly_run_loss", "The run's latest training loss, in its own unit."),
    ("grad_norm_total", "anomaly_run_grad_norm", "L2 norm of the run's whole gradient before clipping."),
    ("lr", "anomaly_run_learning_rate", "Learning rate of the run's first parameter group."),
    ("steps_per_second", "anomaly_run_steps_per_second", "Optimiser steps that the run does in a second."),
    (
        "worst_score",
        "anomaly_run_worst_score",
        "Largest score of the run's latest record; 1 raises an alarm.",
    ),
    ("attempt", "anomaly_run_attempt", "How often the run has started over, from 0."),
    ("ranks", "anomaly_run_ranks", "Ranks of the run that report."),
)


class RunCollector(Collector):
    """How many runs are in each phase, and the runs' series: at most 12 a run, and one for each kind that is open."""

    def __init__(self, registry: CollectorRegistry, limit: int) -> None:
        self.limit = limit
        self.source: Callable[[], Iterable[RunReading]] = tuple
        """Gives a reading of each live run. Called from the thread that serves /metrics."""
        registry.register(self)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The families without samples, so that registering does not read the runs."""
        return self._families().values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One sample a phase, and one a run and gauge; what was never measured has none."""
        families = self._families()
        readings = list(self.source())
        phases = Counts(reading.phase for reading in readings)
        for phase in Phase:
            families["phases"].add_metric([phase], phases[phase])
        newest = heapq.nlargest(
            self.limit, readings, key=lambda reading: reading.last_record_unix_seconds or 0.0
        )
        for reading in newest:
            for name, _, _ in _RUN_GAUGES:
                value = getattr(reading, name)
                if value is not None:
                    families[name].add_metric([reading.run], value)
            for severity in Severity:
                count = reading.incidents_open.get(severity, 0)
                families["incidents_open"].add_metric([reading.run, severity], count)
            for what, opened in reading.opened.items():
                families["opened"].add_metric([reading.run, *what], opened)
        yield from families.values()

    @staticmethod
    def _families() -> dict[str, GaugeMetricFamily]:
        families = {
            name: GaugeMetricFamily(metric, text, labels=["run"]) for name, metric, text in _RUN_GAUGES
        }
        families["incidents_open"] = GaugeMetricFamily(
            "anomaly_incidents_open", "Incidents that are open now.", labels=["run", "severity"]
        )
        families["opened"] = GaugeMetricFamily(
            "anomaly_incident_opened_timestamp_seconds",
            "Since when an incident of this kind is open; gone once none is.",
            labels=["run", "kind", "severity"],
        )
        families["phases"] = GaugeMetricFamily(
            "anomaly_runs_in_phase", "Runs that this worker knows, by where they stand.", labels=["phase"]
        )
        return families


class WorkerMetrics:
    """The worker's own counts. `registry` is the caller's; nothing global is touched."""

    def __init__(self, registry: CollectorRegistry, max_runs: int) -> None:
        self.registry = registry
        self.runs = RunCollector(registry, max_runs)
        self._add_stream()
        self._add_incidents()
        self._add_state()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _add_stream(self) -> None:
        self.records = self._counter("anomaly_records_total", "Messages read from telemetry.")
        self.values = self._counter("anomaly_values_total", "Values judged: one per series and step.")
        self.bytes = self._counter(
            "anomaly_telemetry_bytes_total", "Bytes of the messages read from telemetry."
        )
        self.lag = self._gauge("anomaly_lag_records", "Messages in telemetry not yet processed.", "partition")
        self.seconds_behind = self._gauge(
            "anomaly_seconds_behind",
            "Age of the message processed last, of the partition that is furthest behind; 0 when none is.",
        )
        self.forwarded = self._counter("anomaly_forwarded_total", "Messages sent on to their home partition.")
        self.ignored = self._counter(
            "anomaly_ignored_total", "Records that change nothing: duplicates, late ones and the like.", "reason"
        )  # fmt: skip
        for reason in ("duplicate", "late", "replaced_session"):
            self.ignored.labels(reason)
        self.refused_values = self._counter(
            "anomaly_refused_values_total", "Values of series that a run may not have: beyond a limit.", "reason"
        )  # fmt: skip
        for reason in ("series_limit", "layer_limit"):
            self.refused_values.labels(reason)
        self.missing_offsets = self._counter(
            "anomaly_missing_offsets_total", "Offsets telemetry did not have: retention was faster, or transactions."
        )  # fmt: skip
        self.processing = Histogram(
            "anomaly_processing_seconds", "Time to judge one batch of messages of one partition.",
            buckets=PROCESSING_BUCKETS, registry=self.registry,
        )  # fmt: skip

    def _add_incidents(self) -> None:
        self.dead_letters = self._counter(
            "anomaly_dead_letters_total", "Messages refused, by reason.", "reason"
        )
        for reason in Reason:
            self.dead_letters.labels(reason)
        self.incidents = self._counter("anomaly_incidents_total", "Incidents opened.", "kind", "severity")
        for kind in KINDS:
            for severity in Severity:
                self.incidents.labels(kind, severity)
        self.transitions = self._counter(
            "anomaly_transitions_total", "Incident transitions sent, by status.", "status"
        )
        for status in ("opened", "updated", "resolved"):
            self.transitions.labels(status)
        self.repeated = self._counter(
            "anomaly_repeated_transitions_total",
            "Transitions met again in a replay and not sent a second time.",
        )
        self.latency = Histogram(
            "anomaly_incident_latency_seconds", "From a record's timestamp to the acknowledgement of its transition.",
            buckets=LATENCY_BUCKETS, registry=self.registry,
        )  # fmt: skip

    def _add_state(self) -> None:
        self.snapshots = self._counter("anomaly_snapshots_total", "Run states saved to the changelog.")
        self.snapshot_bytes = self._counter("anomaly_snapshot_bytes_total", "Bytes of the run states saved.")
        self.snapshot_pause = self._gauge(
            "anomaly_snapshot_pause_seconds", "Longest pause of processing for a save since the start."
        )
        self.snapshot_age = self._gauge(
            "anomaly_snapshot_age_seconds",
            "How long the longest waiting change has not been saved; 0 when all is.",
        )
        self.ready = self._gauge(
            "anomaly_ready", "1 while partitions are assigned and their states are recovered."
        )
        self.partitions = self._gauge(
            "anomaly_assigned_partitions", "Telemetry partitions this worker reads."
        )
        self.live_runs = self._gauge("anomaly_runs", "Runs that this worker knows.")
        self.too_large = self._counter(
            "anomaly_too_large_states_total",
            "Runs that started cold because their state was too large to be saved.",
        )
        self.foreign = self._counter(
            "anomaly_foreign_snapshots_total",
            "Snapshots that another worker wrote late into a partition of ours; theirs are replaced.",
        )
        self.idle_runs = self._gauge("anomaly_idle_runs", "Of them, runs that are not in memory.")
        self.closed = self._counter(
            "anomaly_closed_runs_total", "Runs closed: finished or silent for long, and what was learned dropped."
        )  # fmt: skip
        self.forgotten = self._counter(
            "anomaly_forgotten_runs_total", "Runs dropped from the changelog, with a tombstone."
        )
        self.silent_runs = self._gauge("anomaly_silent_runs", "Runs that went silent and did not come back.")
        self.rebalances = self._counter(
            "anomaly_rebalances_total", "Assignments of partitions to this worker."
        )

    def set_lags(self, lags: Mapping[int, int], gone: Iterable[int] = ()) -> None:
        """Messages behind, by partition; the series of `gone` partitions disappear."""
        for partition in gone:
            self.lag.remove(str(partition))
        for partition, lag in lags.items():
            self.lag.labels(str(partition)).set(max(lag, 0))
