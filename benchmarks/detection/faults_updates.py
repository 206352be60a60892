"""Faults of weights, of updates and of the learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from benchmarks.detection.faults_gradients import draw_layer
from benchmarks.detection.injections import Hold

if TYPE_CHECKING:
    from benchmarks.detection.replica import Replica


class Moved(Hold):
    """A change of what an update did: it is scaled by `factor`."""

    def choose(self) -> None:
        """One layer, or all (variant 1)."""
        self.layer = None if self.plan.variant else draw_layer(self)
        self._old: list[Tensor] = []

    def before_update(self, replica: Replica) -> None:
        """Remember."""
        if self.on:
            self._old = [parameter.detach().clone() for parameter in self._targets(replica)]

    def after_update(self, replica: Replica) -> None:
        """Go only so far."""
        if self.on:
            for parameter, old in zip(self._targets(replica), self._old, strict=True):
                parameter.copy_(old + self.factor() * (parameter - old))

    def _targets(self, replica: Replica) -> list[nn.Parameter]:
        return replica.trained if self.layer is None else replica.layers[self.layer]

    def factor(self) -> float:
        """Of the update that remains."""
        raise NotImplementedError


class WeightsFrozen(Moved):
    """A layer's updates are computed and lost, as in a master copy that is never copied back."""

    def factor(self) -> float:
        """Nothing."""
        return 0.0


class UpdateHigh(Moved):
    """Updates are several times too large, though the learning rate says nothing of it."""

    def factor(self) -> float:
        """More."""
        return self.strength


class UpdateLow(Moved):
    """Updates are several times too small."""

    def factor(self) -> float:
        """Less."""
        return 1 / self.strength


class Plateau(Moved):
    """Hardly anything of any update arrives: the loss stays where it is."""

    def choose(self) -> None:
        """All layers."""
        self._old = []

    def factor(self) -> float:
        """Next to nothing."""
        return self.strength


class WeightBlowup(Hold):
    """One layer's weights grow by the same factor at every step."""

    def choose(self) -> None:
        """Which."""
        self.layer = draw_layer(self, matrices=True)

    def after_update(self, replica: Replica) -> None:
        """Grow."""
        if self.on:
            assert self.layer is not None
            for parameter in replica.layers[self.layer]:
                parameter.mul_(1 + self.strength)


class RateOffSchedule(Hold):
    """The learning rate jumps up, down or to zero, or creeps up (a strength below one)."""

    def learning_rate(self, lr: float) -> float:
        """Off the schedule."""
        if not self.on:
            return lr
        if self.strength < 1:
            return lr * min((1 + self.strength) ** (self.age + 1), 1e4)
        return lr * (self.strength, 1 / self.strength, 0.0)[self.plan.variant]


BY_KIND: dict[str, type[Hold]] = {
    "weights_frozen": WeightsFrozen,
    "update_ratio_high": UpdateHigh,
    "update_ratio_low": UpdateLow,
    "loss_plateau": Plateau,
    "flat_from_start": Plateau,
    "weight_blowup": WeightBlowup,
    "lr_schedule": RateOffSchedule,
}
