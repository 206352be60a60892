"""The optimisers, among them one that orthogonalises its updates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

NAMES = ("sgd", "adam", "adamw", "muon")


def make(name: str, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """An optimiser for `parameters`."""
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    if name == "sgd":
        return torch.optim.SGD(wanted, lr, momentum=0.9, weight_decay=1e-4, foreach=True)
    if name == "adam":
        return torch.optim.Adam(wanted, lr, fused=True)
    if name == "adamw":
        return torch.optim.AdamW(wanted, lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    if name == "muon":
        return Muon(wanted, lr)
    raise ValueError(f"optimizer: got {name!r}, one of {', '.join(NAMES)} is needed")


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal; vectors move by the sign of their momentum, a tenth as far."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group["lr"], group["momentum"])

    def _move(self, parameter: Tensor, lr: float, momentum: float) -> None:
        assert parameter.grad is not None
        buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        buffer.lerp_(parameter.grad, 1 - momentum)
        if parameter.dim() < 2:
            parameter.add_(buffer.sign(), alpha=-0.1 * lr)
            return
        update = _orthogonal(buffer.flatten(1))
        scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
        parameter.add_(update.view_as(parameter), alpha=-lr * scale)


def _orthogonal(matrix: Tensor, rounds: int = 4) -> Tensor:
    """Roughly the nearest matrix with orthonormal rows or columns, by Newton–Schulz iteration."""
    x = matrix / (matrix.norm() + 1e-7)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    for _ in range(rounds):
        square = x @ x.T
        x = 1.5 * x - 0.5 * square @ x
    nearest: Tensor = x if wide else x.T
    return nearest
