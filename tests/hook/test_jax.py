"""JAX trainings, small but real, and their layers' statistics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from anomaly import SettingsError  # noqa: E402
from anomaly.jax import layer_statistics, layout_of, watch  # noqa: E402
from anomaly.records import NOT_MEASURED_BITS  # noqa: E402
from tests.hook.recording import FAST, Broker, read  # noqa: E402

WIDTH, TOKENS = 8, 11


def parameters(blocks: int = 2) -> dict[str, Any]:
    """In forward order, which is not the alphabet's."""
    generator = np.random.default_rng(0)

    def matrix(*shape: int) -> Any:
        return jnp.asarray(generator.normal(size=shape) * 0.1, dtype=jnp.float32)

    def block() -> dict[str, Any]:
        return {"up": {"w": matrix(WIDTH, 16), "b": matrix(16)}, "down": {"w": matrix(16, WIDTH)}}

    return {
        "wte": matrix(TOKENS, WIDTH),
        "h": [block() for _ in range(blocks)],
        "final": {"scale": matrix(WIDTH)},
        "by": {"w": matrix(WIDTH, 1)},
    }


def loss_of(params: dict[str, Any], tokens: Any) -> Any:
    x = params["wte"][tokens]
    for block in params["h"]:
        x = x + jax.nn.gelu(x @ block["up"]["w"] + block["up"]["b"]) @ block["down"]["w"]
    logits = (x * params["final"]["scale"]) @ params["wte"].T + x @ params["by"]["w"]
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.roll(tokens, 1)[:, None], axis=1))


def by_name(layout: Any, matrix: Any, layer: str) -> dict[str, float]:
    row = np.asarray(matrix)[layout.layers.index(layer)]
    return {
        signal: float(value)
        for signal, value in zip(layout.signals, row, strict=True)
        if np.float32(value).view(np.uint32) != NOT_MEASURED_BITS
    }


def test_layers_are_the_containers_of_arrays_in_the_callers_order() -> None:
    layout = layout_of(parameters(blocks=12))
    assert layout.layers[:4] == ("wte", "h.0.up", "h.0.down", "h.1.up")
    assert layout.layers[-3:] == ("h.11.down", "final", "by")
    assert layout.parameters is not None
    assert layout.parameters[:2] == (TOKENS * WIDTH, WIDTH * 16 + 16)
    assert layout.dtype == ("float32",) * len(layout.layers)


def test_a_depth_makes_larger_layers() -> None:
    assert layout_of(parameters(), depth=1).layers == ("wte", "h", "final", "by")
    assert layout_of(parameters(), depth=2).layers[:3] == ("wte", "h.0", "h.1")


def test_numbers_in_names_count_as_numbers_where_jit_has_sorted_the_names() -> None:
    names = [f"Block_{number}" for number in range(12)]
    given = {"params": {name: {"Dense_0": {"kernel": jnp.ones(2)}} for name in names}}
    through_jit = jax.jit(lambda tree: tree)(given)
    expected = tuple(f"{name}.Dense_0" for name in names)
    assert layout_of(given).layers == expected
    assert layout_of(through_jit).layers == expected


def test_named_tuples_and_single_arrays_are_trees_too() -> None:
    class Pair(NamedTuple):
        second: Any
        first: Any

    assert layout_of(Pair({"w": jnp.ones(1)}, {"w": jnp.ones(1)})).layers == ("second", "first")
    assert layout_of(jnp.ones(3)).layers == ("params",)


def test_statistics_are_those_of_each_layer() -> None:
    params = parameters()
    layout = layout_of(params)
    grads = jax.jit(jax.grad(loss_of))(params, jnp.arange(TOKENS))
    updates = jax.tree.map(lambda gradient: -0.5 * gradient, grads)
    matrix = jax.jit(lambda *trees: layer_statistics(layout, *trees))(grads, params, updates)
    assert matrix.shape == (len(layout.layers), 3)
    assert matrix.dtype == jnp.float32

    def norm(tree: Any) -> float:
        return math.sqrt(
            sum(float(np.square(np.asarray(leaf, np.float64)).sum()) for leaf in jax.tree.leaves(tree))
        )

    picks: dict[str, Callable[[Any], Any]] = {
        "wte": lambda tree: tree["wte"],
        "h.1.up": lambda tree: tree["h"][1]["up"],
        "final": lambda tree: tree["final"],
    }
    for layer, pick in picks.items():
        found = by_name(layout, matrix, layer)
        assert found["grad_norm"] == pytest.approx(norm(pick(grads)), rel=1e-5)
        assert found["weight_norm"] == pytest.approx(norm(pick(params)), rel=1e-5)
        assert found["update_ratio"] == pytest.approx(norm(pick(updates)) / norm(pick(params)), rel=1e-5)


def test_what_is_not_given_is_not_measured_and_nan_stays_nan() -> None:
    params = {"a": {"w": jnp.ones(3)}, "b": {"w": jnp.zeros(3)}}
    layout = layout_of(params, activations=True)
    grads = {"a": {"w": jnp.array([1.0, jnp.nan, 1.0])}, "b": {"w": jnp.zeros(3)}}
    matrix = jax.jit(lambda *trees: layer_statistics(layout, *trees))(grads, params, params)
    assert math.isnan(by_name(layout, matrix, "a")["grad_norm"])
    assert set(by_name(layout, matrix, "a")) == {"grad_norm", "weight_norm", "update_ratio"}
    assert by_name(layout, matrix, "b") == {"grad_norm": 0.0, "weight_norm": 0.0}  # nothing to divide by


def test_activations_are_measured_under_their_layers_name() -> None:
    params = {"a": {"w": jnp.ones(3)}, "b": {"w": jnp.ones(3)}}
    layout = layout_of(params, activations=True)
    output = jnp.array([[0.0, 3.0], [-5.0, 0.0]], jnp.bfloat16)
    matrix = jax.jit(lambda out: layer_statistics(layout, params, params, None, {"b": out}))(output)
    found = by_name(layout, matrix, "b")
    assert found["act_mean"] == -0.5
    assert found["act_rms"] == pytest.approx(math.sqrt(34 / 4))
    assert found["act_absmax"] == 5.0
    assert found["act_zero_frac"] == 0.5
    assert "act_rms" not in by_name(layout, matrix, "a")


def test_half_precision_is_summed_in_float32() -> None:
    params = {"a": {"w": jnp.full((400, 400), 300.0, jnp.float16)}}
    layout = layout_of(params)
    assert by_name(layout, layer_statistics(layout, params, params), "a")["grad_norm"] == pytest.approx(
        120_000, rel=1e-3
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda layout, params: layer_statistics(layout, {"z": jnp.ones(2)}, params),
        lambda layout, params: layer_statistics(layout, params, params, None, {"z": jnp.ones(2)}),
    ],
)
def test_a_name_outside_the_layout_is_refused(call: Any) -> None:
    params = {"a": {"w": jnp.ones(2)}}
    with pytest.raises(SettingsError, match="'z' belongs to no layer of the layout"):
        call(layout_of(params), params)


def test_a_tree_without_arrays_is_refused() -> None:
    with pytest.raises(SettingsError, match="got 0 arrays"):
        layout_of({})


def test_a_training_is_reported_step_by_step_and_is_bit_equal_to_one_without() -> None:
    broker = Broker()
    layout = layout_of(parameters())

    def trained(report: bool) -> tuple[Any, list[float]]:
        def train_step(params: Any, tokens: Any) -> Any:
            loss, grads = jax.value_and_grad(loss_of)(params, tokens)
            updates = jax.tree.map(lambda gradient: -0.5 * gradient, grads)
            matrix = layer_statistics(layout, grads, params, updates) if report else jnp.zeros(())
            return jax.tree.map(jnp.add, params, updates), loss, matrix

        jitted = jax.jit(train_step)
        params, losses = parameters(), []
        run = watch(layout, "r1", sender=broker.connect, pacing=FAST) if report else None
        for step in range(15):
            params, loss, matrix = jitted(params, (jnp.arange(32) * 7 + step) % TOKENS)
            losses.append(loss)
            if run:
                run.step(matrix, loss=loss, lr=0.5)
        if run:
            run.close()
        return params, [float(loss) for loss in losses]

    plain, watched = trained(False), trained(True)
    assert all(map(np.array_equal, jax.tree.leaves(plain[0]), jax.tree.leaves(watched[0])))
    assert plain[1] == watched[1]
    records = read(broker.messages)
    assert [record.step for record in records] == list(range(15))
    assert [record.model["loss"] for record in records] == watched[1]
    assert records[3].model["lr"] == 0.5
    total = math.sqrt(sum(of_layer["grad_norm"] ** 2 for of_layer in records[3].layers.values()))
    assert records[3].model["grad_norm_total"] == pytest.approx(total, rel=1e-6)
    assert "step_seconds" in records[1].model


def test_steps_and_outcome_are_reported_without_a_matrix_too() -> None:
    broker = Broker()
    with watch(layout_of(parameters()), "r1", sender=broker.connect, pacing=FAST) as run:
        run.event("resume")
        run.step(step=500, loss=jnp.float32(2.0))
        run.step(loss=1.0)
        run.step(step="wrong")  # type: ignore[arg-type]
    records = read(broker.messages)
    assert [(record.step, record.model["loss"]) for record in records if record.model] == [
        (500, 2.0),
        (501, 1.0),
    ]
    assert [event["kind"] for record in records for event in record.events] == ["resume", "finished"]
