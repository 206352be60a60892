"""What moves because a run learns, or because other layers do, is no fault; without that it is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anomaly import codec
from anomaly.records import NOT_MEASURED, Layout, LayoutMessage, StepMessage
from tests.monitor.logs import Log, monitor, training, transitions_of
from tests.monitor.survey_logs import serious

NAMES = ("embed", "h.0", "h.1", "head")


@pytest.mark.parametrize(("falls", "found"), [(True, set()), (False, {"outlier_growth"})])
def test_activations_may_grow_manifold_while_a_run_leaves_the_plateau_of_its_start(
    falls: bool, found: set[str]
) -> None:
    def leave(step: int, record: dict[str, Any]) -> None:
        noise = np.random.default_rng([3, step])
        share = 1 / (1 + np.exp(-(step - 200) / 8))
        learned = falls / (1 + np.exp(-(step - 200) / 15))
        record["loss"] = (2.3 - 1.8 * learned) * float(np.exp(0.02 * noise.standard_normal()))
        for name, times in (("h.0", 3.0), ("h.1", 12.0), ("h.2", 1000.0)):
            record["layers"][name]["act_rms"] *= times**share

    transitions = transitions_of(training(range(400), leave))
    assert {each.kind for each in serious(transitions)} == found


def kinds_of_unfreezing(before: tuple[bool, ...] | None, after: tuple[bool, ...] | None) -> set[str]:
    """The first layer stands still until step 300, then learns fast; its layouts say so, or do not."""
    log, noise = Log(), np.random.default_rng(0)
    for step in range(450):
        mask = before if step < 300 else after
        layout = Layout(
            NAMES, ("grad_norm", "weight_norm", "act_rms"), ("loss", "lr", "grad_norm_total"), mask
        )
        if step in (0, 300):
            log.add(codec.encode_layout(LayoutMessage("r1", layout)))
        values = np.exp(0.1 * noise.standard_normal(layout.width)).astype(np.float32)
        thawed = 1 - np.exp(-max(0, step - 299) / 20)
        values[:2] = 2.0 + 0.05 * noise.standard_normal(), 1e-3
        values[2] *= 1 + 3 * (step >= 300) * np.exp(-abs(step - 312) / 15)
        values[4::3] = 10.0 + 0.001 * step
        values[4], values[5] = 2.0 + 4.0 * thawed, values[5] * (1 + 4 * thawed)
        if step < 300:
            values[3:4] = NOT_MEASURED
        log.add(codec.encode_steps(StepMessage("r1", 0, [step * 10**6], [None], values[None], layout.hash)))
    transitions = [each for _, each in monitor().process(log.records).transitions]
    return {each.kind for each in serious(transitions)}


def test_a_layer_that_is_trained_from_now_on_may_move_as_it_likes_and_the_run_a_little() -> None:
    assert kinds_of_unfreezing((False, True, True, True), (True,) * 4) == set()


@pytest.mark.parametrize("mask", [(True,) * 4, None])
def test_without_a_word_of_it_the_same_is_told(mask: tuple[bool, ...] | None) -> None:
    assert kinds_of_unfreezing(mask, mask) != set()


def test_players_that_are_trained_in_turns_are_judged_none_the_less() -> None:
    log = Log()
    layouts = [
        Layout(NAMES, ("grad_norm", "act_rms"), ("loss",), mask)
        for mask in ((True, False) * 2, (False, True) * 2)
    ]
    for step in range(400):
        values = np.exp(0.1 * np.random.default_rng([9, step]).standard_normal(layouts[0].width)).astype(
            np.float32
        )
        if step >= 300:
            values[1] *= 300.0
        layout = layouts[step % 2]
        log.add(codec.encode_layout(LayoutMessage("r1", layout)))
        log.add(codec.encode_steps(StepMessage("r1", 0, [step * 10**6], [None], values[None], layout.hash)))
    (found, *_) = serious([each for _, each in monitor().process(log.records).transitions])
    assert (found.kind, found.layer) == ("layer_gradient_spike", "embed")


@pytest.mark.parametrize("clipped", [True, False])
def test_updates_that_clipping_makes_smaller_are_explained_though_a_step_is_clipped_less(
    clipped: bool,
) -> None:
    random = np.random.default_rng(3)

    def smaller(step: int, record: dict[str, Any]) -> None:
        left = 0.05 * random.lognormal(0.0, 0.3) if step % 7 else 0.9
        if clipped and step >= 200:
            record["clip_coef"] = left
        for of_layer in record["layers"].values():
            of_layer["update_ratio"] *= 0.05 if step >= 200 else 1.0

    found = {each.kind for each in serious(transitions_of(training(range(400), smaller)))}
    assert ("update_ratio_low" in found or "loss_plateau" in found) != clipped


def test_a_gradient_that_empties_is_no_learning_though_the_loss_falls() -> None:
    def empty(step: int, record: dict[str, Any]) -> None:
        noise = np.random.default_rng([7, step])
        record["loss"] = (1 + 3 * 0.995**step) * float(np.exp(0.02 * noise.standard_normal()))
        for name, of_layer in record["layers"].items():
            emptied = min(max(step - 200, 0) / 60, 1.0) if name == "h.1" else 0.0
            of_layer["grad_zero_frac"] = float(noise.normal(0.08, 0.002)) + 0.8 * emptied

    (incident,) = serious(transitions_of(training(range(300), empty)))
    assert (incident.kind, incident.layer) == ("underflow", "h.1")
