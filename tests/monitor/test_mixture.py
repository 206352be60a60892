"""Which layers are a mixture's parts, and what is usual of those: now and then no token reaches them."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly.monitor.mixture import is_mixture, is_nameless, parts_of
from tests.monitor.logs import healthy
from tests.monitor.survey_logs import kinds

ROUTED = ("h.0.mlp.router", *(f"h.0.mlp.w1.{at}" for at in range(4)), "h.0.ln1", "h.0.ln2", "head")


@pytest.mark.parametrize(
    ("layers", "parts"),
    [
        (("h.0.moe.experts.3.up", "h.0.moe.gate", "h.0.ln"), ("h.0.moe.experts.3.up",)),
        (ROUTED, ROUTED[1:5]),
        (tuple(f"{name}.weight" for name in ROUTED), tuple(f"{name}.weight" for name in ROUTED[1:5])),
        (
            ("params/h_0/router", *(f"params/h_0/w1_{at}" for at in range(3))),
            tuple(f"params/h_0/w1_{at}" for at in range(3)),
        ),
        (("stem", *(f"layer1.{at}" for at in range(5)), "head"), ()),
        (("wte", "h.0", "h.1", "h.2", "h.3", "router"), ()),
    ],
)
def test_parts_are_experts_by_name_or_beside_a_router_those_numbered_within_their_block(
    layers: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    found = parts_of(layers, ("grad_norm",))
    assert tuple(name for name, part in zip(layers, found.tolist(), strict=True) if part) == parts


def test_a_mixture_shows_by_a_name_or_by_its_routers_entropy_where_names_say_nothing() -> None:
    nameless = tuple(f"layer_{at}" for at in range(5))
    assert is_nameless(nameless)
    assert not is_nameless((*nameless, "head"))
    assert is_mixture(nameless, ("grad_norm", "router_entropy"))
    assert not is_mixture(nameless, ("grad_norm",))


@pytest.mark.parametrize(
    ("layers", "starved", "found"),
    [
        (ROUTED, "h.0.mlp.w1.2", []),
        (tuple(name.replace("router", "up") for name in ROUTED), "h.0.mlp.w1.2", ["gradient_dead"]),
        (ROUTED, "h.0.ln2", ["gradient_dead"]),
    ],
)
def test_an_expert_without_tokens_is_not_dead(
    layers: tuple[str, ...], starved: str, found: list[str]
) -> None:
    def record(step: int) -> dict[str, Any]:
        one: dict[str, Any] = {"run": "r1", **healthy(step, layers=layers)}
        if 30 <= step < 60:
            one["layers"][starved]["grad_norm"] = 0.0
        return one

    assert [kind for kind, _ in kinds([record(step) for step in range(80)])] == found
