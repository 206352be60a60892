"""Losses that stand still, and healthy ones that only seem to."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.flat import Flat
from tests.detectors.series import Floats

FALLS_AND_STANDS = 11.0, 7.4
"""What a loss of an untrained and of a stuck language model is."""


def first_alarms(loss: NDArray[np.float64], steps: NDArray[np.float64]) -> tuple[int | None, int | None]:
    """The readings at which `long` and `start` first reach 1, looking at each eighth; None for never."""
    chart, x = Flat(), loss.astype(np.float32)
    ratios = np.array([chart.take(x[at : at + 8], steps[at : at + 8]) for at in range(0, len(x), 8)])
    found = [np.flatnonzero(ratios[:, column] >= 1) for column in (0, 1)]
    return tuple(int(each[0]) * 8 if len(each) else None for each in found)  # type: ignore[return-value]


def noisy(loss: NDArray[np.float64], spread: float, seed: int = 0) -> NDArray[np.float64]:
    return loss * np.exp(spread * np.random.default_rng(seed).standard_normal(len(loss)))


@pytest.mark.parametrize("spread", [0.003, 0.03, 0.06])
def test_a_loss_that_fell_once_and_stands_is_found_and_sooner_where_it_is_quiet(spread: float) -> None:
    steps = np.concatenate([np.arange(100.0), np.arange(100.0, 100_000, 100)])
    start, level = FALLS_AND_STANDS
    long, never = first_alarms(noisy(np.where(steps < 300, start, level), spread), steps)
    assert never is None
    assert long is not None
    assert long <= (300 if spread < 0.05 else 1000)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("power", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("every", [1, 100])
def test_a_loss_that_falls_with_a_small_power_of_the_steps_is_not_flat(
    power: float, every: int, seed: int
) -> None:
    steps = np.arange(0.0, 20_000 * every, every)[:: max(1, 20 // every)]
    assert first_alarms(noisy(5 * (steps + 10) ** -power, 0.05, seed), steps) == (None, None)


@pytest.mark.parametrize("seed", range(5))
def test_a_loss_too_noisy_to_know_its_level_is_not_flat(seed: int) -> None:
    steps = np.arange(0.0, 30_000, 100)
    assert first_alarms(noisy(np.full(len(steps), 2.0), 0.3, seed), steps) == (None, None)


def test_of_a_noisy_loss_it_is_known_after_a_hundred_steps_whether_it_may_have_stood_still() -> None:
    steps = np.arange(160.0)
    for loss, unfallen in ((np.full(160, 2.0), True), (2.0 * 0.99**steps, False)):
        ratios = Flat().take(noisy(loss, 0.05).astype(np.float32), steps)
        assert (ratios[2] >= 1) is unfallen
        assert ratios[:2] == (0.0, 0.0)


def test_a_loss_that_never_fell_is_found_after_200_readings() -> None:
    steps = np.arange(600.0)
    long, start = first_alarms(noisy(np.full(600, 5.55), 0.01), steps)
    assert start is not None
    assert 192 <= start <= 300
    assert long is None


def test_a_loss_that_falls_by_a_tenth_in_two_hundred_steps_did_fall() -> None:
    steps = np.arange(600.0)
    assert first_alarms(noisy(5.55 * (1 - 0.1 * np.minimum(steps / 200, 1)), 0.01), steps)[1] is None


def test_a_run_that_goes_on_with_what_another_learned_is_not_flat_from_its_start() -> None:
    steps = np.arange(50_000.0, 53_000.0)
    assert first_alarms(noisy(np.full(3000, 2.0), 0.01), steps) == (None, None)


def test_a_negative_loss_is_no_magnitude_and_never_flat() -> None:
    steps = np.arange(10_000.0)
    loss = np.full(10_000, 2.0)
    loss[50] = -1.0
    assert first_alarms(loss, steps) == (None, None)


def test_cutting_readings_into_pieces_changes_no_bit() -> None:
    x: Floats = noisy(np.full(700, 3.0), 0.1).astype(np.float32)
    steps = np.arange(700.0)
    whole, pieces = Flat(), Flat()
    whole.take(x, steps)
    for at in range(0, 700, 7):
        pieces.take(x[at : at + 7], steps[at : at + 7])
    assert whole.dump() == pieces.dump()


def test_bytes_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="440 bytes, got 8"):
        Flat.load(bytes(8))


def test_a_restart_before_any_reading_changes_no_bit() -> None:
    chart = Flat()
    chart.restart()
    assert chart.dump() == Flat().dump()
