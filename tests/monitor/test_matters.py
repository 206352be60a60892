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


@pytest.mark.parametrize(
    ("layer", "largest", "found"),
    [("head", 0.999, ["saturation"]), ("head", 2.3, []), ("h.2", 2.3, ["saturation"])],
)
def test_outputs_that_have_no_limit_saturate_nothing(layer: str, largest: float, found: list[str]) -> None:
    def near_the_end(step: int, record: dict[str, Any]) -> None:
        noise = np.random.default_rng([4, step]).standard_normal(5)
        for at, (name, of_layer) in enumerate(record["layers"].items()):
            pinned = name == layer and step >= 200
            of_layer["act_rms"] = 0.9 * min(largest, 1.0)
            of_layer["act_absmax"] = largest if pinned else 0.9
            of_layer["act_saturated_frac"] = (0.6 if pinned else 0.02) * float(np.exp(0.1 * noise[at]))

    assert [kind for kind, _ in kinds(training(range(260), near_the_end))] == found


@pytest.mark.parametrize(
    ("layer", "times", "found"),
    [
        ("h.1", 4.0, ["update_ratio_high"]),
        ("h.1.ln_2", 4.0, []),
        ("h.1.bias", 4.0, []),
        ("h.1.ln_2", 8.0, ["update_ratio_high"]),
    ],
)
def test_a_vector_may_do_by_itself_what_a_matrix_may_not(layer: str, times: float, found: list[str]) -> None:
    names = ("embed", "h.0", layer, "h.2", "head")

    def leaping(step: int, record: dict[str, Any]) -> None:
        record["layers"] = dict(zip(names, record["layers"].values(), strict=True))
        record["layers"][layer]["update_ratio"] *= times if step >= 200 else 1.0

    assert [kind for kind, _ in kinds(training(range(232), leaping))] == found
