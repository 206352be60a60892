"""Faults of one rank, and of what is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmarks.detection import batches
from benchmarks.detection.batches import Batch
from benchmarks.detection.building import DATA, block_of
from benchmarks.detection.faults_losses import spoiled
from benchmarks.detection.injections import Hold, Hooked

if TYPE_CHECKING:
    from benchmarks.detection.replica import Replica


class OneRank(Hold):
    """A fault of one drawn rank."""

    def choose(self) -> None:
        """Which."""
        self.rank = self.rng.randrange(len(self.training.replicas))

    @property
    def replica(self) -> Replica:
        """It."""
        assert self.rank is not None
        return self.training.replicas[self.rank]


class ResidualGain(Hooked):
    """One rank's block adds more to its residual stream than its peers' do: silent data corruption."""

    def choose(self) -> None:
        """Which rank and block, and its layer that adds to the stream."""
        self.rank = self.rng.randrange(len(self.training.replicas))
        replica = self.training.replicas[self.rank]
        names = [name for name in replica.layers if name.endswith(("proj", "down"))]
        chosen = self.rng.choice(names)
        self.layer = block_of(chosen)
        self.note = f"{chosen} gives more"
        self.attach(replica, chosen)

    def output(self, output: Tensor) -> Tensor:
        """More of it, at once or by noise."""
        return output * (1 + 4 * self.strength)


class BadBatch(OneRank):
    """One rank's batch is broken for some steps: inputs far out, or tokens that mean nothing."""

    def choose(self) -> None:
        """Which rank, how long."""
        super().choose()
        self.end = self.plan.step + self.rng.randint(2, 20)

    def batch(self, replica: Replica, batch: Batch) -> Batch:
        """Broken."""
        if not self.on or replica.rank != self.rank:
            return batch
        first, *rest = batch
        rows = torch.rand(len(first), generator=self.noise) < self.strength
        shape = rows.view(-1, *[1] * (first.dim() - 1))
        if first.is_floating_point():
            return (torch.where(shape, first * 10 + 3, first), *rest)
        same = torch.full_like(first, self.plan.step % 48)
        return spoiled((torch.where(shape, same, first), *rest), self.strength, self.noise)


class ReplicaDivergence(OneRank):
    """One rank's weights change a little, without its peers'."""

    @torch.no_grad()
    def begin(self) -> None:
        """A flipped bit: one weight."""
        if self.now:
            name = self.rng.choice(list(self.replica.layers))
            self.layer = name
            weight = self.replica.layers[name][0].view(-1)
            weight[0] += self.strength * (weight[0].abs() + weight.float().square().mean().sqrt())


class RankGradient(OneRank):
    """One rank's gradients leave its peers': all of them, or those of one layer (variant 1)."""

    def choose(self) -> None:
        """Which, how long."""
        super().choose()
        if self.plan.variant:
            self.layer = self.rng.choice(list(self.replica.layers))
        self.lasts(10, 60)

    def gradients(self) -> None:
        """Scale."""
        if self.on:
            for name, parameters in self.replica.layers.items():
                if self.layer in (None, name):
                    for parameter in parameters:
                        if parameter.grad is not None:
                            parameter.grad = parameter.grad * self.strength


class Straggler(OneRank):
    """One rank is slow."""

    def report(self, replica: Replica, signals: dict[str, Any], layers: dict[str, dict[str, float]]) -> bool:
        """Slower."""
        if self.on and replica.rank == self.rank:
            signals["step_seconds"] *= self.strength
        return True


class ThroughputDrop(Hold):
    """Every rank is slow."""

    def report(self, replica: Replica, signals: dict[str, Any], layers: dict[str, dict[str, float]]) -> bool:
        """Slower."""
        if self.on:
            signals["step_seconds"] *= self.strength
        return True


class RunSilent(Hold):
    """Nothing comes for a long time."""

    def begin(self) -> None:
        """The step takes that long."""
        if self.now:
            self.training.pause = self.strength
            self.end = self.plan.step + 1


class RankMissing(OneRank):
    """One rank reports nothing any more."""

    def report(self, replica: Replica, signals: dict[str, Any], layers: dict[str, dict[str, float]]) -> bool:
        """Not this one."""
        return not (self.on and replica.rank == self.rank)


class SeriesShift(Hold):
    """A series of the team's own leaves its level."""

    def report(self, replica: Replica, signals: dict[str, Any], layers: dict[str, dict[str, float]]) -> bool:
        """It is reported all along."""
        level = 60.0 + (self.strength * 0.8 if self.on else 0.0)
        signals["coolant_celsius"] = level + 0.8 * float(torch.randn((), generator=self.noise))
        return True


class NonfiniteUnknown(Hold):
    """A kernel's own counter of non-finite values rises above zero."""

    def choose(self) -> None:
        """Of one layer."""
        self.layer = self.rng.choice(list(self.training.replicas[0].layers))

    def report(self, replica: Replica, signals: dict[str, Any], layers: dict[str, dict[str, float]]) -> bool:
        """Reported all along."""
        for name in replica.layers:
            layers.setdefault(name, {})["nonfinite"] = float(self.on and name == self.layer)
        return True


class DuplicateRun(Hold):
    """A second job reports under the same run id, from its own first steps."""

    def choose(self) -> None:
        """It is still to come."""
        self._other: Replica | None = None

    def after_update(self, replica: Replica) -> None:
        """One step of the other job."""
        if not self.on:
            return
        training = self.training
        if self._other is None:
            first = training.replicas[0]
            state = torch.get_rng_state()
            self._other = type(first)(0, training.plan, training.trace, training.plan.seed + 500)
            torch.set_rng_state(state)
        other = self._other
        batch = batches.draw(
            DATA[training.plan.model], other.generator, training.batch_size, training.length, training.mix
        )
        with torch.enable_grad():
            other.optimizer.zero_grad()
            loss = other.model.loss(batch)
            loss.backward()
        other.optimizer.step()
        other.watch.step(loss.detach(), step=training.step, step_seconds=training.base_seconds)
        training.trace.note(other.session, training.step, other.model.notes.take())

    def finish(self) -> None:
        """It ends with the first."""
        if self._other is not None:
            self._other.watch.close(60)


BY_KIND: dict[str, type[Hold]] = {
    "residual_gain_outlier": ResidualGain,
    "bad_batch": BadBatch,
    "replica_divergence": ReplicaDivergence,
    "rank_gradient_outlier": RankGradient,
    "straggler": Straggler,
    "throughput_drop": ThroughputDrop,
    "run_silent": RunSilent,
    "partial_telemetry": RankMissing,
    "duplicate_run": DuplicateRun,
    "series_shift": SeriesShift,
    "nonfinite_unknown": NonfiniteUnknown,
}
