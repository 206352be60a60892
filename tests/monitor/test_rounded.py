"""Numbers that were rounded before they were sent, as many loggers do: what no longer moves in them may well move."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.monitor.logs import training
from tests.monitor.survey_logs import kinds


def rounded(record: dict[str, Any], digits: int | None = None) -> None:
    """To four decimals, or to so many significant digits."""
    for of_layer in record["layers"].values():
        for name, value in of_layer.items():
            of_layer[name] = round(value, 4) if digits is None else float(f"{value:.{digits}g}")


@pytest.mark.parametrize("digits", [None, 3, 5])
def test_rounded_norms_that_move_by_less_than_a_digit_are_not_frozen(digits: int | None) -> None:
    def change(step: int, record: dict[str, Any]) -> None:
        for at, of_layer in enumerate(record["layers"].values()):
            of_layer["weight_norm"] = 7.123 + at + 2.0 * math.log1p(step + 20)
        rounded(record, digits)

    assert kinds(training(range(900), change)) == []


def test_small_updates_that_are_rounded_to_0_are_not_frozen() -> None:
    def change(step: int, record: dict[str, Any]) -> None:
        for at, of_layer in enumerate(record["layers"].values()):
            of_layer["update_ratio"] *= 0.02 + 0.3 * at
            of_layer["weight_norm"] *= 1.0 + 1e-3 * math.sin(step)
        rounded(record)

    assert kinds(training(range(400), change)) == []


def test_a_gradient_that_was_many_units_is_dead_at_0() -> None:
    def change(step: int, record: dict[str, Any]) -> None:
        if step >= 200:
            record["layers"]["h.1"]["grad_norm"] = 0.0
        rounded(record)

    ((kind, step),) = kinds(training(range(240), change))
    assert (kind, step) == ("gradient_dead", 202)


def test_a_rounded_loss_that_hardly_changes_is_no_stuck_loader() -> None:
    noise = np.random.default_rng(0)

    def change(step: int, record: dict[str, Any]) -> None:
        record["loss"] = round(0.004 * 0.999**step + 1e-4 * noise.standard_normal(), 4)

    assert "repeated_batch" not in [kind for kind, _ in kinds(training(range(800), change))]


def test_a_rounded_loss_that_changed_by_many_units_is() -> None:
    def change(step: int, record: dict[str, Any]) -> None:
        record["loss"] = round(record["loss"], 4) if step < 300 else 2.1234

    assert ("repeated_batch") in [kind for kind, _ in kinds(training(range(320), change))]


@pytest.mark.parametrize(("size", "found"), [(1e-9, False), (1.0, True)])
def test_a_gradient_of_rounding_errors_goes_where_it_likes_and_its_updates_with_it(
    size: float, found: bool
) -> None:
    def change(step: int, record: dict[str, Any]) -> None:
        of_layer = record["layers"]["h.1"]
        of_layer["grad_norm"] *= size * (30 if 200 <= step < 300 else 1)
        of_layer["update_ratio"] *= 8 if 200 <= step < 300 else 1

    assert bool(kinds(training(range(400), change))) == found
