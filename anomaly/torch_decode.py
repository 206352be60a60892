"""What one step of a PyTorch training measured: the scalars on the device, and what each of them means."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomaly import torch_activations
from anomaly.records import NOT_MEASURED
from anomaly.torch_layers import Layers

SIGNALS = ("grad_norm", "weight_norm", "update_ratio", *torch_activations.SIGNALS)
MODEL_SIGNALS = ("loss", "lr", "grad_norm_total", "step_seconds")
_GRADIENT, _WEIGHT, _UPDATE, _ACTIVATION = range(4)


@dataclass(slots=True)
class Measured:
    """Lists of one-dimensional tensors whose concatenation `decode` takes, with the tensors' or layers' numbers."""

    layers: Layers
    gradients: list[Tensor] = field(default_factory=list)
    with_gradient: list[int] = field(default_factory=list)
    without_gradient: list[int] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    updates: list[Tensor] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    activations: list[Tensor] = field(default_factory=list)
    active: list[int] = field(default_factory=list)
    elements: list[int] = field(default_factory=list)
    scalars: dict[str, Tensor] = field(default_factory=dict)
    clipped_to: float | None = None

    def parts(self) -> list[Tensor]:
        """All that goes to the host, in the order of `decode`."""
        parts = [*self.gradients, *self.weights, *self.updates]
        if self.activations:
            parts.append(torch.stack([scalar.float() for scalar in self.activations]))
        return parts + [scalar.detach().reshape(1) for scalar in self.scalars.values()]

    def decode(self, numbers: NDArray[np.float32]) -> tuple[dict[str, float], NDArray[np.float32]]:
        """Whole-model signals and the matrix (layers, `SIGNALS`), from the numbers of `parts`."""
        at = 0

        def take(wanted: bool, count: int) -> NDArray[np.float32]:
            nonlocal at
            at += count if wanted else 0
            return numbers[at - count : at] if wanted else numbers[:0]

        gradients = take(bool(self.gradients), len(self.with_gradient))
        weights = take(bool(self.weights), len(self.layers.tensors))
        updates = take(bool(self.updates), len(self.moved))
        activations = take(bool(self.activations), 4 * len(self.active))
        signals = dict(zip(self.scalars, numbers[at:].tolist(), strict=True))
        scale = signals.pop("grad_scale", 1.0)
        matrix = np.repeat(NOT_MEASURED, len(self.layers.names) * len(SIGNALS)).reshape(-1, len(SIGNALS))
        with np.errstate(all="ignore"):
            if not signals.get(
                "skipped"
            ):  # its gradients overflowed on purpose: that is how the scale is found
                signals |= self._decode_gradients(gradients / np.float32(scale), matrix)
            self._decode_weights(weights, updates, matrix)
            if self.active:
                elements = np.array(self.elements, dtype=np.float64)
                matrix[self.active, _ACTIVATION:] = torch_activations.decode(activations, elements)
        return signals, matrix

    def _decode_gradients(self, norms: NDArray[np.float32], matrix: NDArray[np.float32]) -> dict[str, float]:
        if not self.gradients and not self.without_gradient:
            return {}
        zeros = np.zeros(len(self.without_gradient), dtype=np.float32)
        squares, known = self._by_layer(
            self.with_gradient + self.without_gradient, np.concatenate([norms, zeros])
        )
        matrix[known, _GRADIENT] = np.sqrt(squares[known])
        total = float(np.sqrt(squares.sum()))
        signals = {"grad_norm_total": total}
        if self.clipped_to is not None:
            signals["clip_coef"] = min(self.clipped_to / (total + 1e-6), 1.0)
        return signals

    def _decode_weights(
        self, norms: NDArray[np.float32], changes: NDArray[np.float32], matrix: NDArray[np.float32]
    ) -> None:
        if not self.weights:
            return
        squares, known = self._by_layer(range(len(self.layers.tensors)), norms)
        matrix[known, _WEIGHT] = np.sqrt(squares[known])
        if self.updates:
            changed, moved = self._by_layer(self.moved, changes)
            moved &= squares != 0  # from nothing every step is infinitely large
            matrix[moved, _UPDATE] = np.sqrt(changed[moved] / squares[moved])

    def _by_layer(
        self, tensors: list[int] | range, norms: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Sums of squares per layer, and which layers have any."""
        layer = self.layers.layer_of[np.asarray(tensors, dtype=np.intp)]
        count = len(self.layers.names)
        squares = np.bincount(layer, weights=np.square(norms, dtype=np.float64), minlength=count)
        return squares.astype(np.float64, copy=False), np.bincount(layer, minlength=count) > 0
