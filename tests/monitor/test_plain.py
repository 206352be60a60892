"""The short way of plain records changes nothing: the same log, with and without it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from anomaly import json_records
from anomaly.monitor import Limits, snapshot
from anomaly.monitor.apply import apply_steps
from anomaly.monitor.history import History
from anomaly.monitor.limits import Watch
from anomaly.monitor.plain import QUIET, take_plain
from anomaly.records import StepMessage
from tests.monitor.logs import Log, healthy, log_of, monitor, states, training

SEEDS = range(12)
LONG_WAY = Limits(watches=(Watch("no such signal", "drift.ADWIN"),))
"""A watched run takes the long way with every record; this watch has nothing to watch."""


def _odd(random: np.random.Generator, record: dict[str, Any]) -> None:
    """Change one thing about a record, as runs and their producers do."""
    layer = record["layers"]["h.1"]
    changes: list[Any] = [
        lambda: record.update(loss=float("nan")),
        lambda: record.update(loss=2.5),
        lambda: record.update(loss=-1.0),
        lambda: record.pop("loss"),
        lambda: record.update(lr=record["lr"] * random.choice([0.0, 0.1, 1.4, 3.0, 30.0])),
        lambda: record.update(tokens=float(random.choice([0, 1000, 1200, 4000]))),
        lambda: record.update(skipped=int(random.integers(2))),
        lambda: record.update(loss_scale=float(2 ** random.integers(4))),
        lambda: record.update(input_hash=float(random.integers(2))),
        lambda: layer.update(grad_norm=float(random.choice([0.0, 50.0, np.inf]))),
        lambda: layer.update(act_nonfinite=1.0),
        lambda: record.update(events=[{"kind": str(random.choice(["resume", "data_mix", "finished"]))}]),
        lambda: record.update(rank=1),
        lambda: record.update(step=record["step"] - int(random.integers(1, 5))),
        lambda: record.update(step=record["step"] + int(random.integers(5, 50))),
        lambda: record.update(time=1.79e9 + record["step"]),
        lambda: record.update(tags={"owner": "me"}),
    ]
    open_no_incident = changes[1:2] + changes[3:9] + changes[13:]
    changes += 4 * open_no_incident
    changes[int(random.integers(len(changes)))]()


def _log(seed: int) -> Log:
    """Two runs, one with sessions: calm for a while, then with faults that stay or pass and odd records.

    Every third log reports each 20th step only; in every other one the loss is stuck for a while; in every fourth the
    learning rate creeps up, in another fourth the loss.
    """
    random = np.random.default_rng(seed)
    log, sequence, session, fault = Log(), 0, 7, 0
    stuck = range(60, 90) if seed % 2 else range(0)
    for step in range(350):
        for run in ("r1", "r2"):
            record = {"run": run, **healthy(step, seed)}
            if run == "r2" and random.random() < 0.5:
                continue
            if step > 100 and random.random() < 0.005:
                fault = int(random.integers(1, 8))
            record["lr"] *= min(1.0, (step + 1) / 30) * (1.02 if seed % 4 == 0 else 0.999) ** step
            record["loss"] *= (1.004 if seed % 4 == 1 else 1.0) ** step
            if seed % 3 == 0:
                record["step"] *= 20
            if step in stuck:
                record["loss"] = 2.125
            if fault and run == "r1":
                fault -= 1
                record["loss"] *= 3
                record["layers"]["h.0"]["grad_norm"] *= 20
            if step > 20 and random.random() < 0.03:
                _odd(random, record)
            if run == "r1":
                if random.random() < 0.005:
                    session, sequence = session + 1, 0
                record |= {"session": session, "sequence": sequence}
                sequence += random.random() > 0.02
            log.json(**record)
    return log


@pytest.mark.parametrize("seed", SEEDS)
def test_the_short_way_changes_no_bit_of_state_and_no_transition(seed: int) -> None:
    log = _log(seed)
    short, long = monitor(), monitor(limits=LONG_WAY)
    found, expected = short.process(log.records), long.process(log.records)
    assert states(short) == states(long)
    encoded = [transition.encode() for _, transition in found.transitions]
    assert encoded == [transition.encode() for _, transition in expected.transitions]
    assert found.counts == expected.counts


def test_steps_that_go_back_within_a_session_stay_behind_the_newest_which_is_0() -> None:
    steps = [*range(-40, 1), -5, -3, -2]
    log = log_of(
        {**healthy(abs(at)), "run": "r1", "step": at, "session": 7, "sequence": n}
        for n, at in enumerate(steps)
    )
    short, long = monitor(), monitor(limits=LONG_WAY)
    short.process(log.records)
    long.process(log.records)
    assert short.runs["r1"].newest_step == 0
    assert states(short) == states(long)


def test_incidents_come_and_go_in_most_of_these_logs() -> None:
    """Logs in which nothing happens would show little."""
    ended = [{each.status for _, each in monitor().process(_log(seed).records).transitions} for seed in SEEDS]
    assert sum("resolved" in statuses for statuses in ended) > len(SEEDS) / 2


def test_a_calm_run_takes_the_short_way_save_for_the_look_at_its_last_readings() -> None:
    partition = monitor()
    partition.process(log_of(training(range(50))).records)
    state = partition.runs["r1"]
    ways = []
    for step in range(50, 66):
        record = json_records.decode(json.dumps({"run": "r1", **healthy(step)}).encode())
        assert isinstance(record, StepMessage)
        rank, values = state.ranks[0], record.values[0]
        ways.append(take_plain(state, rank, None, None, record.steps[0], record.times[0], values))
        if ways[-1] is None:
            apply_steps(state, record, None, Limits(), partition.outcome)
    assert ways.count(QUIET) == 15
    assert ways.count(None) == 1


def test_a_climb_that_only_its_own_chart_sees_opens_an_incident_by_either_way() -> None:
    log = Log()
    for step in range(700):
        reading = {"run": "r1", **healthy(step)}
        reading["loss"] *= 1.004 ** max(0, step - 300)
        log.json(**reading)
    short, long = monitor(), monitor(limits=LONG_WAY)
    found, expected = short.process(log.records), long.process(log.records)
    assert states(short) == states(long)
    assert [each.encode() for _, each in found.transitions] == [
        each.encode() for _, each in expected.transitions
    ]
    opened = [each for _, each in found.transitions if each.status == "opened"]
    assert opened[0].evidence[0].detector == "climb"


def test_the_newest_reading_is_known_by_either_way_and_after_a_look_at_them_all() -> None:
    partition = monitor()
    records = [{"run": "r1", **healthy(step)} for step in range(40)]
    for record, raw in zip(records, log_of(records).records, strict=True):
        partition.process([raw])
        assert partition.runs["r1"].history.newest("loss") == np.float32(record["loss"])
        assert partition.runs["r1"].history.newest("skipped") is None


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_a_batch_of_several_runs_brings_the_same_in_the_same_order_as_its_records_one_by_one(
    seed: int,
) -> None:
    log = _log(seed)
    _assert_cuts_change_nothing(log)


def test_what_a_fork_starts_from_and_when_a_run_is_closed_do_not_depend_on_the_batch() -> None:
    log, hours = Log(), 0
    for step in range(120):
        hours += 3 * (step == 60)
        log.json(run="r1", **healthy(step)).timestamp += hours * 3_600_000 + step
        for begins in range(100, min(step, 110)):
            fork = {"root": "r1", "parent": "r1", "step": begins}
            record = {"run": f"fork {begins}", **healthy(step, begins), "fork": fork}
            log.json(**record).timestamp += hours * 3_600_000 + step
    _assert_cuts_change_nothing(log)


def _assert_cuts_change_nothing(log: Log) -> None:
    limits = Limits(silent_ms=2 * 3_600_000)
    whole, single = monitor(limits=limits), monitor(limits=limits)
    found = [each.encode() for _, each in whole.process(log.records).transitions]
    outcomes = [single.process([record]) for record in log.records]
    assert found == [each.encode() for outcome in outcomes for _, each in outcome.transitions]
    assert {run: snapshot.dump(state) for run, state in whole.runs.items()} == {
        run: snapshot.dump(state) for run, state in single.runs.items()
    }


def test_what_the_looks_have_learned_outlives_a_history_without_readings() -> None:
    history = History()
    history.known["weights.checks"] = 3.0
    assert History(history.saved()).known == history.known
