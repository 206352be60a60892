"""The demo fails when a fault is missed, misnamed, told late or twice, or when the healthy run pages."""

from __future__ import annotations

import dataclasses

import pytest

from anomaly.demo.faults import Scenario, judge, scenarios
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import Severity, Status
from tests.commands.transitions import transition

FAULTY = Scenario("r", "NaN", "", 200, fault_step=118, budget=5, families=("nonfinite",), layer="h.3.mlp")
HEALTHY = Scenario("r", "healthy", "", 200)
INFO = Severity.INFO


def test_what_was_found_right_passes_whatever_is_said_later_of_the_same_incident() -> None:
    later = transition(transition=1, status=Status.UPDATED, step=180)
    resolved = transition(transition=2, status=Status.RESOLVED, step=190)
    remark = transition(incident="other", severity=INFO)
    assert judge(FAULTY, [transition(), later, resolved, remark]).passed


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ([], "missed"),
        ([transition(severity=INFO)], "missed"),
        ([transition(kind="loss_collapse")], "misnamed"),
        ([transition(layer="h.0")], "wrong layer"),
        ([transition(step=117)], "false alarm"),
        ([transition(step=124)], "late"),
        ([transition(), transition(incident="second")], "paged 2 times"),
        ([transition(severity=INFO), transition(transition=1, step=130)], "late"),
    ],
)
def test_what_was_found_wrong_fails_and_says_how(found: list[object], problem: str) -> None:
    (told,) = judge(FAULTY, found).problems  # type: ignore[arg-type]
    assert problem in told


def test_a_healthy_run_may_have_remarks_but_no_page() -> None:
    assert judge(HEALTHY, [transition(severity=INFO)]).passed
    (told,) = judge(HEALTHY, [transition()]).problems
    assert "a healthy run paged" in told


def test_every_fault_of_the_demo_is_of_families_that_exist_and_begins_within_its_run() -> None:
    for scenario in scenarios():
        assert set(scenario.families) <= {kind.family for kind in KINDS.values()}
        assert scenario.fault_step is None or scenario.fault_step + scenario.budget <= scenario.steps + 5
        quiet = dataclasses.replace(scenario, lr_factor=1.0, poison=False, noise_steps=0)
        for step in range(1, scenario.fault_step or scenario.steps):
            assert scenario.injected(step) == quiet.injected(step)
            assert scenario.lr(step) == quiet.lr(step)
