"""What goes wrong in a run: each fault takes hold of the loop where it would in life.

Non-finite values, precision and policies are here; `make` knows all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.detection import faults_gradients, faults_layers, faults_losses, faults_ranks, faults_updates
from benchmarks.detection.faults_layers import OneLayer
from benchmarks.detection.injections import Hold, Hooked
from benchmarks.detection.models import Policy
from benchmarks.detection.plan import Injection

if TYPE_CHECKING:
    from benchmarks.detection.replica import Replica
    from benchmarks.detection.training import Training


class NonfiniteLoss(Hold):
    """A batch makes the loss NaN or infinite; the update with it goes through (variant 0) or is left out."""

    def choose(self) -> None:
        """One step, or three; on one rank."""
        self.rank = self.rng.randrange(len(self.training.replicas))
        self.end = self.plan.step + self.rng.choice((1, 3))
        self.note = "the update is skipped" if self.plan.variant else "the weights follow"

    def loss(self, replica: Replica, loss: Tensor) -> Tensor:
        """NaN, or infinity."""
        if not self.on or replica.rank != self.rank:
            return loss
        return loss * (torch.nan if self.plan.step % 2 else torch.inf)

    def gradients(self) -> None:
        """A careful trainer makes no update from it."""
        if self.on and self.plan.variant:
            for replica in self.training.replicas:
                for parameter in replica.trained:
                    parameter.grad = torch.zeros_like(parameter)


class NonfiniteGradient(OneLayer):
    """One element of one layer's gradient is infinite or NaN, for one step or for good."""

    def choose(self) -> None:
        """On one rank."""
        super().choose()
        self.rank = self.rng.randrange(len(self.training.replicas))
        self.end = self.plan.step + 1 if self.plan.variant else None

    def gradients(self) -> None:
        """Break one element."""
        if self.on:
            gradient = self.own(self.training.replicas[self.rank or 0])[0].grad
            if gradient is not None:
                gradient.view(-1)[0] = torch.inf if self.plan.step % 2 else torch.nan


class NonfiniteActivation(Hooked):
    """One element of one layer's output overflows, in the same place again and again."""

    def choose(self) -> None:
        """Draw a layer whose module is called and gives a tensor."""
        self.layer = faults_gradients.draw_layer(self)
        for replica in self.training.replicas:
            self.attach(replica, self.layer)

    def output(self, output: Tensor) -> Tensor:
        """With an infinity in it."""
        broken = output.clone()
        broken.view(-1)[0] = torch.inf if self.plan.variant else torch.nan
        return broken


class NonfiniteWeight(OneLayer):
    """One weight turns NaN after an update: memory, or a bad kernel."""

    @torch.no_grad()
    def begin(self) -> None:
        """Break it on every rank."""
        if self.now:
            for replica in self.training.replicas:
                self.own(replica)[0].view(-1)[0] = torch.nan


class LossScaleCollapse(Hold):
    """Gradients overflow at any scale, at nearly every step."""

    def gradients(self) -> None:
        """An infinity in one parameter's gradient."""
        if self.on and self.rng.random() < self.strength:
            for replica in self.training.replicas:
                gradient = replica.trained[len(replica.trained) // 2].grad
                if gradient is not None:
                    gradient.view(-1)[0] = torch.inf


class Underflow(Hold):
    """The loss scale sinks steadily and never grows: more and more gradients round to zero."""

    def begin(self) -> None:
        """Lower it, first slowly from where it is, down to a part where little is left."""
        scale = self.training.scale
        if self.on and scale is not None:
            scale.growing = False
            scale.value = max(2.0**-14, scale.value * 2.0**-self.strength)


class PolicyDrift(Hold):
    """The hidden step size grows (variant 0), the entropy bonus turns round (1), or rewards are lost (2)."""

    def begin(self) -> None:
        """Change the policy's settings."""
        for replica in self.training.replicas:
            policy = replica.model
            assert isinstance(policy, Policy)
            if self.now and self.plan.name == "rl_entropy":
                policy.entropy_bonus = -self.strength
            if self.now and self.plan.name == "rl_reward":
                policy.reward_scale = 1.0 - self.strength

    def learning_rate(self, lr: float) -> float:
        """For the divergence of policies: larger."""
        return lr * self.strength if self.on and self.plan.name == "rl_kl" else lr


_BY_KIND: dict[str, type[Hold]] = {
    "nonfinite_loss": NonfiniteLoss,
    "nonfinite_gradient": NonfiniteGradient,
    "nonfinite_activation": NonfiniteActivation,
    "nonfinite_weight": NonfiniteWeight,
    "loss_scale_collapse": LossScaleCollapse,
    "underflow": Underflow,
    "rl_kl": PolicyDrift,
    "rl_entropy": PolicyDrift,
    "rl_reward": PolicyDrift,
    **faults_layers.BY_KIND,
    **faults_gradients.BY_KIND,
    **faults_updates.BY_KIND,
    **faults_losses.BY_KIND,
    **faults_ranks.BY_KIND,
}


def make(plan: Injection, training: Training) -> Hold:
    """The fault that `plan` names."""
    return _BY_KIND[plan.name](plan, training)
