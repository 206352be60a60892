"""A layer that moved alone, and layers that moved together."""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.profiles import PROFILES, profile_index
from detectors.rows import Row
from detectors.siblings import apart
from detectors.slab import Slab
from tests.detectors.series import THEORY, Floats, ar, linear

LAYERS = 8
SIBLINGS = np.arange(LAYERS)


def run_of(y: NDArray[np.float64]) -> tuple[Slab, NDArray[np.intp]]:
    """The slab after these readings (log2, [steps, layers]), and the slots that would alarm if they moved alone."""
    slab = Slab(np.full(y.shape[1], profile_index("gradient"), np.uint8), THEORY)
    suspects: set[int] = set()
    for row in linear(y):
        slab.judge(row)
        suspects.update(np.flatnonzero(np.abs(slab.small) >= 1).tolist())
    return slab, np.array(sorted(suspects), np.intp)


def noise(layers: int = LAYERS, seed: int = 0) -> NDArray[np.float64]:
    return ar(0.3, 0.1)(np.random.default_rng(seed), 420, layers)


def test_one_layer_that_moves_alone_by_less_than_the_whole_model_must_is_found() -> None:
    y = noise()
    y[400:, 3] += 1.95
    slab, suspects = run_of(y)
    assert suspects.tolist() == [3]
    assert np.abs(slab.spike).max() < 1 > np.abs(slab.shift).max()
    assert apart(slab, suspects, SIBLINGS).tolist() == [True]


@pytest.mark.parametrize("moving", [LAYERS, 5, 4])
def test_layers_that_move_together_are_not_alone(moving: int) -> None:
    y = noise()
    y[400:, :moving] += 1.95
    slab, suspects = run_of(y)
    assert moving - 2 <= len(suspects) <= moving
    assert not apart(slab, suspects, SIBLINGS).any()


def test_three_layers_tell_nothing_of_each_other() -> None:
    y = noise()
    y[400:, 3] += 1.95
    slab, suspects = run_of(y)
    assert not apart(slab, suspects, np.array([2, 3, 4])).any()
    assert apart(slab, suspects, np.array([2, 3, 4, 5])).tolist() == [True]


def test_a_layer_that_was_never_measured_is_no_sibling() -> None:
    y = noise(4)
    y[400:, 0] += 1.95
    x: Floats = linear(y)
    x[:, 3] = np.nan
    slab = Slab(np.full(4, profile_index("gradient"), np.uint8), THEORY)
    for row in x:
        slab.judge(row)
    assert not apart(slab, np.array([0]), np.arange(4)).any()


@pytest.mark.parametrize("seed", range(5))
def test_it_says_what_the_plain_formula_says(seed: int) -> None:
    y = noise(12, seed)
    y[400:] += np.random.default_rng(seed + 50).normal(0.0, 1.2, 12)
    slab, _ = run_of(y)
    moved = (slab.row(Row.FAST) - slab.row(Row.LEVEL)).tolist()
    profile = PROFILES[profile_index("gradient")]
    expected = []
    for own in moved:
        middle = median(moved)
        spread = 4.0 * 1.4826 * median(abs(each - middle) for each in moved)
        effect = profile.among * (profile.effect_up if own > 0 else profile.effect_down)
        side = 1.0 if own > 0 else -1.0
        crowd = sum(each * side >= 0.5 * abs(own) for each in moved)
        expected.append((own - middle) * side >= max(effect, spread) and crowd <= max(1, len(moved) / 3))
    assert apart(slab, np.arange(12), np.arange(12)).tolist() == expected
