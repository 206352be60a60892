"""Faults of one layer that its activations show, and of how it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmarks.detection.faults_gradients import draw_layer, with_relu
from benchmarks.detection.injections import Hold

if TYPE_CHECKING:
    from benchmarks.detection.replica import Replica


class OneLayer(Hold):
    """A fault of one layer, drawn among those that are trained."""

    def choose(self) -> None:
        """Draw it."""
        self.layer = draw_layer(self)

    def own(self, replica: Replica) -> list[nn.Parameter]:
        """The layer's parameters on a rank."""
        assert self.layer is not None
        return replica.layers[self.layer]


class OutlierGrowth(OneLayer):
    """One output channel of one layer grows by the same factor at every step."""

    def choose(self) -> None:
        """A linear or convolutional layer."""
        self.layer = draw_layer(self, matrices=True)

    def after_update(self, replica: Replica) -> None:
        """Grow its row."""
        if self.on:
            self.own(replica)[0][0] *= 1 + self.strength


class DeadUnits(OneLayer):
    """A share of a layer's ReLU units is pushed below zero for good, at once or within a hundred steps."""

    def choose(self) -> None:
        """A layer with a ReLU behind it, and its units."""
        names = with_relu(self.training)
        self.layer = self.rng.choice(names)

    def after_update(self, replica: Replica) -> None:
        """Hold the units' shifts down."""
        if not self.on:
            return
        if self.plan.variant:
            depth = 20.0 if self.now else 0.0
        else:
            depth = 0.2 if self.age < 100 else 0.0
        shift = self.own(replica)[-1]
        shift[: max(1, round(self.strength * len(shift)))] -= depth


class Saturation(OneLayer):
    """A tanh layer's weights grow within fifty steps until its units sit at their ends."""

    def choose(self) -> None:
        """A layer with a tanh behind it."""
        names = [name for name in ("first", "second") if name in self.training.replicas[0].layers]
        self.layer = self.rng.choice(names if "second" in names else names[:1])

    def after_update(self, replica: Replica) -> None:
        """Grow it."""
        if self.on and self.age < 50:
            self.own(replica)[0].mul_(self.strength ** (1 / 50))


class VarianceCollapse(OneLayer):
    """The gain of one norm falls by the same factor at every step, its shift too."""

    def choose(self) -> None:
        """A layer or batch norm."""
        names = [
            name
            for name in self.training.replicas[0].layers
            if name.split(".")[-1].startswith(("ln", "norm"))
        ]
        names += [name for name in self.training.replicas[0].layers if name.startswith("bn.")]
        self.layer = self.rng.choice(names)

    def after_update(self, replica: Replica) -> None:
        """Shrink it."""
        if self.on:
            for parameter in self.own(replica):
                parameter.mul_(1 - self.strength)


class AttentionLogitGrowth(OneLayer):
    """The query and key weights of one block grow by the same factor at every step."""

    def choose(self) -> None:
        """A block's attention."""
        names = [name for name in self.training.replicas[0].layers if name.endswith("qkv")]
        self.layer = self.rng.choice(names)

    def after_update(self, replica: Replica) -> None:
        """Grow queries and keys, not values."""
        if self.on and self.age < 400:
            weight = self.own(replica)[0]
            weight[: 2 * len(weight) // 3] *= 1 + self.strength / 2


class PoorInitialisation(OneLayer):
    """One layer starts far too large or far too small (variant 1), or the whole model too large (variant 2)."""

    def choose(self) -> None:
        """Scale before the first step."""
        self.layer = draw_layer(self, matrices=True)
        factor = 1 / self.strength if self.plan.variant == 1 else self.strength
        names = [self.layer]
        if self.plan.variant == 2:
            names, factor, self.layer = list(self.training.replicas[0].layers), self.strength**0.5, None
        with torch.no_grad():
            for replica in self.training.replicas:
                for name in names:
                    for parameter in replica.layers[name]:
                        if parameter.dim() > 1:
                            parameter.mul_(factor)


class RouterCollapse(OneLayer):
    """A router comes to prefer one expert, a little more at each step."""

    def choose(self) -> None:
        """One block's router."""
        names = [name for name in self.training.replicas[0].layers if name.endswith("router")]
        self.layer = self.rng.choice(names)
        for replica in self.training.replicas:
            replica.modules[self.layer].register_forward_hook(self._prefer)

    def _prefer(self, _module: Any, _inputs: Any, output: Tensor) -> Tensor | None:
        if not self.on:
            return None
        preferred = torch.zeros(output.shape[-1])
        preferred[0] = min(self.strength * (self.age + 1), 12.0)
        return output + preferred


BY_KIND: dict[str, type[Hold]] = {
    "outlier_growth": OutlierGrowth,
    "dead_units": DeadUnits,
    "saturation": Saturation,
    "variance_collapse": VarianceCollapse,
    "attention_logit_growth": AttentionLogitGrowth,
    "poor_initialisation": PoorInitialisation,
    "router_collapse": RouterCollapse,
}
