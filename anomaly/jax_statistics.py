"""Statistics of a JAX training's layers, computed on the device inside the caller's jitted step.

A layer is the container that holds arrays directly (``h.0.attn``), or a prefix of `depth` keys. Lists keep their order,
and so do dictionaries, unless their keys are in alphabetical order: what comes out of ``jax.jit`` is, and then numbers
in names count as numbers (``h_2`` before ``h_10``). So make the layout from parameters as your own code ordered them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anomaly.errors import SettingsError
from anomaly.records import NOT_MEASURED_BITS, Layout

Tree = Any
Path = tuple[str, ...]
MODEL_SIGNALS = ("loss", "lr", "grad_norm_total", "step_seconds")
SIGNALS = ("grad_norm", "weight_norm", "update_ratio")
ACTIVATION_SIGNALS = ("act_mean", "act_rms", "act_absmax", "act_zero_frac")


def layout_of(params: Tree, *, depth: int | None = None, activations: bool = False) -> Layout:
    """The layers of `params`, a pytree of arrays, and the signals that `layer_statistics` computes of each.

    Raises `SettingsError` for a tree without arrays.
    """
    leaves = dict(_paths(params))
    if not leaves or (depth is not None and depth < 1):
        raise SettingsError(
            [f"params, depth: got {len(leaves)} arrays and depth {depth}; at least 1 of each is needed"]
        )
    outer = (
        "params" if all(path[0] == "params" and len(path) > 1 for path in leaves) else None
    )  # Flax's collection
    parameters: dict[str, int] = {}
    dtypes: dict[str, str] = {}
    for path, leaf in leaves.items():
        inner = path[1:] if outer else path
        name = ".".join(inner[: (len(inner) - 1 if depth is None else depth) or 1])
        parameters[name] = parameters.get(name, 0) + int(np.prod(leaf.shape, dtype=np.int64))
        dtypes.setdefault(name, str(leaf.dtype))
    layout = Layout(
        layers=tuple(parameters),
        signals=SIGNALS + (ACTIVATION_SIGNALS if activations else ()),
        model_signals=MODEL_SIGNALS,
        parameters=tuple(parameters.values()),
        dtype=tuple(dtypes.values()),
    )
    layout.check()
    return layout


def layer_statistics(
    layout: Layout,
    grads: Tree,
    params: Tree,
    updates: Tree = None,
    activations: Mapping[str, jax.Array] | None = None,
) -> jax.Array:
    """Norms of each layer, and of `activations` by layer name: float32 of shape (layers, signals) of `layout`.

    For use inside ``jax.jit``. `params` are those that the loss used, before `updates` are added. What is not given is
    "not measured". Raises `SettingsError` while it is traced, if a name is not in `layout`.
    """
    weights = _norms(layout, params)
    changes = _norms(layout, updates)
    columns: dict[str, dict[int, jax.Array]] = {
        "grad_norm": _norms(layout, grads),
        "weight_norm": weights,
        "update_ratio": {
            layer: jnp.where(weights[layer] > 0, change / weights[layer], _not_measured())
            for layer, change in changes.items()
            if layer in weights
        },
    }
    for name, output in (activations or {}).items():
        for signal, value in zip(ACTIVATION_SIGNALS, _activation(output), strict=True):
            columns.setdefault(signal, {})[_layer(layout, (name,))] = value
    return jnp.stack(
        [
            jnp.stack([columns.get(signal, {}).get(layer, _not_measured()) for signal in layout.signals])
            for layer in range(len(layout.layers))
        ]
    )


def _norms(layout: Layout, tree: Tree) -> dict[int, jax.Array]:
    """L2 norms, float32 scalars by the layer's number."""
    squares: dict[int, jax.Array] = {}
    for path, leaf in _paths(tree):
        layer = _layer(layout, path)
        squares[layer] = squares.get(layer, jnp.float32(0)) + _squares(leaf)
    return {layer: jnp.sqrt(total) for layer, total in squares.items()}


def _squares(array: jax.Array) -> jax.Array:
    """The sum of squares in float32: a plain reduction, which XLA fuses with whatever computes the array.

    A dot product is as fast by itself, but wants its array written out first: `updates` never need to be.
    """
    return jnp.sum(jnp.square(array.astype(jnp.float32)))


def _activation(output: jax.Array) -> tuple[jax.Array, ...]:
    """Mean, root mean square, largest magnitude, share of zeros."""
    values = jax.lax.stop_gradient(output).astype(jnp.float32)
    return (
        jnp.mean(values),
        jnp.sqrt(_squares(values) / values.size),
        jnp.max(jnp.abs(values)),
        jnp.mean(values == 0, dtype=jnp.float32),
    )


def _not_measured() -> jax.Array:
    return jax.lax.bitcast_convert_type(jnp.uint32(NOT_MEASURED_BITS), jnp.float32)


def _layer(layout: Layout, path: Path) -> int:
    """The number of the layer that the array at `path` belongs to: the longest prefix that is a layer's name."""
    numbers = {name: at for at, name in enumerate(layout.layers)}
    for inner in (path, path[1:]):
        for length in range(len(inner), 0, -1):
            number = numbers.get(".".join(inner[:length]))
            if number is not None:
                return number
    raise SettingsError(
        [f"layers: {'.'.join(path)!r} belongs to no layer of the layout; make it with layout_of(params)"]
    )


def _paths(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every array of a pytree with its path, dictionaries in their own order (``jax.tree`` would sort them)."""
    if isinstance(tree, Mapping):
        keys = list(tree)
        names = [str(key) for key in keys]
        if names == sorted(names):
            keys.sort(key=_natural)
        for key in keys:
            yield from _paths(tree[key], (*path, str(key)))
        return
    for keys_path, child in jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda node: node is not tree)[
        0
    ]:
        if keys_path:
            yield from _paths(child, (*path, _key(keys_path[0])))
        elif hasattr(child, "dtype"):
            yield path or ("params",), child


def _key(key: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _natural(key: Any) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(key))]
