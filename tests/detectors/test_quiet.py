"""Losses off a cliff and losses gone still, against those that are healthy."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.quiet import fallen, still
from tests.detectors.series import Floats

LEVEL = 10.0


def loss(seed: int, spread: float = 0.05) -> Floats:
    return (3.0 * np.exp(spread * np.random.default_rng(seed).standard_normal(64))).astype(np.float32)


@pytest.mark.parametrize("since", range(6, 14))
def test_a_cliff_is_found_wherever_it_lies_between_two_looks(since: int) -> None:
    x = loss(0)
    x[-since:] *= np.float32(0.3)
    assert fallen(x, LEVEL, 6, 7) >= 1


@pytest.mark.parametrize("factor", [0.55, 0.8])
def test_a_step_down_of_less_than_half_is_none(factor: float) -> None:
    x = loss(0)
    x[-10:] *= np.float32(factor)
    assert fallen(x, LEVEL, 6, 7) < 1


def test_a_loss_that_has_fallen_so_far_before_has_no_cliff() -> None:
    x = loss(0)
    x[[20, -1, -2, -3, -4, -5, -6]] *= np.float32(0.3)
    assert fallen(x, LEVEL, 6) < 1


def test_noise_that_dies_is_still() -> None:
    for since in range(12, 28):
        x = loss(1)
        x[-since:] = np.linspace(3.0, 2.99, since)
        ratio, readings = still(x)
        assert ratio >= 1
        assert readings <= 14


@pytest.mark.parametrize("batches", [2, 3, 5, 8])
@pytest.mark.parametrize("since", [0, 7, 15])
def test_a_loader_that_goes_round_a_few_batches_is_still_from_round_to_round(
    batches: int, since: int
) -> None:
    x = loss(1)
    few = np.resize(loss(3)[:batches], 64) * np.exp(-0.001 * np.arange(64)).astype(np.float32)
    x[-(10 + 2 * batches + since) :] = few[: 10 + 2 * batches + since]
    assert still(x)[0] >= 1
    assert still(few)[0] == 0.0, "it has never done anything else: a small set of data in a fixed order"


@pytest.mark.parametrize("period", [2, 4])
def test_data_that_come_from_two_sources_in_turn_are_not_still(period: int) -> None:
    x = loss(1)
    x[-32::period] *= 2
    assert still(x)[0] < 1


def test_a_fourfold_batch_is_not_still() -> None:
    x = loss(1)
    x[-16:] = (3.0 * np.exp(0.025 * np.random.default_rng(2).standard_normal(16))).astype(np.float32)
    assert still(x)[0] < 1


@pytest.mark.parametrize("spread", [0.001, 0.05, 0.5])
def test_noise_alone_is_neither(spread: float) -> None:
    windows = [loss(seed, spread) for seed in range(500)]
    assert max(fallen(x, LEVEL, 6, 7) for x in windows) < 1
    assert max(still(x)[0] for x in windows) < 1


def test_a_constant_series_and_a_short_one_say_nothing() -> None:
    assert still(np.full(64, 2.0, np.float32))[0] == 0.0
    assert fallen(loss(0)[:30], LEVEL, 6) == 0.0
    assert still(loss(0)[:30])[0] == 0.0


def test_a_smooth_loss_that_bends_ever_less_was_never_noisy() -> None:
    t = np.arange(64)
    smooth = (2.0 * np.exp(-t / 5.0) + 0.1).astype(np.float32)
    assert still(smooth)[0] == 0.0
