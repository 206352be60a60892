"""Noise that grows in one series, and series that are all rough, or always were."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.unsteady import Unsteady

SERIES = 8
SLOTS = np.arange(2, 2 + SERIES)


def after(noise: np.ndarray, chart: Unsteady | None = None, every: int = 16) -> Unsteady:
    """The chart after noise [readings, SERIES] in log2, NaN where not measured; asked to learn at every so many."""
    chart, learned = chart or Unsteady(SERIES), 0
    for at, reading in enumerate(noise):
        padded = np.full(SERIES + 3, 3.0, np.float32)
        padded[SLOTS] *= np.exp2(0.2 * reading)
        chart.take(padded, SLOTS)
        if at % every == every - 1 and chart.learn(learned):
            learned = chart.samples
    return chart


def calm(readings: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((readings, SERIES))


def test_one_series_that_begins_to_jump_is_named() -> None:
    z = calm(250)
    z[190:, 3] *= 6
    found = after(z).judge()
    assert found.series == 3
    assert found.ratio >= 1


def test_noise_of_its_own_is_seen_beneath_what_all_series_do() -> None:
    z = calm(250)
    z[190:, 3] *= 6
    z += 10 * calm(250, seed=1)[:, :1]
    found = after(z).judge()
    assert found.series == 3
    assert found.ratio >= 1


def test_noise_that_grew_within_the_first_fifty_readings_is_seen() -> None:
    z = calm(112)
    z[40:, 3] *= 8
    assert after(z).judge().series == 3
    assert after(z).judge().ratio >= 1


def test_a_level_that_moves_is_no_noise() -> None:
    z = calm(250)
    z[190:, 3] += 150.0
    z[:, 4] -= 0.5 * np.arange(250)  # a tenth of an octave a reading
    assert after(z).judge().ratio < 1


def test_a_series_of_every_other_reading_is_held_against_its_last_one() -> None:
    z = calm(500)
    z[380:, 3] *= 6
    z[::2] = np.nan
    chart = after(z)
    assert chart.samples == 250
    assert chart.judge().series == 3
    assert chart.judge().ratio >= 1


def test_what_the_others_do_is_no_noise_of_one_that_does_not_share_it() -> None:
    z = calm(250)
    z[190:, [at for at in range(SERIES) if at != 3]] += 30 * calm(60, seed=1)[:, :1]
    assert after(z).judge().ratio < 1


def test_what_all_series_do_is_no_fault_of_one() -> None:
    z = calm(250)
    z[190:] *= 8
    assert after(z).judge().ratio < 1


def test_a_series_that_was_always_rough_may_be_and_a_fault_is_not_its_own_excuse() -> None:
    rough = calm(600)
    rough[:, 3] *= 8
    assert after(rough).judge().ratio < 1
    rough = calm(600)
    rough[500:, 3] *= 8
    assert after(rough).judge().ratio >= 1


@pytest.mark.parametrize("heavy", [False, True])
def test_calm_series_never_are_noisy_though_their_tails_are_heavy(heavy: bool) -> None:
    random = np.random.default_rng(1)
    z = random.standard_t(3, (20_000, SERIES)) / 1.5 if heavy else calm(20_000)
    chart, worst, learned = Unsteady(SERIES), 0.0, 0
    for at in range(0, len(z), 16):
        after(z[at : at + 16], chart, every=17)
        worst = max(worst, chart.judge().ratio)
        learned = chart.samples if chart.learn(learned) else learned
    assert worst < 1


def test_few_samples_or_series_say_nothing() -> None:
    assert after(calm(63)).judge().series == -1
    z = calm(200)
    z[:, 2:] = np.nan
    assert after(z).judge().series == -1


def test_a_restored_chart_continues_as_if_never_stopped() -> None:
    z = calm(200)
    z[100:, 3] *= 8
    restored = after(z[120:], Unsteady.load(after(z[:120]).dump()))
    whole = after(z[120:], after(z[:120]))
    assert restored.dump() == whole.dump()
    with pytest.raises(ValueError, match="was it cut"):
        Unsteady.load(whole.dump()[:-1])


def test_one_that_was_missing_when_all_moved_has_not_leapt() -> None:
    values, slots = np.full(SERIES, 3.0, np.float32), np.arange(SERIES)
    chart = Unsteady(SERIES)
    chart.take(values, slots)
    missing = 16.0 * values
    missing[3] = np.nan
    chart.take(missing, slots)
    moves = chart.take(17.0 * values, slots)
    assert np.isinf(moves[3])
    assert np.abs(np.delete(moves, 3)).max() < 0.1
    assert np.abs(chart.take(17.0 * values, slots)).max() < 0.1


def test_one_that_was_0_is_held_against_its_last_reading() -> None:
    values, slots = np.full(SERIES, 3.0, np.float32), np.arange(SERIES)
    chart = Unsteady(SERIES)
    chart.take(values, slots)
    zero = values.copy()
    zero[3] = 0.0
    assert np.isinf(chart.take(zero, slots)[3])
    jumped = values.copy()
    jumped[3] *= 8.0
    assert chart.take(jumped, slots)[3] == pytest.approx(3.0, abs=0.01)
