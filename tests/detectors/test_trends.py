"""Growth by a factor and by an amount, told from each other and from noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.trends import adding_up, compound
from tests.detectors.series import Floats


def norms(growth: NDArray[np.float64], seed: int = 0, spread: float = 0.1) -> Floats:
    noise = np.random.default_rng(seed).standard_normal(len(growth))
    return (growth * np.exp(spread * noise)).astype(np.float32)


READINGS = np.arange(64.0)


@pytest.mark.parametrize("a_step", [0.04, 0.1, 0.2])
def test_growth_by_a_factor_is_found(a_step: float) -> None:
    assert compound(norms((1 + a_step) ** READINGS), 1.0) >= 1


def test_growth_back_to_what_it_has_been_is_none() -> None:
    assert compound(norms(1.05**READINGS), 30.0) < 1


@pytest.mark.parametrize("seed", range(300))
def test_noise_neither_grows_nor_adds_up(seed: int) -> None:
    x = norms(np.ones(64), seed, 0.5)
    assert compound(x, 1.0) < 1
    assert adding_up(x) < 1


@pytest.mark.parametrize("late", range(16))
def test_what_adds_up_is_found_wherever_in_the_last_look_it_began(late: int) -> None:
    x = norms(1 + np.maximum(0, READINGS - 51 + late), spread=0.03)
    assert adding_up(x, 16) >= 1
    assert adding_up(norms(np.ones(64), late, 0.5), 16) < 1


def test_a_jump_is_no_growth() -> None:
    jump = np.where(READINGS >= 50, 10.0, 1.0)
    assert compound(norms(jump), 1.0) < 1
    assert adding_up(norms(jump)) < 1


@pytest.mark.parametrize("amount", [0.5, 1.0, 5.0])
def test_growth_by_an_amount_is_found(amount: float) -> None:
    assert adding_up(norms(1 + amount * np.maximum(0, READINGS - 51), spread=0.03)) >= 1


def test_growth_back_to_what_it_has_been_does_not_add_up() -> None:
    growth = 1 + np.maximum(0, READINGS - 51)
    growth[:10] = 15.0
    assert adding_up(norms(growth, spread=0.03)) < 1


def test_growth_that_began_long_before_does_not_add_up() -> None:
    assert adding_up(norms(1 + np.maximum(0, READINGS - 40), spread=0.03)) < 1


def test_growth_by_a_factor_does_not_add_up() -> None:
    assert adding_up(norms(1.5 ** np.maximum(0, READINGS - 51), spread=0.03)) < 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_what_is_no_magnitude_is_left_out(bad: float) -> None:
    x = norms(1.1**READINGS)
    x[10] = bad
    assert compound(x, 1.0) >= 1


def test_few_readings_say_nothing() -> None:
    assert compound(norms(1.2**READINGS)[:40], 1.0) == 0.0
    assert adding_up(norms(1.2**READINGS)[:20]) == 0.0
