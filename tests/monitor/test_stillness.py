"""Weights that do not move."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.monitor.logs import training, transitions_of
from tests.monitor.survey_logs import kinds, serious


def moving(step: float) -> float:
    """A weight's norm that takes a step of its own each time."""
    return 10 + 0.003 * math.sqrt(step) + 0.05 * math.sin(7 * step)


def with_norms(frozen: Callable[[str, int], float], steps: range, **fields: Any) -> list[dict[str, Any]]:
    """Layers whose norms move with `frozen(layer, step)` in place of the step."""

    def change(step: int, record: dict[str, Any]) -> None:
        for name, of_layer in record["layers"].items():
            of_layer["weight_norm"] = moving(frozen(name, step)) + 0.1 * len(name)

    return training(steps, change, **fields)


def test_a_layer_whose_norm_no_longer_moves_although_it_has_updates_is_frozen() -> None:
    records = with_norms(lambda name, step: min(step, 200) if name == "h.1" else step, range(240))
    (incident,) = serious(transitions_of(records))
    assert (incident.kind, incident.layer) == ("weights_frozen", "h.1")
    assert 203 <= incident.step <= 206


def test_all_layers_at_once_are_frozen_after_another_check() -> None:
    (incident,) = serious(transitions_of(with_norms(lambda _, step: min(step, 200), range(240))))
    assert incident.kind == "weights_frozen"
    assert 207 <= incident.step <= 216


@pytest.mark.parametrize("every", [2, 4, 8])
def test_weights_that_move_with_each_kth_record_only_are_accumulating(every: int) -> None:
    assert kinds(with_norms(lambda _, step: step // every * every, range(600))) == []


def test_layers_that_never_moved_are_frozen_by_design() -> None:
    assert kinds(with_norms(lambda name, step: 0 if name != "head" else step, range(300))) == []


def test_layers_frozen_by_hand_have_no_gradient() -> None:
    records = with_norms(lambda name, step: min(step, 200) if name != "head" else step, range(300))
    for record in records[200:]:
        for name, of_layer in record["layers"].items():
            if name != "head":
                del of_layer["grad_norm"], of_layer["update_ratio"]
    assert "weights_frozen" not in [kind for kind, _ in kinds(records)]


def test_weights_that_hardly_move_any_more_are_a_plateau() -> None:
    records = with_norms(lambda _, step: min(step, 300) + 4e-4 * max(0, step - 300), range(420))
    ((kind, step),) = kinds(records)
    assert kind == "loss_plateau"
    assert step <= 360
