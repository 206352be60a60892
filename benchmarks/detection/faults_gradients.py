"""Faults of gradients; and how faults choose a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchmarks.detection.injections import Hold

if TYPE_CHECKING:
    from benchmarks.detection.training import Training


def draw_layer(hold: Hold, *, matrices: bool = False) -> str:
    """One of the trained layers; with `matrices` one that is a linear map or a convolution."""
    replica = hold.training.replicas[0]
    names = [
        name for name, parameters in replica.layers.items() if any(one.requires_grad for one in parameters)
    ]
    if matrices:
        wanted = nn.Linear | nn.Conv2d
        names = [name for name in names if isinstance(replica.modules[name], wanted)]
        names = [name for name in names if not name.endswith("router")]
    return hold.rng.choice(names)


def with_relu(training: Training) -> list[str]:
    """The layers with a ReLU right behind them and a shift of their own."""
    layers = training.replicas[0].layers
    if training.plan.model == "cnn":
        return [name for name in layers if name.startswith("bn.")]
    if training.plan.model == "residual":
        return [name for name in layers if name.startswith("h.")]
    return [name for name in layers if name.startswith(("conv.", "hidden.")) or name in ("encode", "decode")]


class Gradients(Hold):
    """A change of every rank's gradients, of all layers or of one."""

    def gradients(self) -> None:
        """Apply `changed` to each."""
        if not self.on:
            return
        for replica in self.training.replicas:
            for name, parameters in replica.layers.items():
                if self.layer is None or name == self.layer:
                    for parameter in parameters:
                        if parameter.grad is not None:
                            parameter.grad = self.changed(parameter.grad)

    def changed(self, gradient: Tensor) -> Tensor:
        """The gradient instead."""
        raise NotImplementedError


class GradientSpike(Gradients):
    """All gradients jump, for some steps or for good: an average not taken, a batch gone bad."""

    def choose(self) -> None:
        """How long."""
        self.lasts(6, 40)

    def changed(self, gradient: Tensor) -> Tensor:
        """Larger."""
        return gradient * self.strength


class LayerGradientSpike(GradientSpike):
    """One layer's gradient jumps."""

    def choose(self) -> None:
        """Which and how long."""
        self.layer = draw_layer(self)
        self.lasts(3, 40)


class GradientExplosion(Gradients):
    """All gradients grow geometrically."""

    def changed(self, gradient: Tensor) -> Tensor:
        """Larger with age."""
        return gradient * min((1 + self.strength) ** (self.age + 1), 1e8)


class GradientVanishing(Gradients):
    """One layer's gradient decays geometrically, or that of all layers before one (variant 1)."""

    def choose(self) -> None:
        """Which."""
        self.layer = draw_layer(self)

    def gradients(self) -> None:
        """One layer, or all up to it."""
        if not self.on:
            return
        for replica in self.training.replicas:
            for name, parameters in replica.layers.items():
                if self.plan.variant or name == self.layer:
                    for parameter in parameters:
                        if parameter.grad is not None:
                            parameter.grad = self.changed(parameter.grad)
                if name == self.layer:
                    break

    def changed(self, gradient: Tensor) -> Tensor:
        """Smaller with age."""
        return gradient * max((1 - self.strength) ** (self.age + 1), 1e-6)


class GradientDead(Gradients):
    """One layer is cut off: its gradient is zero, or there is none (variant 1)."""

    def choose(self) -> None:
        """Which."""
        self.layer = draw_layer(self)

    def gradients(self) -> None:
        """None at all, or zero."""
        if self.on and self.plan.variant:
            assert self.layer is not None
            for replica in self.training.replicas:
                for parameter in replica.layers[self.layer]:
                    parameter.grad = None
        else:
            super().gradients()

    def changed(self, gradient: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(gradient)


class GradientNoise(Gradients):
    """One layer's gradient is buried in noise as large as itself, or its size is shaken (variant 1)."""

    def choose(self) -> None:
        """Which."""
        self.layer = draw_layer(self)
        self.shake = 1.0

    def gradients(self) -> None:
        """The same shake for all parameters of the step."""
        self.shake = float(torch.exp(0.3 * self.strength**0.5 * torch.randn((), generator=self.noise)))
        super().gradients()

    def changed(self, gradient: Tensor) -> Tensor:
        """Noisy."""
        if self.plan.variant:
            return gradient * self.shake
        scale = gradient.float().square().mean().sqrt() * self.strength
        heavy = torch.randn((), generator=self.noise).abs()
        return gradient + (heavy * scale * torch.randn(gradient.shape, generator=self.noise)).to(
            gradient.dtype
        )


class MissingZeroGrad(Hold):
    """Gradients are never cleared any more."""

    def clears(self) -> bool:
        """No."""
        return not self.on


BY_KIND: dict[str, type[Hold]] = {
    "gradient_spike": GradientSpike,
    "layer_gradient_spike": LayerGradientSpike,
    "gradient_explosion": GradientExplosion,
    "gradient_vanishing": GradientVanishing,
    "gradient_dead": GradientDead,
    "gradient_noise": GradientNoise,
    "missing_zero_grad": MissingZeroGrad,
}
