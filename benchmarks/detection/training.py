"""The loop: a model trained on the CPU with the real hook in it, on one rank or on several.

Several ranks are replicas in one process, each with its own batches, optimiser and hook; their gradients are averaged
as a data-parallel training does it. Everything random comes from the plan's seed.
"""

from __future__ import annotations

import copy
import math
import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from benchmarks.detection import batches, building, schedules
from benchmarks.detection.injections import Hold
from benchmarks.detection.plan import Plan
from benchmarks.detection.replica import Replica
from benchmarks.detection.scaling import LossScale
from benchmarks.detection.trace import Trace

LOCAL = 1e30
"""A norm that nothing is clipped to: measuring without clipping."""


class Training:
    """One run of `plan`; `holds` are its benign events and faults."""

    def __init__(self, plan: Plan, trace: Trace) -> None:
        self.plan, self.trace = plan, trace
        self.replicas = [Replica(rank, plan, trace, plan.seed, self._updated) for rank in range(plan.ranks)]
        self.step = 0
        self.batch_size, self.accumulation, self.clip = plan.batch_size, plan.accumulation, plan.clip
        self.length, self.mix, self.bf16 = plan.length, 0.0, plan.precision == "bf16"
        self.base_seconds = 0.05 + 0.1 * (plan.seed % 7)
        self.clock = np.random.default_rng(plan.seed + 5)
        self.order = np.random.default_rng(plan.seed + 6)
        self.eval_generator_seed = plan.seed + 99
        self.scale = LossScale() if plan.precision == "fp16" else None
        self.pending_events: list[dict[str, Any]] = []
        self.pause = 0.0
        self.holds: list[Hold] = []
        self.gradient_norm = 0.0
        torch.manual_seed(plan.seed + 1)

    def run(self) -> None:
        """Every step of the plan."""
        try:
            while self.step < self.plan.steps:
                self._one_step()
                self.step += 1
        finally:
            for replica in self.replicas:
                replica.watch.close(60)
            for hold in self.holds:
                hold.finish()

    def announce(self, kind: str, **fields: Any) -> None:
        """Say it with the records of this step."""
        self.pending_events.append({"kind": kind, **fields})

    def snapshot(self) -> list[Any]:
        """What a checkpoint holds, one a rank."""
        return [
            copy.deepcopy((replica.model.state_dict(), replica.optimizer.state_dict()))
            for replica in self.replicas
        ]

    def restore(self, saved: list[Any]) -> None:
        """Load a checkpoint into every rank, as new sessions of the hook."""
        for replica, (weights, state) in zip(self.replicas, copy.deepcopy(saved), strict=False):
            replica.model.load_state_dict(weights)
            replica.optimizer.load_state_dict(state)
            replica.reopen()

    def shrink(self) -> None:
        """The last rank leaves; the others begin again in a smaller world."""
        self.replicas.pop().watch.close(60)
        for replica in self.replicas:
            replica.world_size = len(self.replicas)
            replica.reopen()

    def _one_step(self) -> None:
        for hold in self.holds:
            hold.begin()
        lr = self._learning_rate()
        clear = all(hold.clears() for hold in self.holds)
        noting = self.plan.activations_every and self.step % self.plan.activations_every == 0
        for replica in self.replicas:
            replica.model.notes.on = bool(noting)
            for group in replica.optimizer.param_groups:
                group["lr"] = lr
            if clear:
                replica.optimizer.zero_grad()
            self._backward(replica)
        for hold in self.holds:
            hold.gradients()
        skipped = self.scale.unscale(self) if self.scale else False
        looking = self.plan.gradient_statistics and noting and not skipped
        statistics = [replica.gradient_statistics() if looking else {} for replica in self.replicas]
        clip_coefficient = None if skipped else self._combine()
        if not skipped:
            self._update()
        self._report(skipped, clip_coefficient, statistics)

    @torch.no_grad()
    def _updated(self, replica: Replica) -> None:
        """The optimiser has moved the weights, and the hook has not looked yet."""
        for hold in self.holds:
            hold.after_update(replica)

    def _learning_rate(self) -> float:
        plan = self.plan
        lr = plan.lr * schedules.factor(plan.schedule, self.step, plan.steps, plan.warmup)
        for hold in self.holds:
            lr = hold.learning_rate(lr)
        return lr

    def _backward(self, replica: Replica) -> None:
        total = 0.0
        for micro in range(self.accumulation):
            batch = batches.draw(
                building.DATA[self.plan.model], replica.generator, self.batch_size, self.length, self.mix
            )
            for hold in self.holds:
                batch = hold.batch(replica, batch)
            if self.plan.hashes and micro == 0:
                replica.input_hash = float(zlib.crc32(batch[0].contiguous().numpy().tobytes()) & 0xFFFFFF)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                loss = replica.model.loss(batch)
            for hold in self.holds:
                loss = hold.loss(replica, loss)
            (loss / self.accumulation).backward()
            total += float(loss.detach())
        replica.last_loss = total / self.accumulation

    def _combine(self) -> float | None:
        """Average over ranks, measure and clip; the coefficient where the hook does not see it."""
        if len(self.replicas) == 1:
            if self.clip is not None:
                self.replicas[0].watch.clip_grad_norm_(self.clip)
            return None
        if self.plan.local_norms:
            for replica in self.replicas:
                replica.watch.clip_grad_norm_(LOCAL)
        mean = self._mean_gradients()
        for replica in self.replicas:
            for parameter, gradient in zip(replica.trained, mean, strict=True):
                parameter.grad = None if gradient is None else gradient.clone()
        if self.clip is None:
            return 1.0 if self.plan.local_norms else None
        if not self.plan.local_norms:
            for replica in self.replicas:
                replica.watch.clip_grad_norm_(self.clip)
            return None
        norms = [nn.utils.clip_grad_norm_(replica.trained, self.clip) for replica in self.replicas]
        return min(1.0, self.clip / (float(norms[0]) + 1e-6))

    def _mean_gradients(self) -> list[Tensor | None]:
        mean: list[Tensor | None] = []
        for of_ranks in zip(*(replica.trained for replica in self.replicas), strict=True):
            present = [parameter.grad for parameter in of_ranks if parameter.grad is not None]
            mean.append(torch.stack(present).sum(0) / len(of_ranks) if present else None)
        return mean

    def _update(self) -> None:
        for replica in self.replicas:
            for hold in self.holds:
                hold.before_update(replica)
            replica.optimizer.step()

    def _report(self, skipped: bool, clip_coefficient: float | None, statistics: list[Any]) -> None:
        common = self._common_signals(skipped, clip_coefficient)
        host = self._host_signals()
        ranks = self.order.permutation(len(self.replicas))
        for rank in ranks:
            replica = self.replicas[rank]
            signals = {**common, **{name: float(of_ranks[rank]) for name, of_ranks in host.items()}}
            layers = replica.model.notes.take()
            for name, values in statistics[rank].items():
                layers.setdefault(name, {}).update(values)
            signals |= {name: float(value) for name, value in replica.model.signals.items()}
            if self.plan.hashes:
                signals |= {"input_hash": replica.input_hash, "weight_hash": replica.weight_hash()}
            signals["loss"] = replica.last_loss
            said = [
                hold.report(replica, signals, layers) for hold in self.holds
            ]  # each may change the signals
            if all(said):
                for event in self.pending_events:
                    replica.watch.event(**event)
                replica.watch.step(step=self.step, **signals)
                self.trace.note(replica.session, self.step, layers, clip_coefficient)
            else:
                replica.watch._meter.take()
        self.pending_events = []

    def _host_signals(self) -> dict[str, NDArray[np.float64]]:
        """What the machines say, one value a rank; now and then a step stalls, on one rank or on all."""
        count, clock = self.plan.ranks, self.clock
        stalls = np.where(clock.random(count) < 0.002, clock.uniform(1.5, 4.0, count), 1.0)
        together = clock.uniform(1.5, 4.0) if clock.random() < 0.003 else 1.0
        seconds = self.base_seconds * clock.lognormal(0.0, 0.04, count) * stalls * together + self.pause
        self.pause = 0.0
        if not self.plan.host_signals:
            return {"step_seconds": seconds}
        memory = 3e9 + 2e8 * np.floor(np.log2(self.step + 1)) + np.zeros(count)
        waiting = seconds * 0.05 * clock.lognormal(0.0, 0.4, count)
        return {"step_seconds": seconds, "data_seconds": waiting, "peak_memory_bytes": memory}

    def _common_signals(self, skipped: bool, clip_coefficient: float | None) -> dict[str, Any]:
        signals: dict[str, Any] = {}
        if self.scale is not None:
            signals |= {"loss_scale": self.scale.value, "skipped": float(skipped)}
        every = self.plan.eval_every
        if every and self.step % every == every - 1:
            signals["eval_loss"] = self._evaluate()
        if building.DATA[self.plan.model] == "text":
            signals["tokens"] = float(self.batch_size * self.length * self.accumulation)
        return signals

    @torch.no_grad()
    def _evaluate(self) -> float:
        model = self.replicas[0].model
        model.notes.on = False
        model.eval()
        generator = Generator().manual_seed(self.eval_generator_seed)
        state = torch.get_rng_state()
        losses = [
            float(model.loss(batches.draw(building.DATA[self.plan.model], generator, 32, self.plan.length)))
            for _ in range(2)
        ]
        torch.set_rng_state(state)
        model.train()
        loss = math.fsum(losses) / len(losses)
        for hold in self.holds:
            loss = hold.evaluated(loss)
        return loss
