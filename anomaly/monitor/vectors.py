"""Which layers have a vector for weights, by their names: biases, normalisation layers, learned scales.

Few numbers that begin at 0 or at 1 double, and halve their updates, by what a matrix hardly notices.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

VECTOR_CAUTION = 1.5
"""Times the evidence for what a vector's weights, updates and gradients do by themselves."""
_SEPARATORS = re.compile(r"[./:]")
_WEIGHTS = re.compile(r"weight|kernel|w|\d+", re.IGNORECASE)
"""Parts of a name that tell nothing: the parameter's, or its number."""
_VECTOR = re.compile(
    r"bias|b|scale|gamma|beta|gain|logit_scale|temperature|(ln|bn|gn)_?\w{0,2}|.*norms?(alization)?(_?\d+)?",
    re.IGNORECASE,
)


def are_vectors(layers: Sequence[str]) -> NDArray[np.bool_]:
    """Bool [layers].

    >>> are_vectors(("h.0.ln_1", "h.0.mlp.c_fc.bias", "Blocks_0/Norm/Kernel", "norms.4", "model.norm.weight")).tolist()
    [True, True, True, True, True]
    >>> are_vectors(("h.0.mlp", "h.0.mlp.c_fc.weight", "model.layers.11.self_attn", "layer_3", "lm_head")).tolist()
    [False, False, False, False, False]
    """
    return np.array([_is_vector(name) for name in layers], np.bool_)


def _is_vector(name: str) -> bool:
    parts = _SEPARATORS.split(name)
    while len(parts) > 1 and _WEIGHTS.fullmatch(parts[-1]):
        parts.pop()
    return _VECTOR.fullmatch(parts[-1]) is not None
