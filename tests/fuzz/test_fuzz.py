"""The fuzzer's fixed-seed short form; `make fuzz` is the long one."""

from __future__ import annotations

import pytest

from tests.fuzz.noise import Noise
from tests.fuzz.stream import Stream


@pytest.mark.parametrize(("seed", "partitions", "records"), [(1, 1, 8000), (2, 1, 6000), (3, 3, 6000)])
def test_noise_is_accounted_for_and_good_runs_are_judged_as_without_it(
    seed: int, partitions: int, records: int
) -> None:
    found = Stream(seed, partitions, largest=2000).run(records)
    assert not found.problems
    assert found.good > 200
    assert found.transitions > 5
    reached = {fate for fate, count in found.fates.items() if count}
    everywhere = {
        "judged",
        "late",
        "layouts",
        "undecodable",
        "invalid_record",
        "invalid_layout",
        "layout_contradiction",
    }
    assert reached >= everywhere | (
        {"forwarded"} if partitions > 1 else {"duplicate", "restart", "replaced_session"}
    )


def test_a_seed_gives_the_same_noise_every_time() -> None:
    one, other = Noise(7), Noise(7)
    assert [one.draw() for _ in range(500)] == [other.draw() for _ in range(500)]
