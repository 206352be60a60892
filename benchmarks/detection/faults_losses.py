"""Faults that the loss shows: labels, leaks, evaluations, repeated batches, restarts that were none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmarks.detection.batches import Batch
from benchmarks.detection.injections import Hold

if TYPE_CHECKING:
    from benchmarks.detection.replica import Replica


def spoiled(batch: Batch, share: float, noise: torch.Generator) -> Batch:
    """The batch with the targets of a share of its samples shuffled."""
    *kept, last = batch
    rows = torch.rand(len(last), generator=noise) < share
    order = torch.randperm(len(last), generator=noise)
    if last.dim() > 1 and not last.is_floating_point():
        mixed = last.flatten()[torch.randperm(last.numel(), generator=noise)].view_as(last)
    else:
        mixed = last[order]
    chosen = rows.view(-1, *[1] * (last.dim() - 1))
    return (*kept, torch.where(chosen, mixed, last))


class SpoiledLabels(Hold):
    """A share of the targets is wrong from one step to the next, and stays so."""

    def batch(self, replica: Replica, batch: Batch) -> Batch:
        """Spoil."""
        return spoiled(batch, self.strength, self.noise) if self.on else batch


class SlowDivergence(Hold):
    """The share of wrong targets grows slowly."""

    def batch(self, replica: Replica, batch: Batch) -> Batch:
        """Spoil more and more; the strength is the steps until half of them are wrong."""
        share = min(0.5 * (self.age + 1) / self.strength, 0.8)
        return spoiled(batch, share, self.noise) if self.on else batch


class LossOutOfRange(Hold):
    """A term too much is taken off the reported loss."""

    def choose(self) -> None:
        """A term of the loss's size at the onset."""
        self._offset: float | None = None

    def loss(self, replica: Replica, loss: Tensor) -> Tensor:
        """Below what it can be."""
        if not self.on:
            return loss
        if self._offset is None:
            self._offset = self.strength * float(loss.detach())
        return loss - self._offset


class LossCollapse(Hold):
    """The targets leak into the inputs."""

    def batch(self, replica: Replica, batch: Batch) -> Batch:
        """Tokens: the next token is shown; pictures: the label is drawn into a corner; maps: outputs are copied."""
        if not self.on:
            return batch
        inputs, targets = batch
        shown = torch.rand(len(inputs), generator=self.noise) < self.strength
        if not inputs.is_floating_point():
            return torch.where(shown[:, None], targets, inputs), targets
        leaked = inputs.clone()
        if inputs.dim() == 4:
            row, column = targets // 4, targets % 4 * 2
            leaked[torch.arange(len(targets)), 0, row, column] = 12.0
        else:
            leaked[:, : targets.shape[1]] = targets * 3
        return torch.where(shown.view(-1, *[1] * (inputs.dim() - 1)), leaked, inputs), targets


class Overfit(Hold):
    """Only a few batches are left, read again and again."""

    def choose(self) -> None:
        """None is kept yet."""
        self._kept: dict[int, list[Batch]] = {}
        self._at = 0

    def batch(self, replica: Replica, batch: Batch) -> Batch:
        """One of the few."""
        if not self.on:
            return batch
        kept = self._kept.setdefault(replica.rank, [])
        if len(kept) < max(1, round(self.strength)):
            kept.append(batch)
            return batch
        self._at += 1
        return kept[self._at % len(kept)]


class RepeatedBatch(Hold):
    """The loader gives the same batch for ever, on one rank of several or on the only one."""

    def choose(self) -> None:
        """Which rank."""
        self.rank = self.rng.randrange(len(self.training.replicas))
        self._kept: Batch | None = None

    def batch(self, replica: Replica, batch: Batch) -> Batch:
        """The first one."""
        if not self.on or replica.rank != self.rank:
            return batch
        if self._kept is None or len(self._kept[0]) != len(batch[0]):
            self._kept = batch
        return self._kept


class EvalRegression(Hold):
    """The evaluation gets worse at once: its data, its preprocessing or its averaged weights are wrong."""

    def evaluated(self, loss: float) -> float:
        """Worse."""
        return loss * self.strength if self.on else loss


class OptimizerStateLost(Hold):
    """A resume from a checkpoint that has no optimiser state in it."""

    def begin(self) -> None:
        """Resume without it."""
        if self.now:
            for replica in self.training.replicas:
                replica.reopen()
                replica.optimizer.state.clear()
            self.training.announce("resume")


class ResumeCorruption(Hold):
    """A resume with weights that are not those that were saved: noisy, or those of long before (variant 1)."""

    def choose(self) -> None:
        """Nothing is saved yet."""
        self._old: list[Any] | None = None

    @torch.no_grad()
    def begin(self) -> None:
        """Resume with the wrong weights, the same on each rank."""
        training = self.training
        if self.plan.variant and training.step == max(0, self.plan.step - 200) and self._old is None:
            self._old = training.snapshot()
        if not self.now:
            return
        if self._old is not None:
            training.restore(self._old)
            training.announce("resume")
            return
        seed = self.rng.getrandbits(40)
        for replica in training.replicas:
            replica.reopen()
            generator = torch.Generator().manual_seed(seed)
            for parameter in replica.trained:
                scale = self.strength * parameter.float().square().mean().sqrt()
                parameter.add_(
                    (scale * torch.randn(parameter.shape, generator=generator)).to(parameter.dtype)
                )
        training.announce("resume")


BY_KIND: dict[str, type[Hold]] = {
    "loss_spike_persistent": SpoiledLabels,
    "loss_divergence": SlowDivergence,
    "loss_out_of_range": LossOutOfRange,
    "loss_collapse": LossCollapse,
    "overfit": Overfit,
    "eval_regression": EvalRegression,
    "repeated_batch": RepeatedBatch,
    "optimizer_state_lost": OptimizerStateLost,
    "resume_corruption": ResumeCorruption,
}
