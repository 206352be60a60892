"""Transitions made by hand are counted as the contracts say."""

from __future__ import annotations

import msgspec
import pytest

from anomaly.incidents.kinds import KINDS
from benchmarks.detection.labels import CODES, Benign, Fault, Label
from benchmarks.detection.scoring import RunScore, differing_families, score
from benchmarks.detection.tally import by_fault, later, tally
from tests.detection.transitions import transition

FAULT = Fault("F09", "layer_gradient_spike", 100, 25, layer="blocks.3.mlp.up", block="blocks.3")
FAULTY = Label("run", "develop", "model", 1000, healthy=False, fault=FAULT, ranks=4)
HEALTHY = Label("run", "develop", "model", 1000, healthy=True)


def delays(scored: RunScore) -> list[float | None]:
    return [None if each.found is None else each.found.delay for each in scored.faults]


@pytest.mark.parametrize(("step", "delay"), [(99, None), (100, 0), (125, 25), (126, None)])
def test_a_fault_is_found_from_its_onset_to_the_end_of_its_budget_both_included(
    step: int, delay: float | None
) -> None:
    assert delays(score(FAULTY, [transition(step)])) == [delay]


def test_an_info_neither_finds_a_fault_nor_is_a_false_alarm() -> None:
    assert delays(score(FAULTY, [transition(100, "info")])) == [None]
    assert score(HEALTHY, [transition(100, "info")]).false_alarms == ()


def test_an_info_from_before_the_onset_that_rises_finds_the_fault_and_is_no_false_alarm() -> None:
    scored = score(FAULTY, [transition(90, "info"), transition(110, "warning", "updated")])
    assert delays(scored) == [10]
    assert scored.false_alarms == ()


def test_a_warning_from_before_the_onset_is_a_false_alarm_and_finds_nothing_by_staying_open() -> None:
    scored = score(FAULTY, [transition(90), transition(110, "warning", "updated", layers=("blocks.3",))])
    assert delays(scored) == [None]
    assert [alarm.page.step for alarm in scored.false_alarms] == [90]


@pytest.mark.parametrize(
    "news",
    [transition(110, "critical", "updated"), transition(110, "warning", "updated", kind="loss_divergence")],
)
def test_one_from_before_that_rises_or_becomes_something_else_finds_the_fault_and_stays_a_false_alarm(
    news: object,
) -> None:
    assert isinstance(news, msgspec.Struct)
    scored = score(FAULTY, [transition(90), news])  # type: ignore[list-item]
    assert delays(scored) == [10]
    assert len(scored.false_alarms) == 1
    assert not scored.false_alarms[0].critical


def test_a_silence_is_found_by_a_page_at_the_last_record_before_it() -> None:
    label = msgspec.structs.replace(FAULTY, fault=Fault("F48", "run_silent", 100, 300), logging_every=10)
    scored = score(label, [transition(90, "critical", kind="run_silent")])
    assert delays(scored) == [0]
    assert scored.false_alarms == ()
    assert len(score(label, [transition(89)]).false_alarms) == 1


def test_a_resolved_incident_is_no_page() -> None:
    assert delays(score(FAULTY, [transition(90, "info"), transition(110, "warning", "resolved")])) == [None]


def test_every_incident_that_pages_in_a_healthy_run_counts_once_and_critical_ones_apart() -> None:
    log = [
        transition(10),
        transition(40, "critical", "updated"),
        transition(50, "critical", "resolved"),
        transition(60, incident="two"),
        transition(80, incident="two", status="updated", layers=("a",)),
    ]
    whole = tally([score(HEALTHY, log)])
    assert (whole.false_alarms, whole.critical_false_alarms, whole.quiet_steps) == (2, 1, 1000)
    assert whole.false_alarm_rate == 20


def test_quiet_steps_are_those_of_healthy_runs_and_those_before_the_onset() -> None:
    assert tally([score(HEALTHY, []), score(FAULTY, [])]).quiet_steps == 1100


def test_a_page_after_the_budget_is_neither_found_nor_a_false_alarm() -> None:
    scored = score(FAULTY, [transition(500)])
    assert delays(scored) == [None]
    assert scored.false_alarms == ()
    assert scored.faults[0].instead == "gradient_spike warning +400"


def test_a_spike_that_recovers_and_a_resize_may_not_page_and_are_no_part_of_recall() -> None:
    spike = Fault("F31", "loss_spike_transient", 100, 25)
    label = msgspec.structs.replace(FAULTY, fault=spike)
    assert score(label, [transition(101, "info")]).false_alarms == ()
    scored = score(label, [transition(101)])
    assert (len(scored.faults), len(scored.false_alarms), scored.quiet_steps) == (0, 1, 1000)


def test_a_second_fault_is_scored_alike_and_incidents_belong_to_the_onset_before_them() -> None:
    second = Fault("F22", "weights_frozen", 500, 5, layer="head")
    label = msgspec.structs.replace(FAULTY, second_fault=second)
    log = [
        transition(101),
        transition(300, incident="two"),
        transition(503, incident="three", kind="weights_frozen", layers=("a", "b", "head")),
    ]
    first, later = score(label, log).faults
    assert first.found is not None
    assert first.found.incidents == 2
    assert later.found is not None
    assert (later.found.delay, later.found.localised, later.found.right_kind) == (3, True, True)
    assert tally([score(label, log)]).incidents_per_fault == 1.5


@pytest.mark.parametrize(
    ("layers", "right"),
    [
        (("blocks.3.mlp.up",), True),
        (("a", "b", "blocks.3.attention"), True),
        (("blocks",), True),
        (("a", "b", "c", "blocks.3.mlp.up"), False),
        (("blocks.30.mlp.up",), False),
        ((), False),
    ],
)
def test_localised_is_the_layer_or_its_block_among_the_first_three(
    layers: tuple[str, ...], right: bool
) -> None:
    found = score(FAULTY, [transition(101, layers=layers)]).faults[0].found
    assert found is not None
    assert found.localised is right


def test_nobody_can_name_a_layer_in_a_run_that_reports_none() -> None:
    label = msgspec.structs.replace(FAULTY, missing=("layers",))
    found = score(label, [transition(101)]).faults[0].found
    assert found is not None
    assert found.localised is None


def test_what_is_named_is_read_from_the_last_state_within_the_budget() -> None:
    log = [
        transition(101, layers=("wrong",), kind="loss_divergence"),
        transition(121, status="updated", layers=("blocks.3",)),
        transition(141, status="updated", layers=("wrong",), kind="straggler"),
    ]
    found = score(FAULTY, log).faults[0].found
    assert found is not None
    assert (found.kind, found.localised, found.localised_at_once) == ("gradient_spike", True, False)
    assert (found.right_kind, found.right_family) == (False, True)


@pytest.mark.parametrize(
    ("ranks", "right"), [((2,), True), ((1, 2), True), ((0, 1, 2, 3), False), ((), False)]
)
def test_a_rank_is_named_only_if_not_all_are(ranks: tuple[int, ...], right: bool) -> None:
    label = msgspec.structs.replace(FAULTY, fault=msgspec.structs.replace(FAULT, rank=2))
    found = score(label, [transition(101, ranks=ranks)]).faults[0].found
    assert found is not None
    assert found.rank_named is right


def test_invisible_faults_are_counted_apart() -> None:
    hidden, shown, unknown = (
        msgspec.structs.replace(score(FAULTY, []).faults[0], visible=p) for p in (1e-3, 1e-9, None)
    )
    run = msgspec.structs.replace(score(FAULTY, []), faults=(hidden, shown, unknown))
    assert tally([run]).faults == 2
    assert by_fault([run])["F09 layer_gradient_spike"].faults == 2


def test_faults_after_another_of_their_run_are_counted_apart_too() -> None:
    label = msgspec.structs.replace(FAULTY, second_fault=msgspec.structs.replace(FAULT, onset_step=600))
    runs = [score(label, [transition(101)]), score(FAULTY, [])]
    assert (tally(runs).found, tally(runs).faults) == (1, 3)
    assert (tally(later(runs)).found, tally(later(runs)).faults) == (0, 1)


def test_a_false_alarm_says_which_benign_event_came_before_it() -> None:
    label = msgspec.structs.replace(HEALTHY, benign=(Benign("warm_restart", 5, True), Benign("resume", 20)))
    assert [alarm.near for alarm in score(label, [transition(30)]).false_alarms] == [
        "resume (unannounced) +10"
    ]


def test_every_kind_has_a_code_and_families_differ_only_where_it_is_known() -> None:
    assert set(KINDS) == set(CODES)
    assert differing_families() == {
        "duplicate_run": ("identity", "special"),
        "resize": ("identity", "special"),
    }
