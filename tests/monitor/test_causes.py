"""Which of several symptoms names an incident, and what is said to explain it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.monitor.logs import opened, training, transitions_of


def test_units_that_die_name_the_incident_that_their_weights_opened() -> None:
    def die(step: int, record: dict[str, Any]) -> None:
        noise = np.random.default_rng([5, step])
        for name, of_layer in record["layers"].items():
            dead = step >= 300 and name == "h.1"
            of_layer["weight_norm"] *= 4.0 if dead else 1.0
            if step % 10:
                del of_layer["act_rms"]
            else:
                of_layer["act_zero_frac"] = float(noise.normal(0.4, 0.01)) + (0.2 if dead else 0.0)

    transitions = transitions_of(training(range(380), die))
    (incident,) = opened(transitions)
    assert (incident.kind, incident.layer) == ("weight_blowup", "h.1")
    assert {(each.kind, each.layer) for each in transitions[1:]} == {("dead_units", "h.1")}


@pytest.mark.parametrize(("rate", "kind"), [(0.02, "weight_blowup"), (-0.02, "variance_collapse")])
def test_weights_that_are_scaled_name_it_and_updates_that_lead_elsewhere_are_too_large(
    rate: float, kind: str
) -> None:
    def updates(scaled: bool) -> str:
        def change(step: int, record: dict[str, Any]) -> None:
            of_layer = record["layers"]["h.1"]
            if step >= 300:
                of_layer["update_ratio"] = abs(rate)
                of_layer["weight_norm"] *= (1 + (rate if scaled else rate / 20)) ** (step - 300)

        last = {each.incident: each for each in transitions_of(training(range(360), change))}
        return next(each.kind for each in last.values() if each.layer == "h.1")

    assert updates(scaled=True) == kind
    assert updates(scaled=False) == "update_ratio_high"


def test_updates_of_a_gradient_that_vanished_are_not_the_cause() -> None:
    def vanish(step: int, record: dict[str, Any]) -> None:
        of_layer = record["layers"]["h.1"]
        fall = 0.5 ** max(0, step - 300)
        of_layer["update_ratio"] *= max(fall, 0.01)
        of_layer["grad_norm"] *= max(fall, 0.15)

    last = {each.incident: each for each in transitions_of(training(range(340), vanish))}
    assert [each.kind for each in last.values()] == ["gradient_vanishing"]


def test_a_noisy_layer_that_makes_the_whole_gradient_leap_is_named() -> None:
    def leap(step: int, record: dict[str, Any]) -> None:
        noise = np.random.default_rng([6, step])
        own = record["layers"]["h.1"]
        own["grad_norm"] = 0.3 * float(np.exp(0.5 * noise.standard_normal())) * (60.0 if step >= 300 else 1.0)
        record["grad_norm_total"] = float(np.hypot(record["grad_norm_total"], own["grad_norm"]))

    found = opened(transitions_of(training(range(310), leap)))
    assert [(each.kind, each.layer) for each in found] == [("layer_gradient_spike", "h.1")]


def test_an_incident_explains_what_was_considered_and_what_may_explain_it() -> None:
    def jump(step: int, record: dict[str, Any]) -> None:
        record["tokens"] = 1024
        if step == 190:
            record["events"] = [{"kind": "data_mix", "name": "books"}]
        if step >= 200:
            record["layers"]["h.1"]["grad_norm"] *= 300

    (incident,) = opened(transitions_of(training(range(260), jump)))
    verdicts = {each.explanation: each.verdict for each in incident.considered}
    assert verdicts["data_mix"] == "may be: changed at step 190; for a while twice the evidence was asked"
    assert verdicts["learning rate"].startswith("no: did not jump; 0.001 now")
    assert verdicts["batch size"] == "no: unchanged, 1,024 tokens a step"
    assert verdicts["restart"] == "no: none lately"


def test_a_jump_of_the_learning_rate_is_not_explained_by_itself_and_may_explain_what_follows() -> None:
    def jump(step: int, record: dict[str, Any]) -> None:
        record["lr"] = 1e-3 if step < 250 else 1e-1

    (incident,) = opened(transitions_of(training(range(300), jump)))
    assert incident.kind == "lr_schedule"
    assert "learning rate" not in {each.explanation for each in incident.considered}
