"""A layer that went where its siblings did not, and layers that only scatter."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.stray import stray

LAYERS = 12
ALIKE = np.ones(LAYERS, bool)
BLOCKS = np.repeat(np.arange(4), 3).astype(np.int32)


def levels(spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Levels of layers that all moved by about 1 from wherever each was."""
    random = np.random.default_rng(seed)
    then = random.normal(0, 3, LAYERS).astype(np.float32)
    return (then + 1 + random.normal(0, spread, LAYERS)).astype(np.float32), then


@pytest.mark.parametrize("change", [1.5, -1.5])
def test_one_layer_that_leaves_the_others_is_named_whatever_all_of_them_did(change: float) -> None:
    now, then = levels(0.05)
    now[7] += change
    found = stray(now, then, ALIKE, BLOCKS, 0.5)
    assert found.series == 7
    assert found.ratio >= 1
    assert found.excess == pytest.approx(change, abs=0.2)


def test_only_upwards_counts_where_that_is_asked() -> None:
    now, then = levels(0.05)
    now[7] -= 1.5
    assert stray(now, then, ALIKE, BLOCKS, 0.5, upwards=True).ratio < 1


def test_a_layer_that_has_no_like_may_go_its_way() -> None:
    now, then = levels(0.05)
    now[0] += 3
    alike = ALIKE.copy()
    alike[0] = False
    assert stray(now, then, alike, BLOCKS, 0.5).ratio < 1


def test_two_blocks_that_move_are_no_stray_and_one_block_is() -> None:
    now, then = levels(0.05)
    now[[3, 4]] += 1.5
    assert stray(now, then, ALIKE, BLOCKS, 0.5).ratio >= 1
    now[6] += 1.0
    assert stray(now, then, ALIKE, BLOCKS, 0.5).ratio < 1


def test_what_the_siblings_did_before_must_be_passed_by_half() -> None:
    now, then = levels(0.05)
    now[7] += 1.5
    assert stray(now, then, ALIKE, BLOCKS, 0.5, tail=1.2).ratio < 1


def test_the_next_of_the_siblings_must_be_passed_by_far() -> None:
    now, then = levels(0.05)
    now[7] += 3.0
    now[0] += 0.8
    assert stray(now, then, ALIKE, BLOCKS, 0.5, gap=3.0).ratio >= 1
    now[0] += 0.5
    assert stray(now, then, ALIKE, BLOCKS, 0.5).ratio >= 1
    assert stray(now, then, ALIKE, BLOCKS, 0.5, gap=3.0).ratio < 1


def test_layers_that_scatter_widely_are_seldom_strays_at_first_and_hardly_ever_once_their_scatter_is_known() -> (
    None
):
    found = [stray(*levels(1.0, seed), ALIKE, BLOCKS, 0.5) for seed in range(3000)]
    assert np.mean([each.ratio >= 1 for each in found]) < 1 / 100
    known = np.array([abs(each.excess) for each in found]).reshape(-1, 10).max(axis=1)
    again = [stray(*levels(1.0, 5000 + at), ALIKE, BLOCKS, 0.5, tail) for at, tail in enumerate(known)]
    assert sum(each.ratio >= 1 for each in again) <= 1


def test_what_is_not_known_or_did_not_move_at_all_does_not_count() -> None:
    now, then = levels(0.05)
    now[:5], then[5:9] = np.nan, np.nan
    assert stray(now, then, ALIKE, BLOCKS, 0.5).series == -1
    now, then = levels(0.05)
    now[:9] = then[:9]
    assert stray(now, then, ALIKE, BLOCKS, 0.5).series == -1


def test_a_ratio_that_nobody_needs_is_given_too_large_at_most_and_never_as_one_that_matters() -> None:
    matter = 0
    for seed in range(300):
        now, then = levels(0.3, seed)
        now[7] += 0.01 * seed
        exact = stray(now, then, ALIKE, BLOCKS, 0.5)
        for least in (0.3, 0.9):
            found = stray(now, then, ALIKE, BLOCKS, 0.5, least=least)
            assert found[:2] == exact[:2]
            assert found.ratio >= exact.ratio
            assert (found.ratio == exact.ratio) if found.ratio >= least else exact.ratio < least
            matter += found.ratio >= least
    assert 0 < matter < 600
