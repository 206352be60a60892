from __future__ import annotations

from typing import Any

import pytest

from anomaly.incidents import Severity, Status
from tests.monitor.logs import Log, healthy, log_of, monitor, outcome_of, training, transitions_of

NAN = float("nan")


def sent(session: int, sequence: int, step: int, **fields: Any) -> dict[str, Any]:
    return {"run": "r1", **healthy(step), "session": session, "sequence": sequence, **fields}


def test_a_repeated_sequence_is_ignored_and_counted() -> None:
    records = [sent(7, at, at) for at in range(10)]
    once, twice = log_of(records), log_of([*records, sent(7, 9, 9, loss=NAN), sent(7, 3, 3)])
    outcome = outcome_of(twice)
    assert outcome.transitions == [] == outcome_of(once).transitions
    assert outcome.counts["duplicate"] == 2
    assert outcome.counts["judged"] == 10


def test_a_new_session_is_a_new_attempt_and_closes_what_was_open() -> None:
    records = [sent(7, at, at, **({"loss": NAN} if at == 49 else {})) for at in range(50)]
    records += [sent(8, at, 40 + at, **({"loss": NAN} if at == 9 else {})) for at in range(20)]
    transitions = transitions_of(records)
    assert [(each.status, each.attempt, each.step) for each in transitions] == [
        (Status.OPENED, 0, 49),
        (Status.RESOLVED, 0, 40),
        (Status.OPENED, 1, 49),
    ]
    assert transitions[0].incident != transitions[2].incident


@pytest.mark.parametrize("events", [[], [{"kind": "resume"}]])
@pytest.mark.parametrize("with_session", [False, True])
def test_the_same_fault_after_the_last_checkpoint_is_another_incident(
    events: list[dict[str, Any]], with_session: bool
) -> None:
    """The run diverges, is started again from its checkpoint at step 80, and diverges at the same step."""
    attempts = [training(range(160)), training(range(80, 160))]
    attempts[0][80]["events"] = [{"kind": "checkpoint_end"}]
    attempts[1][0]["events"] = events
    for session, records in enumerate(attempts, 1):
        for sequence, record in enumerate(records):
            if record["step"] >= 140:
                record["loss"] *= 20.0
            if with_session:
                record |= {"session": session, "sequence": sequence}
    transitions = transitions_of(attempts[0] + attempts[1])
    serious = [each for each in transitions if each.severity is not Severity.INFO]
    found = list({each.incident: each for each in serious if each.status is not Status.RESOLVED}.values())
    assert [each.attempt for each in found] == [0, 1]
    assert [140 <= each.step <= 160 for each in found] == [True, True]
    assert found[0].kind == found[1].kind
    assert found[0].incident != found[1].incident
    assert found[0].last_checkpoint_step == 80


def test_a_rank_that_starts_over_later_joins_the_attempt_that_another_opened() -> None:
    partition, log = monitor(), Log()
    for at in range(20):
        for rank in (0, 1):
            log.json(**sent(10 + rank, at, at, rank=rank))
    log.json(**sent(20, 0, 10, rank=0))
    log.json(**sent(21, 0, 10, rank=1))
    log.json(**sent(30, 0, 5, rank=1))
    partition.process(log.records)
    assert partition.runs["r1"].attempt == 2
    assert [partition.runs["r1"].ranks[rank].attempt for rank in (0, 1)] == [1, 2]


def test_three_records_of_a_replaced_session_are_two_jobs_under_one_run() -> None:
    records = [sent(1, at, at) for at in range(5)] + [sent(2, 0, 5)]
    for at in range(3):
        records += [sent(1, 5 + at, 5 + at, loss=NAN), sent(2, 1 + at, 6 + at)]
    (incident,) = transitions_of(records)
    assert (incident.kind, incident.step) == ("duplicate_run", 8)


def test_two_jobs_of_which_the_second_begins_anew_are_told_of_where_the_first_one_is() -> None:
    records = [sent(1, at, at) for at in range(50)] + [sent(2, 0, 0)]
    for at in range(3):
        records += [sent(1, 50 + at, 50 + at), sent(2, 1 + at, 1 + at)]
    (incident,) = transitions_of(records)
    assert (incident.kind, incident.step, incident.first_step) == ("duplicate_run", 52, 52)


def test_without_sessions_a_single_late_step_is_dropped() -> None:
    steps = [0, 1, 2, 4, 3, 5, 6]
    log = log_of({"run": "r1", "step": step, "loss": 1.0} for step in steps)
    outcome = outcome_of(log)
    assert outcome.counts["judged"] == 6
    assert outcome.counts["late"] == 1
    assert not outcome.transitions


def test_without_sessions_the_third_rising_late_step_is_a_restart_and_all_three_are_judged() -> None:
    partition = monitor()
    records = training(range(50)) + training([20, 21, 22, 23])
    records[51]["loss"] = NAN  # step 21 waits until step 22 makes it a restart
    outcome = partition.process(log_of(records).records)
    ((_, incident),) = outcome.transitions
    assert (incident.step, incident.attempt) == (21, 1)
    assert incident.source is not None
    assert incident.source.offset == 51
    assert partition.runs["r1"].newest_step == 23_000_000


def test_a_record_of_the_old_line_between_late_ones_means_they_were_only_late() -> None:
    partition = monitor()
    steps = [*range(10), 3, 10, 4, 11, 5, 12]
    partition.process(log_of({"run": "r1", "step": step, "loss": 1.0} for step in steps).records)
    assert partition.runs["r1"].attempt == 0


def test_an_equal_step_again_and_again_never_becomes_a_restart() -> None:
    partition = monitor()
    steps = [*range(10), 9, 9, 9, 9]
    partition.process(log_of({"run": "r1", "step": step, "loss": 1.0} for step in steps).records)
    assert partition.runs["r1"].attempt == 0


def test_fractional_and_negative_steps_are_steps() -> None:
    log = log_of({"run": "r1", "step": step, "loss": 1.0} for step in (-2, -1.5, 0, 0.25, 0.5))
    assert outcome_of(log).counts["judged"] == 5


def test_a_healthy_restart_far_back_stays_quiet() -> None:
    assert transitions_of(training(range(400)) + training(range(100, 400))) == []


@pytest.mark.parametrize("lasting", [20, 60])
def test_a_jump_soon_after_the_checkpoint_that_a_run_goes_on_from_is_found(lasting: int) -> None:
    attempts = [training(range(300)), training(range(200, 300))]
    for record in attempts[1]:
        if 220 <= record["step"] < 220 + lasting:
            record["loss"] *= 20.0
    serious = [
        each for each in transitions_of(attempts[0] + attempts[1]) if each.severity is not Severity.INFO
    ]
    assert [(each.attempt, each.kind) for each in serious[:1]] == [(1, "loss_spike_persistent")]
    assert 220 <= serious[0].step <= 240


def test_a_run_that_begins_anew_is_expected_to_be_elsewhere() -> None:
    first, again = training(range(400)), training(range(120))
    for record in again:
        record["loss"] *= 6.0
        record["grad_norm_total"] *= 10.0
        for signals in record["layers"].values():
            signals["grad_norm"] *= 10.0
            signals["act_rms"] *= 4.0
    assert transitions_of(first + again) == []
