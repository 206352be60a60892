"""SCALE.md: the plans of `scale` and the rebalances of `group_simulation` in words and tables."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import fields

from benchmarks.group_simulation import Group, Rebalance
from benchmarks.scale import Assumptions, Costs, Plan, bottleneck, plan

SIZES = ((1_000, 1), (10_000, 1), (100_000, 1), (1, 10_000))
"""(runs, ranks that report) of each plan."""
WORKERS = 100
PARTITIONS = (512, 500)
GROUP_LIMIT_BYTES = 1_048_588
"""Kafka's default message.max.bytes, which the coordinator's record of a group must obey."""


def page(costs: Costs) -> str:
    """The whole page. Takes some seconds: the groups are large."""
    return (
        "\n\n".join([_HEAD, *on_paper(costs, Assumptions()), _GROUP, _rebalances(), _limit(), _READING])
        + "\n"
    )


def on_paper(costs: Costs, given: Assumptions) -> list[str]:
    """What was measured, what is assumed, and what follows."""
    plans = [plan(runs, ranks, costs, given) for runs, ranks in SIZES]
    return [_measured(costs), _assumed(given), _ARITHMETIC, _plans(plans), _bottlenecks(plans, given)]


def _measured(costs: Costs) -> str:
    rows = [f"| `{field.name}` | {getattr(costs, field.name):,.4g} |" for field in fields(costs)]
    return "\n".join(["## Measured (results.json)", "", "| row | value |", "|---|--:|", *rows])


def _assumed(given: Assumptions) -> str:
    rows = [f"| `{field.name}` | {getattr(given, field.name):g} |" for field in fields(given)]
    return "\n".join(
        ["## Assumed (`benchmarks/scale.py` says what each is)", "", "| | |", "|---|--:|", *rows]
    )


def _plans(plans: list[Plan]) -> str:
    lines = {
        "busy cores of the workers": [f"{each.cores:.2g}" for each in plans],
        "workers of one core": [f"{each.workers:,}" for each in plans],
        "cores that the largest run needs": [f"{each.largest_run_cores:.2g}" for each in plans],
        "memory of states, GiB": [f"{each.memory_gib:.2g}" for each in plans],
        "partitions": [f"{each.partitions:,}" for each in plans],
        "telemetry, MB/s": [f"{each.telemetry_mb:,.3g}" for each in plans],
        "snapshots, MB/s": [f"{each.changelog_mb:,.2g}" for each in plans],
        "brokers": [f"{each.brokers:,}" for each in plans],
        "disk, TB with replicas": [f"{each.disk_tb:,.3g}" for each in plans],
        "a dead worker's runs back after, s": [f"{each.recovery_seconds:.1f}" for each in plans],
        "dollars a month": [f"{sum(each.dollars.values()):,.0f}" for each in plans],
        "of which workers / brokers / disks": [
            " / ".join(f"{dollars:,.0f}" for dollars in each.dollars.values()) for each in plans
        ],
    }
    head = "| | " + " | ".join(_title(each) for each in plans) + " |"
    rows = [f"| {name} | " + " | ".join(cells) + " |" for name, cells in lines.items()]
    return "\n".join(["## Plans", "", head, "|---" + "|--:" * len(plans) + "|", *rows])


def _title(of: Plan) -> str:
    return f"{of.runs:,} runs" if of.ranks == 1 else f"one run of {of.ranks:,} ranks"


def _bottlenecks(plans: list[Plan], given: Assumptions) -> str:
    lines = [f"- **{_title(each)}**: {bottleneck(each, given)}." for each in plans]
    return "\n".join(["The first bottleneck:", "", *lines])


def _rebalances() -> str:
    rows = [
        "| partitions | what happens | moved | of living workers | a worker has | group's record |",
        "|--:|---|--:|--:|---|--:|",
    ]
    for partitions in PARTITIONS:
        for what, found in _simulated(partitions):
            rows.append(
                f"| {partitions} | {what} | {found.moved} ({found.moved / partitions:.0%}) | {found.from_living} "
                f"| {found.fewest} to {found.most} | {found.group_bytes / 1e6:.2f} MB |"
            )
    return "\n".join(rows)


def _simulated(partitions: int) -> list[tuple[str, Rebalance]]:
    group = Group(partitions)
    group.join(*(f"worker-{number}" for number in range(WORKERS)))
    return [
        (f"one leaves {WORKERS}", group.leave("worker-7")),
        ("it comes back", group.join("worker-7")),
        (f"one joins {WORKERS}", group.join("worker-new")),
        ("the leader leaves", group.leave("worker-0")),
    ]


def _limit() -> str:
    return (
        f"With {PARTITIONS[0]} partitions the record of the group outgrows Kafka's default limit of a message "
        f"({GROUP_LIMIT_BYTES:,} bytes) at **{largest_group(PARTITIONS[0])} workers**."
    )


def largest_group(partitions: int) -> int:
    """The smallest number of workers whose group the coordinator refuses to record; found by halving."""

    def refused(workers: int) -> bool:
        group = Group(partitions)
        group.join(*(f"worker-{number}" for number in range(workers - 1)))
        return group.join("worker-new").group_bytes > GROUP_LIMIT_BYTES

    return bisect_left(range(partitions), True, lo=2, hi=2 * WORKERS, key=refused)


_HEAD = """\
# Past one machine, on paper

Written by `python -m benchmarks.scale`, and by `make bench` at its end. Nothing on this page was run on more than the
machine of RESULTS.md."""

_ARITHMETIC = """\
How the plans follow: a record costs `values_a_record` × `cost_growth` / `throughput_1k` of a core (the growth for runs
that fill no cache), a record of one of many ranks `cost_rank_record`; workers are busy to `worker_load`; four
partitions a worker at least, so that load can move, and a power of two; one run is one partition. A broker writes
telemetry once a replica and a saved state `cleaning` times a replica; disks keep telemetry for `retention_days` and the
changelog at twice the live state. A dead worker is noticed after 6 s; the others then read its share of states at the
rate measured in `recovery_1000_runs`."""

_GROUP = """\
## A group of 100 workers

Faust's assignor, fed with the members' real metadata, partition by partition. All of the group pauses in each
rebalance: workers save what changed (2 s at most), join, and read the states of what is new to them."""

_READING = """\
What follows from it:

- The assignor gives every worker ⌊partitions / workers⌋ first and takes from all who have more. Where that number falls
  because one worker joins (500 over 100, then 101), every worker gives one partition away, and the newcomer gets one.
  Where it stays, a dozen move. So many more partitions than workers help: a move is then a small share.
- Each member's metadata lists the partitions of all members, so the record of the group grows with their product.
  Apache Kafka 4.1 was tried with 4 members of 0.4 MB each: above its limit every join fails with `UnknownError` at
  SyncGroup. Before a group of that size raise `message.max.bytes` of the brokers, or run one group per topic prefix:
  teams with a prefix of their own need no common group."""
