"""A small language model on the CPU: bytes of the Python standard library's own sources, a transformer, Adam.

Plain JAX, so that nothing stands between the reader and what is measured. Parameters are ``{layer: {name: array}}``;
the layers stand in forward order.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from anomaly.errors import AnomalyError

CONTEXT = 32
WIDTH = 48
HEADS = 4
BLOCKS = 4
BYTES = 256
CLIP_NORM = 1.0
_WANTED_BYTES = 4 << 20

Parameters = dict[str, dict[str, jax.Array]]


class Moments(NamedTuple):
    """Adam's state."""

    steps: jax.Array
    first: Parameters
    second: Parameters


def source_text() -> NDArray[np.uint8]:
    """Bytes of the standard library's sources, the same on every call."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = bytearray()
    for path in sorted(folder.glob("*.py")):
        text += path.read_bytes()
        if len(text) >= _WANTED_BYTES:
            break
    if len(text) < 100 * CONTEXT:
        raise AnomalyError(
            f"no Python sources in {folder}; the demo trains on them: install Python with its .py files"
        )
    return np.frombuffer(bytes(text), np.uint8)


def batch_of(text: NDArray[np.uint8], step: int, size: int) -> NDArray[np.int32]:
    """The batch of one step, int32 of shape (size, CONTEXT + 1): always the same one, also after a restart."""
    starts = np.random.default_rng((7, step)).integers(0, len(text) - CONTEXT - 1, size)
    rows: NDArray[np.int32] = text[starts[:, None] + np.arange(CONTEXT + 1)].astype(np.int32)
    return rows


def initial() -> Parameters:
    """Fresh parameters, the same on every call."""
    keys = iter(jax.random.split(jax.random.key(1), 4 * BLOCKS + 3))

    def weights(rows: int, columns: int, scale: float = 1.0) -> jax.Array:
        return jnp.asarray(jax.random.normal(next(keys), (rows, columns)) * scale / rows**0.5)

    parameters: Parameters = {
        "embedding": {"bytes": weights(BYTES, WIDTH, 4.0), "places": weights(CONTEXT, WIDTH, 2.0)}
    }
    shrink = (2 * BLOCKS) ** -0.5  # so that the residual stream keeps its size with depth
    for block in range(BLOCKS):
        parameters[f"block.{block}.attention"] = {
            "scale": jnp.ones(WIDTH),
            "qkv": weights(WIDTH, 3 * WIDTH),
            "out": weights(WIDTH, WIDTH, shrink),
        }
        parameters[f"block.{block}.mlp"] = {
            "scale": jnp.ones(WIDTH),
            "up": weights(WIDTH, 4 * WIDTH),
            "down": weights(4 * WIDTH, WIDTH, shrink),
        }
    parameters["head"] = {"scale": jnp.ones(WIDTH), "out": weights(WIDTH, BYTES)}
    return parameters


def no_moments(parameters: Parameters) -> Moments:
    """Adam's state before the first step."""
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    return Moments(jnp.zeros((), jnp.int32), zeros, zeros)


def loss_of(
    parameters: Parameters, inputs: jax.Array, targets: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean loss in nats per byte, and each layer's output."""
    outputs: dict[str, jax.Array] = {}
    x = parameters["embedding"]["bytes"][inputs] + parameters["embedding"]["places"]
    outputs["embedding"] = x
    for block in range(BLOCKS):
        for part, apply in (("attention", _attention), ("mlp", _mlp)):
            name = f"block.{block}.{part}"
            outputs[name] = apply(parameters[name], x)
            x = x + outputs[name]
    logits = _normed(x, parameters["head"]["scale"]) @ parameters["head"]["out"]
    outputs["head"] = logits
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)
    return losses.mean(), outputs


def adam(gradients: Parameters, moments: Moments, lr: jax.Array) -> tuple[Parameters, Moments]:
    """The updates to add to the parameters, and the next state."""
    steps = moments.steps + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments.first, gradients)
    second = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g * g, moments.second, gradients)
    scale = lr * jnp.sqrt(1 - 0.99**steps) / (1 - 0.9**steps)
    updates = jax.tree.map(lambda m, v: -scale * m / (jnp.sqrt(v) + 1e-8), first, second)
    return updates, Moments(steps, first, second)


def _normed(x: jax.Array, scale: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) * scale


def _attention(parameters: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    batch, length, _ = x.shape
    qkv = _normed(x, parameters["scale"]) @ parameters["qkv"]
    q, k, v = qkv.reshape(batch, length, 3, HEADS, WIDTH // HEADS).transpose(2, 0, 3, 1, 4)
    logits = q @ k.transpose(0, 1, 3, 2) * (WIDTH // HEADS) ** -0.5
    causal = jnp.tril(jnp.ones((length, length), bool))
    mixed = jax.nn.softmax(jnp.where(causal, logits, -1e9)) @ v
    joined: jax.Array = mixed.transpose(0, 2, 1, 3).reshape(batch, length, WIDTH)
    return joined @ parameters["out"]


def _mlp(parameters: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return jnp.asarray(jax.nn.gelu(_normed(x, parameters["scale"]) @ parameters["up"]) @ parameters["down"])
