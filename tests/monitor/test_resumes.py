"""What a run goes on with after a restart: the loss, the weights, the optimiser's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.monitor.logs import LAYERS, training, transitions_of
from tests.monitor.survey_logs import falling, kinds, model_only, serious


def resumed(
    loss: Callable[[int], float], steps: range, at: int, spread: float = 0.03
) -> list[dict[str, Any]]:
    records = model_only(loss, steps, spread)
    records[at]["events"] = [{"kind": "resume"}]
    return records


def test_a_resume_with_other_weights_is_found_by_the_loss() -> None:
    found = kinds(resumed(lambda step: falling(step) * (1.4 if step >= 300 else 1), range(330), 300))
    assert [kind for kind, _ in found] == ["resume_corruption"]
    assert 300 <= found[0][1] <= 308


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.04])
def test_a_resume_that_goes_on_is_quiet(factor: float) -> None:
    assert kinds(resumed(lambda step: falling(step) * (factor if step >= 300 else 1), range(330), 300)) == []


def test_a_restart_from_far_back_has_the_loss_of_those_steps_and_is_quiet() -> None:
    records = model_only(falling, range(400)) + model_only(falling, range(60, 400))
    assert kinds(records) == []


@pytest.mark.parametrize("announced", [False, True])
def test_an_optimiser_state_lost_at_a_resume_shows_in_the_first_update(announced: bool) -> None:
    def lost(step: int, record: dict[str, Any]) -> None:
        record |= {"session": 1 + (step >= 200), "sequence": step % 200}
        for of_layer in record["layers"].values():
            of_layer["update_ratio"] *= 1 + 3 * 0.7 ** (step - 200) if step >= 200 else 1
        if announced and step == 200:
            record["events"] = [{"kind": "resume"}]

    (incident,) = serious(transitions_of(training(range(260), lost)))
    assert (incident.kind, incident.step) == ("optimizer_state_lost", 200)


def test_updates_that_follow_the_gradients_at_a_resume_are_of_an_optimiser_without_a_state() -> None:
    def other_data(step: int, record: dict[str, Any]) -> None:
        for of_layer in record["layers"].values():
            for signal in ("update_ratio", "grad_norm"):
                of_layer[signal] *= 1 + 1.5 * 0.7 ** (step - 200) if step >= 200 else 1
        if step == 200:
            record["events"] = [{"kind": "resume"}]

    assert [each.kind for each in serious(transitions_of(training(range(260), other_data)))] == []


def continued(factor: float, session: int, **event: Any) -> list[dict[str, Any]]:
    """A run that goes on at step 200, in another session or not, with norms of weights by `factor` larger."""

    def change(step: int, record: dict[str, Any]) -> None:
        late = step >= 200
        record |= {"session": 1 + session * late, "sequence": step - 200 * session * late}
        if step == 200:
            record["events"] = [{"kind": "resume"}, *([event] if event else [])]
        for of_layer in record["layers"].values():
            of_layer["weight_norm"] = (2.0 + 1e-3 * step) * (factor if late else 1.0)

    return training(range(240), change)


@pytest.mark.parametrize("session", [0, 1])
def test_weights_that_are_not_those_that_were_saved_show_at_once_at_a_resume(session: int) -> None:
    ((kind, step),) = kinds(continued(1.01, session))
    assert (kind, step) == ("resume_corruption", 200)


@pytest.mark.parametrize("session", [0, 1])
def test_weights_that_go_on_or_are_cut_anew_are_quiet_at_a_resume(session: int) -> None:
    assert kinds(continued(1.0, session)) == []
    assert kinds(continued(1.01, session, kind="world_size", size=8)) == []


def one_layer(factor: float, updates: float) -> list[dict[str, Any]]:
    """A run that goes on at step 200 with the norm of one layer's weights by `factor` larger."""

    def change(step: int, record: dict[str, Any]) -> None:
        if step == 200:
            record["events"] = [{"kind": "resume"}]
        for name, of_layer in record["layers"].items():
            other = step >= 200 and name == LAYERS[2]
            of_layer |= {
                "weight_norm": (2.0 + 1e-3 * step) * (factor if other else 1.0),
                "update_ratio": updates,
            }

    return training(range(203), change)


@pytest.mark.parametrize("factor", [0.5, 0.97, 1.03])
def test_one_layer_of_other_weights_at_a_resume_is_named(factor: float) -> None:
    opened, *_ = serious(transitions_of(one_layer(factor, 1e-3)))
    assert (opened.kind, opened.step, opened.layers) == ("resume_corruption", 200, (LAYERS[2],))
    assert opened.evidence[0].expected == pytest.approx(2.2, abs=0.005)


def test_a_norm_that_its_updates_can_reach_is_quiet_at_a_resume() -> None:
    assert kinds(one_layer(1.03, 2e-2)) == []


def test_updates_that_have_drifted_far_are_no_lost_state_at_a_resume() -> None:
    def drifts(step: int, record: dict[str, Any]) -> None:
        record |= {"session": 1 + (step >= 400), "sequence": step % 400}
        for of_layer in record["layers"].values():
            of_layer["update_ratio"] *= 0.99 ** min(max(step - 200, 0), 180)

    assert "optimizer_state_lost" not in [
        each.kind for each in serious(transitions_of(training(range(440), drifts)))
    ]
