"""One rank of a training: its model, optimiser, data order and hook."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from torch import Generator, nn

from anomaly.records import Place
from anomaly.torch import Watch, watch
from benchmarks.detection import building, optimizers
from benchmarks.detection.plan import Plan
from benchmarks.detection.trace import Trace


class Replica:
    """One rank: its model, optimiser, data order and hook."""

    def __init__(
        self, rank: int, plan: Plan, trace: Trace, seed: int, updated: Callable[[Replica], None] | None = None
    ) -> None:
        self.rank, self.plan, self.trace = rank, plan, trace
        torch.manual_seed(seed)  # the same weights on every rank
        self.model = building.model(plan)
        self.modules: dict[str, nn.Module] = dict(self.model.named_modules())
        self.layers = building.layers_of(self.model)
        self.parameters = [parameter for of_layer in self.layers.values() for parameter in of_layer]
        self.trained = [parameter for parameter in self.parameters if parameter.requires_grad]
        self.optimizer = optimizers.make(plan.optimizer, self.trained, plan.lr)
        if updated is not None:  # before the hook's own, so that the hook measures what comes of it
            self.optimizer.register_step_post_hook(lambda *_: updated(self))
        self.generator = Generator().manual_seed(seed * 1000 + rank + 1)
        self.input_hash, self.last_loss = 0.0, 0.0
        self.world_size = plan.ranks
        self.watch = self._watch()

    def reopen(self) -> None:
        """End the hook's session and begin another, as a restarted process does."""
        self.watch.close(60)
        self.watch = self._watch()

    def _watch(self) -> Watch:
        plan = self.plan
        self.session, options = self.trace.session(self.rank, self.world_size)
        return watch(
            self.model,
            self.optimizer,
            plan.run,
            updates_every=plan.updates_every,
            activations_every=plan.activations_every,
            **options,
            rank=self.rank,
            place=Place(world_size=self.world_size, data=self.rank) if plan.ranks > 1 else None,
            tags={"model": plan.model, "precision": plan.precision},
        )

    def weight_hash(self) -> float:
        """24 bits of all weights."""
        value = 0
        for parameter in self.parameters:
            value = zlib.crc32(parameter.detach().view(torch.uint8).numpy().tobytes(), value)
        return float(value & 0xFFFFFF)

    def gradient_statistics(self) -> dict[str, dict[str, float]]:
        """Largest magnitude and share of zeros of each layer's gradient."""
        found = {}
        for name, parameters in self.layers.items():
            gradients = [parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]
            if gradients:
                one = torch.cat(gradients)
                found[name] = {
                    "grad_absmax": float(one.abs().max()),
                    "grad_zero_frac": float((one == 0).float().mean()),
                }
        return found
