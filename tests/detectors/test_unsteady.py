"""Noise that grows in one series, and series that are all rough, or always were."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.unsteady import SAMPLES, Unsteady

SERIES = 8
SLOTS = np.arange(2, 2 + SERIES)


def after(
    noise: np.ndarray, chart: Unsteady | None = None, every: int = 32, level: np.ndarray | None = None
) -> Unsteady:
    """The chart after noise [samples, SERIES] in log2, each after a reading without any; it learns at every so many.

    level: [samples, SERIES] in log2, what both readings stand at.
    """
    chart = chart or Unsteady(SERIES)
    for at, sample in enumerate(noise):
        padded = np.full(SERIES + 3, 3.0, np.float32)
        if level is not None:
            padded[SLOTS] *= np.exp2(level[at])
        chart.prepare(padded, SLOTS)
        padded[SLOTS] *= np.exp2(0.2 * sample)
        chart.take(padded, SLOTS)
        if at % every == every - 1:
            chart.learn()
    return chart


def calm(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((samples, SERIES))


def test_one_series_that_begins_to_jump_is_named() -> None:
    z = calm(190)
    z[150:, 3] *= 8
    found = after(z).judge()
    assert found.series == 3
    assert found.ratio >= 1


def test_a_level_that_moves_is_no_noise() -> None:
    level = np.zeros((200, SERIES))
    level[150:, 3] = 30.0
    level[:, 4] = -0.4 * np.arange(200)  # a tenth a reading
    assert after(calm(200), level=level).judge().ratio < 1


def test_a_series_of_every_other_reading_is_held_against_its_last_sample() -> None:
    chart = Unsteady(SERIES)
    z = calm(190)
    z[150:, 3] *= 8
    for at, sample in enumerate(z):
        values = np.full(SERIES + 3, 3.0, np.float32)
        values[SLOTS] *= np.exp2(0.2 * sample)
        chart.prepare(np.full(SERIES + 3, np.nan, np.float32), SLOTS)
        chart.take(values, SLOTS)
        if at % 32 == 31:
            chart.learn()
    assert chart.judge().series == 3
    assert chart.judge().ratio >= 1


def test_what_all_series_do_is_no_fault_of_one() -> None:
    z = calm(200)
    z[150:] *= 8
    assert after(z).judge().ratio < 1


def test_a_series_that_was_always_rough_may_be_and_a_fault_is_not_its_own_excuse() -> None:
    rough = calm(400)
    rough[:, 3] *= 8
    assert after(rough).judge().ratio < 1
    rough = calm(400)
    rough[364:, 3] *= 8
    assert after(rough).judge().ratio >= 1


@pytest.mark.parametrize("heavy", [False, True])
def test_calm_series_never_are_noisy_though_their_tails_are_heavy(heavy: bool) -> None:
    random = np.random.default_rng(1)
    z = random.standard_t(3, (20_000, SERIES)) / 1.5 if heavy else calm(20_000)
    chart, worst = Unsteady(SERIES), 0.0
    for at in range(0, len(z), SAMPLES):
        after(z[at : at + SAMPLES], chart)
        chart.learn()
        worst = max(worst, chart.judge().ratio)
    assert worst < 1


def test_few_samples_or_series_say_nothing() -> None:
    assert after(calm(SAMPLES - 1)).judge().series == -1
    z = calm(100)
    z[:, 2:] = np.nan  # not measured
    assert after(z).judge().series == -1


def test_a_restored_chart_continues_as_if_never_stopped() -> None:
    z = calm(200)
    z[100:, 3] *= 8
    restored = after(z[120:], Unsteady.load(after(z[:120]).dump()))
    whole = after(z[120:], after(z[:120]))
    assert restored.dump() == whole.dump()
    with pytest.raises(ValueError, match="was it cut"):
        Unsteady.load(whole.dump()[:-1])
