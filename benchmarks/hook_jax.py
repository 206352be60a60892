"""The same small GPT trained in JAX on the CPU, with or without the hook, step by step."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from anomaly.jax import Watch, layer_statistics, layout_of, watch

LAYERS, WIDTH, HEADS, TOKENS, VOCABULARY = 6, 256, 4, 512, 256
RATE, DECAY = 3e-4, (0.9, 0.999)


def _parameters() -> dict[str, Any]:
    generator = np.random.default_rng(0)

    def matrix(*shape: int) -> jax.Array:
        return jnp.asarray(generator.normal(size=shape) * 0.02, dtype=jnp.float32)

    def norm() -> dict[str, jax.Array]:
        return {"scale": jnp.ones(WIDTH), "bias": jnp.zeros(WIDTH)}

    def linear(inputs: int, outputs: int) -> dict[str, jax.Array]:
        return {"w": matrix(inputs, outputs), "b": jnp.zeros(outputs)}

    def layer() -> dict[str, Any]:
        return {
            "norm_1": norm(),
            "qkv": linear(WIDTH, 3 * WIDTH),
            "project": linear(WIDTH, WIDTH),
            "norm_2": norm(),
            "up": linear(WIDTH, 4 * WIDTH),
            "down": linear(4 * WIDTH, WIDTH),
        }

    return {
        "embed": matrix(VOCABULARY, WIDTH),
        "position": matrix(TOKENS, WIDTH),
        "h": [layer() for _ in range(LAYERS)],
        "norm": norm(),
        "head": {"w": matrix(WIDTH, VOCABULARY)},
    }


def _norm(params: Any, x: jax.Array) -> jax.Array:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    normed: jax.Array = (x - mean) * jax.lax.rsqrt(variance + 1e-5) * params["scale"] + params["bias"]
    return normed


def _linear(params: Any, x: jax.Array) -> jax.Array:
    out: jax.Array = x @ params["w"] + params["b"]
    return out


def _layer(params: Any, x: jax.Array) -> jax.Array:
    parts = jnp.split(_linear(params["qkv"], _norm(params["norm_1"], x)), 3, axis=-1)
    query, key, value = (part.reshape(TOKENS, HEADS, -1).transpose(1, 0, 2) for part in parts)
    scores = query @ key.transpose(0, 2, 1) / jnp.sqrt(WIDTH / HEADS)
    weights = jax.nn.softmax(jnp.where(jnp.tri(TOKENS, dtype=bool), scores, -1e9))
    x = x + _linear(params["project"], (weights @ value).transpose(1, 0, 2).reshape(TOKENS, WIDTH))
    return x + _linear(params["down"], jax.nn.gelu(_linear(params["up"], _norm(params["norm_2"], x))))


def _loss(params: Any, tokens: jax.Array) -> jax.Array:
    x = params["embed"][tokens] + params["position"]
    for layer in params["h"]:
        x = _layer(layer, x)
    logits = jax.nn.log_softmax(_norm(params["norm"], x) @ params["head"]["w"])
    return -jnp.mean(jnp.take_along_axis(logits[:-1], tokens[1:, None], axis=1))


def _adam(grads: Any, moments: Any, count: jax.Array) -> tuple[Any, Any]:
    first = jax.tree.map(lambda m, g: DECAY[0] * m + (1 - DECAY[0]) * g, moments[0], grads)
    second = jax.tree.map(lambda v, g: DECAY[1] * v + (1 - DECAY[1]) * g * g, moments[1], grads)
    left = (1 - DECAY[0] ** count, 1 - DECAY[1] ** count)
    updates = jax.tree.map(lambda m, v: -RATE * (m / left[0]) / (jnp.sqrt(v / left[1]) + 1e-8), first, second)
    return updates, (first, second)


class Training:
    """One model in training; with `servers`, measured and reported there."""

    def __init__(self, servers: str | None) -> None:
        self._params = _parameters()
        moments = tuple(
            jax.tree.map(jnp.zeros_like, self._params) for _ in range(2)
        )  # two, for both are donated
        self._state: Any = (moments, jnp.float32(0))
        self._tokens = jnp.asarray(np.random.default_rng(1).integers(0, VOCABULARY, TOKENS))
        layout = layout_of(self._params)
        self._run: Watch | None = None
        if servers is not None:
            self._run = watch(layout, "bench-jax", bootstrap_servers=servers)

        def train_step(params: Any, state: Any, tokens: jax.Array) -> Any:
            loss, grads = jax.value_and_grad(_loss)(params, tokens)
            moments, count = state
            updates, moments = _adam(grads, moments, count + 1)
            matrix = None if servers is None else layer_statistics(layout, grads, params, updates)
            return jax.tree.map(jnp.add, params, updates), (moments, count + 1), loss, matrix

        self._train_step = jax.jit(train_step, donate_argnums=(0, 1))

    def step(self) -> None:
        """One training step, until its parameters are there."""
        self._params, self._state, loss, matrix = self._train_step(self._params, self._state, self._tokens)
        if self._run is not None:
            self._run.step(matrix, loss=loss)
        jax.block_until_ready(self._params)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._run is not None:
            self._run.close()
