"""When a PyTorch training measures what: around the optimiser's step, by hooks on the optimiser.

The optimiser calls us before its update, when the gradients are as it uses them and not yet zeroed, and the weights are
the ones this loss used: a weight that turned NaN shows in its own layer before NaN gradients reach every other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from anomaly.torch_activations import Activations
from anomaly.torch_decode import MODEL_SIGNALS, SIGNALS, Measured
from anomaly.torch_layers import Layers, runs
from anomaly.torch_norms import Norms

_log = logging.getLogger(__name__)


class Meter:
    """Measures each step of `optimizer` on `model`; `take` hands over what the step has gathered.

    ``on_layout`` is called with the layout now and whenever something is frozen or unfrozen.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        updates_every: int,
        activations_every: int,
        on_layout: Callable[[Any], None],
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._updates_every = updates_every
        self._activations_every = activations_every
        self._on_layout = on_layout
        self._step = 0
        self._turn = 0
        self._broken = False
        self.updated = False
        self._layers, self._norms, self._measured = self._use_layers()
        self._activations = Activations(self._layers.modules)
        self._handles = [
            optimizer.register_step_pre_hook(self._before_update),
            optimizer.register_step_post_hook(self._after_update),
        ]

    @property
    def device(self) -> torch.device:
        """Where the first parameter lies; all scalars are gathered there."""
        return self._layers.tensors[0].device

    def begin(self, step: int) -> None:
        """Measure what follows as step number `step`, or as a later one where not every step is reported.

        Whose turn it is follows from the steps alone, so that ranks agree; and from how far apart they are, so that a
        loop that reports every tenth one has its turns as well.
        """
        before, self._step = self._step, step
        self._turn = step // max(step - before, 1)
        every = self._activations_every
        if every and not self._broken and (step % every == 0 or step // every != before // every):
            self._activations.arm()

    def take(self) -> Measured:
        """What was gathered since `begin`."""
        measured, self._measured = self._measured, Measured(self._layers)
        measured.active, measured.elements, measured.activations = self._activations.take()
        self.updated = False
        return measured

    @torch.no_grad()
    def clip(self, max_norm: float) -> Tensor:
        """Scale the gradients down to `max_norm` with the norms that are measured anyway; return their total norm."""
        self._take_gradients()
        device = self.device
        parts = [part.to(device) for part in self._measured.gradients]
        if not parts:
            return torch.zeros((), device=device)
        total: Tensor = torch.linalg.vector_norm(torch.cat(parts))
        coefficient = torch.clamp(max_norm / (total + 1e-6), max=1.0)
        gradients = [
            gradient
            for at in self._measured.with_gradient
            if (gradient := self._layers.tensors[at].grad) is not None
        ]
        for start, end in runs(gradients):
            torch._foreach_mul_(gradients[start:end], coefficient.to(gradients[start].device))
        self._measured.clipped_to = float(max_norm)
        return total

    @property
    def sharded(self) -> bool:
        """Whether a rank holds only parts of the tensors, so that its norms are not the whole ones."""
        return any(hasattr(tensor, "to_local") for tensor in self._layers.tensors)

    def close(self) -> None:
        """Take every hook off."""
        self._activations.disarm()
        for handle in self._handles:
            handle.remove()

    def _use_layers(self) -> tuple[Layers, Norms, Measured]:
        layers = Layers(self._model, self._optimizer, SIGNALS, MODEL_SIGNALS)
        self._on_layout(layers.layout)
        return layers, Norms(layers, self._updates_every), Measured(layers)

    def _take_gradients(self) -> None:
        self._measured.gradients = self._norms.gradients()
        self._measured.with_gradient = self._norms.measured
        self._measured.without_gradient = self._norms.absent

    @torch.no_grad()
    def _before_update(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._broken:
            return
        try:
            if self._layers.changed(optimizer):
                self._layers, self._norms, self._measured = self._use_layers()
            if self._measured.clipped_to is None and not _has_closure(optimizer, args, kwargs):
                self._take_gradients()
            self._measured.weights = self._norms.weights()
            self._norms.keep_old(self._turn)
            self._note(optimizer)
        except Exception as error:
            self._give_up(error)

    @torch.no_grad()
    def _after_update(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._broken:
            return
        try:
            self.updated = True
            if self._measured.clipped_to is None and _has_closure(optimizer, args, kwargs):
                self._take_gradients()  # the closure has only now made them
            self._measured.updates = self._norms.updates()
            self._measured.moved = self._norms.moved
        except Exception as error:
            self._give_up(error)

    def _note(self, optimizer: Optimizer) -> None:
        """What `torch.amp.GradScaler` tells a fused optimiser: the gradients are still scaled; whether to skip."""
        for attribute, name in (("grad_scale", "grad_scale"), ("found_inf", "skipped")):
            value = getattr(optimizer, attribute, None)
            if isinstance(value, Tensor):
                self._measured.scalars[name] = value.detach().clone()

    def _give_up(self, error: Exception) -> None:
        self._broken = True
        self._activations.disarm()
        self._measured = Measured(self._layers)
        _log.warning("layers are not measured any more, training and its loss are: %r", error)


def _has_closure(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the gradients are made during the step; `args` begin with the optimizer itself."""
    return any(value is not None and value is not optimizer for value in (*args, kwargs.get("closure")))
