"""Gradient and weight norms of a PyTorch model around one optimiser step, as scalars that stay on the device.

Everything is computed by the device's own queue; nothing here looks at a value. `Norms` is asked before the update
(gradients as the optimiser gets them, weights as this loss used them) and after it (how far some layers moved).
"""

from __future__ import annotations

import torch
from torch import Tensor

from anomaly.torch_layers import Layers, local, runs


class Norms:
    """Norms over `layers`; how far a layer moves is measured every `updates_every` steps, a part of them each step.

    So one step costs as much as the next, and the copy of old weights takes 1/`updates_every` of the weights' memory.
    """

    def __init__(self, layers: Layers, updates_every: int) -> None:
        self._layers = layers
        self._parts = layers.bins(updates_every) if updates_every else []
        self._scratch: dict[tuple[torch.device, torch.dtype], Tensor] = {}
        self._old: list[Tensor] = []
        self._had_gradient: set[int] = set()
        self.measured: list[int] = []
        self.absent: list[int] = []
        self.moved: list[int] = []

    def gradients(self) -> list[Tensor]:
        """Norms of the gradients of the tensors ``measured``, one-dimensional parts in their order.

        ``absent`` are the tensors without a gradient now that had one before; what never had one is in neither.
        """
        tensors = self._layers.tensors
        self.measured, self.absent = [], []
        gradients: list[Tensor] = []
        for at in self._layers.trained:
            gradient = tensors[at].grad
            if gradient is not None:
                self.measured.append(at)
                gradients.append(gradient.coalesce().values() if gradient.is_sparse else local(gradient))
            elif at in self._had_gradient:
                self.absent.append(at)
        self._had_gradient.update(self.measured)
        return foreach_norm(gradients)

    def weights(self) -> list[Tensor]:
        """Norms of all tensors, one-dimensional parts in their order."""
        return foreach_norm([local(tensor) for tensor in self._layers.tensors])

    def keep_old(self, turn: int) -> None:
        """Copy the weights of the layers whose turn this is."""
        self.moved, self._old = [], []
        if not self._parts:
            return
        self.moved = self._parts[turn % len(self._parts)]
        weights = [local(self._layers.tensors[at]) for at in self.moved]
        if weights:
            self._old = self._room(weights)
            torch._foreach_copy_(self._old, weights)

    def updates(self) -> list[Tensor]:
        """Norms of new minus old weights of the tensors ``moved``, one-dimensional parts in their order."""
        if not self._old:
            return []
        torch._foreach_sub_(self._old, [local(self._layers.tensors[at]) for at in self.moved])
        old, self._old = self._old, []
        return foreach_norm(old)

    def _room(self, like: list[Tensor]) -> list[Tensor]:
        """A tensor for each of `like`, in memory that is kept: fresh pages cost more than the copy."""
        sizes: dict[tuple[torch.device, torch.dtype], int] = {}
        for tensor in like:
            kind = (tensor.device, tensor.dtype)
            sizes[kind] = sizes.get(kind, 0) + tensor.numel()
        for kind, size in sizes.items():
            if kind not in self._scratch or self._scratch[kind].numel() < size:
                self._scratch[kind] = torch.empty(size, device=kind[0], dtype=kind[1])
        used = dict.fromkeys(sizes, 0)
        room: list[Tensor] = []
        for tensor in like:
            kind = (tensor.device, tensor.dtype)
            start, used[kind] = used[kind], used[kind] + tensor.numel()
            room.append(self._scratch[kind][start : used[kind]].view(tensor.shape))
        return room


def foreach_norm(tensors: list[Tensor]) -> list[Tensor]:
    """L2 norms in float32, one fused call per run of tensors of one device and dtype; a part per such run."""
    parts: list[Tensor] = []
    for start, end in runs(tensors):
        # Without a dtype a norm of half-precision tensors comes in half precision: three digits, infinity from 65,504.
        dtype = torch.float32 if tensors[start].dtype in (torch.float16, torch.bfloat16) else None
        parts.append(torch.stack(torch._foreach_norm(tensors[start:end], 2.0, dtype)))
    return parts
