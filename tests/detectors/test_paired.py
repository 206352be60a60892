"""Evaluations that get worse, and those that only scatter."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.paired import best_before, worse


def evaluations(change: list[float], seed: int = 0, spread: float = 0.01) -> np.ndarray:
    past = 1 - 0.3 * (1 - 0.8 ** np.arange(12.0))
    y = np.concatenate([past, past[-1] + np.array(change)])
    return y + spread * np.random.default_rng(seed).standard_normal(len(y))


def test_three_that_rise_are_worse_and_the_best_is_known() -> None:
    e = evaluations([0.1, 0.15, 0.2])
    assert worse(e) >= 1
    assert 8 <= best_before(e) <= 11


@pytest.mark.parametrize("change", [[0.2], [0.2, 0.2], [0.2, 0.2, 0.02], [0.3, 0.2, 0.1], [0.01, 0.01, 0.01]])
def test_one_two_or_those_that_come_back_are_not(change: list[float]) -> None:
    assert worse(evaluations(change)) < 1


def test_a_jump_that_training_works_off_by_and_by_is_worse() -> None:
    assert worse(evaluations([0.3, 0.28, 0.27], spread=0.003)) >= 1


def test_a_jump_that_was_missed_at_first_is_no_excuse_for_what_it_left() -> None:
    assert worse(evaluations([0.4, 0.3, 0.28, 0.27, 0.28], spread=0.003)) >= 1


def test_at_most_one_in_a_thousand_series_that_scatter_is_called_worse() -> None:
    found = [worse(evaluations([0.0] * 6, seed, 0.05)) >= 1 for seed in range(2000)]
    assert np.mean(found) <= 1e-3


def test_evaluations_that_went_up_and_down_before_must_rise_further() -> None:
    e = evaluations([0.1, 0.15, 0.2])
    e[5] = e[4] + 0.3
    assert worse(e) < 1


def test_five_are_too_few() -> None:
    assert worse(np.array([1.0, 0.9, 2.0, 2.0, 2.0])) == 0.0
