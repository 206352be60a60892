"""Where a fault or a benign event can take hold of the loop. Each overrides what it needs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmarks.detection.batches import Batch
from benchmarks.detection.plan import Injection

if TYPE_CHECKING:
    from benchmarks.detection.replica import Replica
    from benchmarks.detection.training import Training


class Hold:
    """One injection at work in one `Training`. It draws from generators of its own, never from the training's."""

    layer: str | None = None
    rank: int | None = None
    end: int | None = None
    note = ""

    def __init__(self, plan: Injection, training: Training) -> None:
        self.plan, self.training = plan, training
        self.rng = random.Random(f"{training.plan.seed} {plan.name} {plan.step}")
        self.noise = torch.Generator().manual_seed(self.rng.getrandbits(40))
        self.choose()

    @property
    def strength(self) -> float:
        """How much, in the unit of the injection."""
        return self.plan.strength

    @property
    def on(self) -> bool:
        """Whether it is under way."""
        step = self.training.step
        return step >= self.plan.step and (self.end is None or step < self.end)

    @property
    def now(self) -> bool:
        """Whether it begins in this step."""
        return self.training.step == self.plan.step

    @property
    def age(self) -> int:
        """Steps since it began."""
        return self.training.step - self.plan.step

    def lasts(self, shortest: int, longest: int) -> None:
        """Let it end after a drawn number of steps; half of the injections do not end."""
        if self.rng.random() < 0.5:
            self.end = self.plan.step + self.rng.randint(shortest, longest)

    def choose(self) -> None:
        """Draw the layer, the rank and the end."""

    def begin(self) -> None:
        """Before the step's batches are drawn."""

    def learning_rate(self, lr: float) -> float:
        """The rate that the optimiser uses and reports."""
        return lr

    def clears(self) -> bool:
        """Whether gradients are cleared before this step."""
        return True

    def batch(self, replica: Replica, batch: Batch) -> Batch:
        """What a rank learns from."""
        return batch

    def loss(self, replica: Replica, loss: Tensor) -> Tensor:
        """What a rank reports and follows the gradient of."""
        return loss

    def gradients(self) -> None:
        """Every rank's own gradients are there, unscaled and not yet averaged, measured or clipped."""

    def before_update(self, replica: Replica) -> None:
        """A rank's optimiser is about to move its weights."""

    def after_update(self, replica: Replica) -> None:
        """It has; what is changed now is part of the update."""

    def evaluated(self, loss: float) -> float:
        """The loss of an evaluation."""
        return loss

    def finish(self) -> None:
        """The run is over."""

    def report(self, replica: Replica, signals: dict[str, Any], layers: dict[str, dict[str, float]]) -> bool:
        """Change what a rank reports; False: it reports nothing."""
        return True


class Hooked(Hold):
    """An injection that changes a module's output from its step on."""

    def output(self, output: Tensor) -> Tensor:
        """What the module gives now."""
        return output

    def attach(self, replica: Replica, layer: str) -> None:
        """Take hold of `layer` of this rank."""

        def changed(_module: Any, _inputs: Any, output: Any) -> Any:
            if not self.on or not torch.is_grad_enabled():
                return None
            if isinstance(output, tuple):
                return (self.output(output[0]), *output[1:])
            return self.output(output)

        replica.modules[layer].register_forward_hook(changed)
