"""What flows through a PyTorch model, every few steps: four numbers per layer from a forward hook.

The hooks are on the modules only during a forward pass that is measured, so the others cost nothing. Only the first
call of a layer in a step is measured (the first micro-batch, not the recomputation of activation checkpointing), and
only in training mode. A compiled model's inner modules do not run hooks that came later: nothing is measured there.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

_log = logging.getLogger(__name__)

SIGNALS = ("act_mean", "act_rms", "act_absmax")


class Activations:
    """Measures the outputs of `modules`, one a layer, in each pass between `arm` and `take`."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self._modules = modules
        self._handles: list[RemovableHandle] = []
        self._taken: dict[int, tuple[int, list[Tensor]]] = {}
        self._broken = False

    def arm(self) -> None:
        """Measure the next forward pass."""
        self.disarm()
        if not self._broken:
            self._handles = [
                module.register_forward_hook(functools.partial(self._on_output, layer))
                for layer, module in enumerate(self._modules)
            ]

    def disarm(self) -> None:
        """Take the hooks off the modules, and forget what they measured."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._taken = {}

    def take(self) -> tuple[list[int], list[int], list[Tensor]]:
        """What was measured since `arm`: layers, elements of each, and four scalars of each; disarms."""
        taken = self._taken
        self.disarm()
        scalars = [scalar for _, of_layer in taken.values() for scalar in of_layer]
        return list(taken), [elements for elements, _ in taken.values()], scalars

    def _on_output(self, layer: int, module: nn.Module, _inputs: Any, output: Any) -> None:
        if layer in self._taken or not module.training or self._broken:
            return
        try:
            tensor = output[0] if isinstance(output, tuple | list) and output else output
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel():
                self._taken[layer] = (tensor.numel(), _four(tensor))
        except Exception as error:
            self._broken = True
            _log.warning("activations are not measured any more: %s", error)


@torch.no_grad()
def _four(output: Tensor) -> list[Tensor]:
    """Sum, L2 norm, smallest and largest: each one cheap pass; ``var`` and the infinity norm cost ten times as much."""
    output = output.detach()
    smallest, largest = torch.aminmax(output)
    return [
        output.sum(dtype=torch.float32),
        torch.linalg.vector_norm(output, dtype=torch.float32),
        smallest,
        largest,
    ]


def decode(numbers: NDArray[np.float32], elements: NDArray[np.float64]) -> NDArray[np.float64]:
    """`SIGNALS` of each layer from its four scalars: float64 of shape (layers, 3)."""
    total, norm, smallest, largest = numbers.astype(np.float64).reshape(-1, 4).T
    return np.stack(
        [total / elements, norm / np.sqrt(elements), np.maximum(np.abs(smallest), np.abs(largest))], axis=1
    )
