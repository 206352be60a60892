"""The plans on paper: arithmetic that can be followed, and rebalances of Faust's own assignor."""

from __future__ import annotations

import pytest

from benchmarks.group_simulation import Group
from benchmarks.scale import Assumptions, Costs, bottleneck, plan
from benchmarks.scale_page import on_paper

COSTS = Costs(
    throughput_1k=20.48e6,
    cost_growth=2.0,
    cost_rank_record=400.0,
    memory_per_series=128.0,
    snapshot_bytes=75_000.0,
    recovery_1000_runs=8.0,
)
GIVEN = Assumptions()


def test_workers_follow_from_the_cost_of_a_value() -> None:
    found = plan(10_000, 1, COSTS, GIVEN)
    assert found.cores == pytest.approx(10_000 * 1024 * 2.0 / 20.48e6)
    assert found.workers == 2
    assert found.memory_gib == pytest.approx(10_000 * 1024 * 128 / 2**30)


def test_twice_the_load_on_a_worker_halves_the_workers() -> None:
    busy = plan(100_000, 1, COSTS, Assumptions(worker_load=1.0))
    assert plan(100_000, 1, COSTS, GIVEN).workers == 2 * busy.workers


def test_brokers_write_each_record_once_a_replica() -> None:
    one, three = (plan(100_000, 1, COSTS, Assumptions(replication=copies)) for copies in (1, 3))
    assert three.disk_tb == pytest.approx(3 * one.disk_tb)
    assert one.telemetry_mb == three.telemetry_mb == pytest.approx(425.0)
    assert three.brokers > one.brokers


def test_partitions_are_a_power_of_two_and_several_a_worker() -> None:
    for runs in (1_000, 10_000, 100_000):
        found = plan(runs, 1, COSTS, GIVEN)
        assert found.partitions.bit_count() == 1
        assert found.partitions >= max(32, 4 * found.workers)


def test_a_run_of_ten_thousand_ranks_is_too_much_for_its_one_partition() -> None:
    found = plan(1, 10_000, COSTS, GIVEN)
    assert found.largest_run_cores == pytest.approx(4.0)
    assert "no more than 2,500 ranks" in bottleneck(found, GIVEN)


def test_what_was_not_measured_is_not_guessed() -> None:
    with pytest.raises(ValueError, match="cost_growth, cost_rank_record"):
        Costs.read(
            {"throughput_1k": 1.0, "memory_per_series": 1.0, "snapshot_bytes": 1.0, "recovery_1000_runs": 1.0}
        )


def test_the_page_shows_every_figure_that_it_follows_from() -> None:
    text = "\n".join(on_paper(COSTS, GIVEN))
    for name in (*Costs.__dataclass_fields__, *Assumptions.__dataclass_fields__):
        assert f"`{name}`" in text


def test_a_group_shares_out_every_partition_whoever_leaves() -> None:
    group = Group(32)
    first = group.join("a", "b", "c", "d")
    assert (first.fewest, first.most) == (8, 8)
    left = group.leave("b")
    assert left.moved == 8
    assert left.from_living == 0
    assert left.fewest + left.most >= 20


def test_a_group_that_stays_keeps_its_partitions() -> None:
    group = Group(512)
    group.join(*(f"worker-{number}" for number in range(16)))
    left = group.leave("worker-3")
    assert 32 <= left.moved <= 32 + 15
    assert group.leave().moved == group.leave().moved <= 15
