"""Declared pauses, missing ranks, closed runs: when a silence is none, and what the timers may not touch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from anomaly.incidents import Status
from anomaly.monitor import Limits
from tests.monitor.logs import monitor
from tests.monitor.timed import SILENT, Watched


@pytest.mark.parametrize(
    ("events", "quiet"),
    [
        ([{"kind": "pause", "seconds": 600}], 650),
        ([{"kind": "eval_start"}], 40_000),
        ([{"kind": "checkpoint_start"}], 40_000),
        ([{"kind": "finished", "outcome": "completed"}], 200_000),
    ],
)
def test_a_declared_pause_and_a_finished_run_are_quiet(events: list[dict[str, Any]], quiet: float) -> None:
    watched = Watched()
    watched.steps(range(20))
    watched.record(step=20, loss=1.0, events=events)
    watched.pass_(quiet)
    assert watched.seen == []


@pytest.mark.parametrize(
    "events",
    [
        [{"kind": "pause", "seconds": 600}],
        [{"kind": "pause", "seconds": "long"}],
        [{"kind": "eval_start"}, {"kind": "checkpoint_start"}],
    ],
)
def test_a_pause_is_over_when_the_run_goes_on(events: list[dict[str, Any]]) -> None:
    watched = Watched()
    watched.steps(range(20))
    watched.record(step=20, loss=1.0, events=events)
    watched.pass_(50)
    watched.steps(range(21, 40))
    watched.pass_(80)
    assert watched.seen == SILENT


def test_a_pause_is_over_with_its_end_and_its_length_is_known_the_next_time() -> None:
    watched = Watched()
    watched.steps(range(20))
    watched.record(step=20, loss=1.0, events=[{"kind": "eval_start"}])
    watched.pass_(500)
    watched.record(step=21, loss=1.0, events=[{"kind": "eval_end"}])
    watched.pass_(61)
    assert watched.seen == SILENT
    watched.steps(range(22, 30))
    watched.record(step=30, loss=1.0, events=[{"kind": "eval_start"}])
    watched.pass_(3600)
    assert len(watched.seen) == 2
    watched.pass_(1600)
    assert len(watched.seen) == 3


def world(watched: Watched, ranks: Iterable[int], steps: Iterable[int], size: int = 8) -> None:
    for step in steps:
        for rank in ranks:
            watched.record(step=step, rank=rank, loss=1.0, place={"world_size": size})
        watched.pass_(1)


def test_a_rank_that_never_came_is_named_and_resolved_when_it_comes() -> None:
    watched = Watched()
    world(watched, (0, 1, 2, 3, 4, 6, 7), range(90))
    assert watched.seen == [("partial_telemetry", Status.OPENED)]
    assert watched.transitions[0].ranks == (5,)
    world(watched, range(8), range(90, 92))
    assert watched.seen[1:] == [("partial_telemetry", Status.RESOLVED)]


def test_where_most_ranks_never_report_nobody_asked_them_to() -> None:
    watched = Watched()
    world(watched, (0, 4), range(200))
    assert watched.seen == []


def test_a_silent_world_is_one_incident_beside_the_missing_rank() -> None:
    watched = Watched()
    world(watched, (0, 1, 2), range(80), size=4)
    watched.pass_(100)
    assert watched.seen == [("partial_telemetry", Status.OPENED), ("run_silent", Status.OPENED)]
    assert len({transition.incident for transition in watched.transitions}) == 2


def test_a_run_that_was_closed_is_not_watched_and_its_return_ends_its_silence() -> None:
    watched = Watched(monitor(limits=Limits(silent_ms=1000, finished_ms=1000)))
    watched.steps(range(20))
    watched.pass_(70)
    watched.steps(range(20), run="finished")
    watched.record("finished", step=20, loss=1.0, events=[{"kind": "finished"}])
    later = {"timestamp": 1_790_000_100_000}
    watched.partition.process([watched.log.add(b'{"run":"other","step":1}', **later)])
    assert watched.partition.close("r1")
    assert watched.partition.close("finished")
    after = watched.restarted()
    after.pass_(3000)
    assert after.seen == []
    after.partition.lives.clock = 1_790_000_100_000
    outcome = after.partition.process([after.log.add(b'{"run":"r1","step":20}', **later)])
    after.timers.arrivals.update(outcome.touched)
    after.pass_(0.5)
    assert after.seen == [("run_silent", Status.RESOLVED)]
    assert after.partition.runs["r1"].attempt == 1
