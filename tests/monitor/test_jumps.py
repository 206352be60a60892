"""Weights that are changed otherwise than by updates."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly.incidents import Severity
from tests.monitor.logs import training, transitions_of
from tests.monitor.survey_logs import kinds


def jumping(times: float, layer: str = "h.1", every: int = 1, updates: float = 1.0) -> list[dict[str, Any]]:
    """From step 303 on a layer's weights are `times` what they were, which no check of each third reading meets."""

    def change(step: int, record: dict[str, Any]) -> None:
        record["step"] *= every
        record["layers"][layer]["weight_norm"] *= times if step >= 303 else 1.0
        if 303 <= step < 306:
            record["layers"][layer]["update_ratio"] *= updates

    return training(range(330), change)


@pytest.mark.parametrize("times", [0.6, 1.5])
@pytest.mark.parametrize("every", [1, 10])
def test_a_layer_that_is_overwritten_is_named_at_once(times: float, every: int) -> None:
    first, *_ = [
        each for each in transitions_of(jumping(times, every=every)) if each.severity is not Severity.INFO
    ]
    assert (first.kind, first.layer, first.statistic) == ("weight_blowup", "h.1", "weight_norm")
    assert first.step <= 306 * every


@pytest.mark.parametrize(("times", "updates"), [(1.02, 1.0), (1.2, 400.0)])
def test_what_updates_do_is_no_jump(times: float, updates: float) -> None:
    assert "weight_blowup" not in [kind for kind, _ in kinds(jumping(times, updates=updates))]
