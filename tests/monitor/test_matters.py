"""What a chart finds and nobody needs to hear of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.monitor.logs import training
from tests.monitor.survey_logs import kinds


@pytest.mark.parametrize(("left", "found"), [(0.45, []), (0.1, ["attention_logit_growth"])])
def test_heads_learn_where_to_look_and_collapse_only_onto_next_to_nothing(
    left: float, found: list[str]
) -> None:
    def looking(step: int, record: dict[str, Any]) -> None:
        noise = np.random.default_rng([4, step]).standard_normal(5)
        for at, of_layer in enumerate(record["layers"].values()):
            sharper = max(left, 1.0 - max(0, step - 200) / 60) if at == 2 else 1.0
            of_layer["attn_entropy"] = 2.5 * sharper + 0.03 * float(noise[at])

    assert [kind for kind, _ in kinds(training(range(600), looking))] == found


@pytest.mark.parametrize(("others", "found"), [(1.0, ["weight_blowup"]), (8.0, [])])
def test_weights_of_next_to_nothing_may_double(others: float, found: list[str]) -> None:
    def growing(step: int, record: dict[str, Any]) -> None:
        for at, of_layer in enumerate(record["layers"].values()):
            of_layer["weight_norm"] = (1.0 if at == 0 else others) * (1.0 + 1e-4 * step)
            of_layer["update_ratio"] = 1e-2
        record["layers"]["embed"]["weight_norm"] *= 1.0 + max(0.0, min(1.0, (step - 300) / 20))

    assert [kind for kind, _ in kinds(training(range(420), growing))] == found
