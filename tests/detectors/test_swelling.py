"""Levels that grow by the same factor again and again, and healthy growth, which slows down or is everybody's."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.swelling import BLOATS, GROWS, PIECES, VANISHES, swelling

SERIES = 8
BLOCKS = np.arange(SERIES, dtype=np.int32) // 2


def levels(grown: np.ndarray | float = 0.0, series: int = 5, seed: int = 0) -> np.ndarray:
    """Levels [PIECES + 1, SERIES] that hardly move; one of them grows."""
    found = 3 + 0.01 * np.random.default_rng(seed).standard_normal((PIECES + 1, SERIES))
    found[:, series] += grown
    return found.astype(np.float32)


def even(total: float) -> np.ndarray:
    return np.linspace(0.0, total, PIECES + 1)


def test_one_series_that_grows_evenly_is_named_with_its_growth() -> None:
    found = swelling(levels(even(1.3)), BLOCKS)
    assert found.series == 5
    assert found.ratio == pytest.approx(1.3 / 0.65, rel=0.1)
    assert found.moved == pytest.approx(1.3, rel=0.1)
    assert found.pieces == PIECES


def test_growth_that_began_within_the_window_is_found_sooner_if_it_is_more() -> None:
    found = swelling(levels(np.array([0.0, 0.0, 0.0, 0.3, 0.6, 0.9, 1.2])), BLOCKS)
    assert (found.series, found.pieces) == (5, 4)
    assert found.ratio == pytest.approx(1.2 / 1.0, rel=0.1)
    assert swelling(levels(np.array([0.0, 0.0, 0.0, 0.2, 0.4, 0.6, 0.8])), BLOCKS).ratio < 1


@pytest.mark.parametrize("power", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("start", [1, 10, 100])
def test_a_power_of_time_slows_down_and_is_none(power: float, start: int) -> None:
    time = start + 32 * np.arange(PIECES + 1)
    assert swelling(levels(power * np.log2(time)), BLOCKS).ratio < 1


def test_growth_that_began_is_not_even_yet_and_growth_that_ended_no_more() -> None:
    began, ended = np.zeros(PIECES + 1), even(3.0)
    began[-3:] = (0.5, 1.0, 1.5)
    ended[-1] = ended[-2]
    assert swelling(levels(began), BLOCKS).ratio < 1
    assert swelling(levels(ended), BLOCKS).ratio < 1


def test_what_another_block_does_as_well_is_no_fault_of_one() -> None:
    both = levels(even(2.0))
    both[:, 1] += even(1.5).astype(np.float32)
    assert swelling(both, BLOCKS).ratio < 1
    same_block = levels(even(2.0))
    same_block[:, 4] += even(1.5).astype(np.float32)
    assert swelling(same_block, BLOCKS).ratio >= 1


def test_series_that_are_not_known_or_shrink_are_passed_over() -> None:
    unknown = levels(even(1.3))
    unknown[0, 2] = np.nan
    assert swelling(unknown, BLOCKS).series == 5
    unknown[3, 5] = np.nan
    assert swelling(unknown, BLOCKS).ratio < 1
    assert swelling(levels(even(-3.0)), BLOCKS).ratio < 1


def test_a_gradient_that_shrinks_evenly_while_all_wander_together_is_named() -> None:
    y = levels(-even(5.0), seed=3)
    y += np.random.default_rng(4).standard_normal((PIECES + 1, 1)).astype(np.float32)
    found = swelling(y, BLOCKS, VANISHES)
    assert found.series == 5
    assert found.moved == pytest.approx(-5.0 * 4 / PIECES, rel=0.5)
    assert found.ratio > 1
    assert swelling(y, BLOCKS, GROWS).ratio < 1


def test_gradients_that_shrink_together_or_one_that_stays_where_they_grow_are_none() -> None:
    together = levels(-even(5.0))
    together[:, :5] -= even(5.0)[:, None].astype(np.float32)
    assert swelling(together, BLOCKS, VANISHES).ratio < 1
    stays = levels()
    stays[:, [at for at in range(SERIES) if at != 5]] += even(5.0)[:, None].astype(np.float32)
    assert swelling(stays, BLOCKS, VANISHES).ratio < 1


@pytest.mark.parametrize("seed", range(50))
def test_gradients_whose_levels_wander_are_none(seed: int) -> None:
    y = np.cumsum(0.5 * np.random.default_rng(seed).standard_normal((PIECES + 1, SERIES)), axis=0)
    assert swelling(y.astype(np.float32), BLOCKS, VANISHES).ratio < 1


def test_activations_must_grow_further_and_may_be_noisier() -> None:
    growth = np.cumsum([0.0, 0.5, 0.6, 0.45, 0.6, 0.5, 0.55])
    found = swelling(levels(growth), BLOCKS, BLOATS)
    assert found.series == 5
    assert found.ratio == pytest.approx(growth[-1] / 2.2, rel=0.1)
    assert swelling(levels(growth / 2), BLOCKS, BLOATS).ratio < 1
