"""What larger installations need, on paper: ``python -m benchmarks.scale`` writes SCALE.md.

From the measured costs in results.json and the assumptions below, which are all there are. Nothing here was tried on
more than one machine; the group of many workers is Faust's own assignor on made-up members (`group_simulation`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log2
from pathlib import Path

import msgspec

PAGE = Path(__file__).parent / "SCALE.md"
RESULTS = Path(__file__).parent / "results.json"
MONTH_HOURS = 730
DAY_SECONDS = 86_400
MB, GIB = 1e6, 2**30
SESSION_SECONDS = 6.0
MIN_PARTITIONS = 32
MIN_BROKERS = 3


@dataclass(frozen=True)
class Costs:
    """What was measured, each a row of results.json."""

    throughput_1k: float
    cost_growth: float
    cost_rank_record: float
    memory_per_series: float
    snapshot_bytes: float
    recovery_1000_runs: float

    @classmethod
    def read(cls, rows: Mapping[str, float | None]) -> Costs:
        """Of all rows the ones that count here. ValueError if one was not measured."""
        needed = {name: rows.get(name) for name in cls.__dataclass_fields__}
        if missing := sorted(name for name, value in needed.items() if value is None):
            raise ValueError(f"results lack {', '.join(missing)}; run `make bench` first")
        return cls(**{name: value for name, value in needed.items() if value is not None})

    @property
    def core_seconds_a_value(self) -> float:
        """With thousands of runs, whose states fill no cache."""
        return self.cost_growth / self.throughput_1k


@dataclass(frozen=True)
class Assumptions:
    """What was not measured. Change them to your own and run this again."""

    records_a_second: float = 1.0
    """Of each rank that reports."""
    values_a_record: int = 1024
    record_bytes: int = 4250
    """4 bytes a value, and key, place and the log's own."""
    worker_load: float = 0.5
    """Share of a core that a worker may be busy, so that it catches up after a rebalance."""
    replication: int = 3
    retention_days: float = 7.0
    turnover_seconds: float = 30.0
    """Every changing state is saved once in this time."""
    cleaning: float = 2.0
    """Bytes written to the changelog's disks for each byte saved: once, and once more by the cleaner."""
    broker_write_mb: float = 100.0
    """Sustained writing of one broker in MB/s, replicas included: a network disk of 250 MB/s, well under half used."""
    partition_mb: float = 5.0
    """MB/s that a partition is planned for."""
    broker_cores: int = 4
    broker_gib: float = 16.0
    core_hour: float = 0.04
    gib_hour: float = 0.005
    disk_gb_month: float = 0.08
    """Dollars, assumed in November 2026 as the order of what clouds list, not looked up. No traffic between zones."""


@dataclass(frozen=True)
class Plan:
    """What an installation of `runs` runs, each reported by `ranks` ranks, needs."""

    runs: int
    ranks: int
    cores: float
    """Busy cores of all workers together."""
    workers: int
    largest_run_cores: float
    """Busy cores that one run needs. It lives in one partition, one worker: above 1 that one falls behind."""
    memory_gib: float
    partitions: int
    telemetry_mb: float
    changelog_mb: float
    brokers: int
    disk_tb: float
    recovery_seconds: float
    """From a worker's death to caught up, where the others take over its share."""
    dollars: Mapping[str, float]
    """A month's, by what it is for."""


def plan(runs: int, ranks: int, costs: Costs, given: Assumptions) -> Plan:
    """The arithmetic, each line one sentence of SCALE.md."""
    records = runs * ranks * given.records_a_second
    single = given.values_a_record * costs.core_seconds_a_value
    a_record = single if ranks == 1 else costs.cost_rank_record / 1e6
    cores = records * a_record
    workers = 2 if runs == 1 else max(2, ceil(cores / given.worker_load))
    telemetry = records * given.record_bytes / MB
    changelog = runs * costs.snapshot_bytes / given.turnover_seconds / MB
    wanted = max(MIN_PARTITIONS, 4 * workers, telemetry / given.partition_mb)
    partitions = MIN_PARTITIONS if runs == 1 else 2 ** ceil(log2(wanted))
    written = given.replication * (telemetry + given.cleaning * changelog)
    brokers = max(MIN_BROKERS, ceil(written / given.broker_write_mb))
    kept = telemetry * given.retention_days * DAY_SECONDS + 2 * runs * costs.snapshot_bytes / MB
    disk_tb = given.replication * kept / 1e6
    memory = runs * given.values_a_record * costs.memory_per_series / GIB
    return Plan(
        runs, ranks, cores, workers, ranks * given.records_a_second * a_record, memory, partitions,
        telemetry, changelog, brokers, disk_tb, _recovery(runs, workers, costs), {
            "workers": MONTH_HOURS * (workers * given.core_hour + (workers + memory) * given.gib_hour),
            "brokers": MONTH_HOURS * brokers * _broker_hour(given),
            "disks": disk_tb * 1000 * given.disk_gb_month,
        },
    )  # fmt: skip


def _broker_hour(given: Assumptions) -> float:
    return given.broker_cores * given.core_hour + given.broker_gib * given.gib_hour


def _recovery(runs: int, workers: int, costs: Costs) -> float:
    """Half a second at least for a thousand runs, however soon the measured one was back behind its time-out."""
    share = runs / workers / max(1, workers - 1)  # a dead worker's runs, over those that take them
    return SESSION_SECONDS + max(0.5, costs.recovery_1000_runs - SESSION_SECONDS) * max(1.0, share / 1000)


def bottleneck(found: Plan, given: Assumptions) -> str:
    """What gives way first as this installation grows, and what costs most."""
    if found.largest_run_cores > 1:
        most = int(found.ranks / found.largest_run_cores)
        return (
            f"one run is one partition and one worker's core, and this one needs {found.largest_run_cores:.1f} cores: "
            f"at {given.records_a_second:g} record a second and rank no more than {most:,} ranks may report, or each "
            f"of them every {ceil(found.largest_run_cores / given.worker_load)} s"
        )
    dearest = max(found.dollars, key=lambda name: found.dollars[name])
    share = found.dollars[dearest] / sum(found.dollars.values())
    return f"{_first_limit(found, given)}; the {dearest} take {share:.0%} of the money{_CHEAPER[dearest]}"


_CHEAPER = {
    "disks": ", nearly all for telemetry: keep it for fewer days",
    "brokers": "",
    "workers": "",
}


def _first_limit(found: Plan, given: Assumptions) -> str:
    if found.brokers > MIN_BROKERS:
        saves = given.cleaning * found.changelog_mb
        share = saves / (saves + found.telemetry_mb)
        return (
            f"the brokers' disks, at {given.broker_write_mb:g} MB/s each; {share:.0%} of what they write are saved "
            "states, which a longer turnover makes fewer, for a longer replay after a crash"
        )
    if found.cores > given.worker_load:
        return "one worker's core, so that several workers share the partitions"
    return "nothing: one worker's core is enough, and the second is there for its end"


def read_results(path: Path = RESULTS) -> dict[str, float | None]:
    """Value by row name."""
    return {row["name"]: row["value"] for row in msgspec.json.decode(path.read_bytes())}


def main() -> None:
    """Write the page."""
    from benchmarks.scale_page import page  # simulates a large group, which takes seconds

    PAGE.write_text(page(Costs.read(read_results())), "utf-8")
    sys.stdout.write(f"written to {PAGE}\n")


if __name__ == "__main__":
    main()
