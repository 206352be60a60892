"""Watch a PyTorch training: ``run = watch(model, optimizer, run="gpt-7b")``, then ``run.step(loss)`` once a step.

    with watch(model, optimizer, run="gpt-7b", tags={"team": "language"}) as run:
        for batch in batches:
            optimizer.zero_grad()
            loss = model(batch)
            loss.backward()
            run.clip_grad_norm_(1.0)  # where you clip: in place of torch.nn.utils.clip_grad_norm_
            optimizer.step()
            run.step(loss)

It never waits for the device, never raises into the loop and changes no bit of the training.

What is reported, per layer (a module that owns parameters): ``grad_norm`` and ``weight_norm`` each step,
``update_ratio`` for a tenth of the layers each step, ``act_mean``, ``act_rms`` and ``act_absmax`` every tenth step. A
trainable parameter whose gradient is None now though it had one before counts as exactly 0: it was cut off. So does an
expert that no token reached. With gradient accumulation the gradients are the accumulated ones. Norms are of what the
optimiser gets; to report them before clipping, clip with ``run.clip_grad_norm_``.
"""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from anomaly.errors import MissingExtraError, SettingsError

try:
    import torch
except ImportError:
    raise MissingExtraError("torch", "torch") from None

from anomaly.hook import Telemetry
from anomaly.pending import Pending
from anomaly.records import Place
from anomaly.torch_device import Transfer
from anomaly.torch_meter import Meter

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

_log = logging.getLogger(__name__)


def watch(
    model: nn.Module,
    optimizer: Optimizer,
    run: str,
    *,
    updates_every: int = 10,
    activations_every: int = 10,
    scaler: torch.amp.GradScaler | None = None,
    **telemetry: Any,
) -> Watch:
    """Watch `model` being trained by `optimizer` as run `run`.

    Each layer's ``update_ratio`` comes once in ``updates_every`` steps, activations of all layers in one step of
    ``activations_every``; 0 turns either off. With a ``scaler`` its scale and the steps it skips are reported.
    Everything else goes to `anomaly.Telemetry`; rank and world size come from torch.distributed where it is in use.

    Raises `SettingsError` for wrong arguments; afterwards nothing is raised.
    """
    problems = [
        f"{name}: got {value!r}, 0 or more steps are needed"
        for name, value in (("updates_every", updates_every), ("activations_every", activations_every))
        if not isinstance(value, int) or value < 0
    ]
    if not hasattr(optimizer, "register_step_pre_hook"):
        problems.append(f"optimizer: got {type(optimizer).__name__}, a torch.optim.Optimizer is needed")
    if not any(parameter.numel() for parameter in model.parameters()):
        problems.append("model: got one without parameters; there is nothing to watch")
    if problems:
        raise SettingsError(problems)
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        telemetry.setdefault("rank", distributed.get_rank())
        telemetry.setdefault("place", Place(world_size=distributed.get_world_size()))
    sink = Telemetry(run, **telemetry)
    try:
        meter = Meter(
            model,
            optimizer,
            updates_every=updates_every,
            activations_every=activations_every,
            on_layout=sink.layout,
        )
    except BaseException:
        sink.close(0)
        raise
    return Watch(sink, meter, model, optimizer, scaler)


class Watch:
    """A training being watched; made by `watch`."""

    def __init__(
        self,
        telemetry: Telemetry,
        meter: Meter,
        model: nn.Module,
        optimizer: Optimizer,
        scaler: torch.amp.GradScaler | None,
    ) -> None:
        self.telemetry = telemetry
        self._meter = meter
        self._model = model
        self._optimizer = optimizer
        self._scaler = scaler
        self._pending = Pending(telemetry)
        self._transfer = Transfer(meter.device)
        self._next = 0
        self._stepped_at: float | None = None
        self._warned = False
        meter.begin(0)

    def step(self, loss: Any = None, *, step: int | None = None, **signals: Any) -> None:
        """Report the optimiser step that has just been made, after ``optimizer.step()`` (or ``scaler.step``).

        `step` is its number, by default one more than the last (0 at first). `loss` and every other whole-model signal
        may be a number or a tensor of one element, also on the device. ``step_seconds`` is measured here unless given.
        """
        try:
            self._step(self._next if step is None else int(step), {"loss": loss, **signals})
        except Exception as error:
            self._warn(error)

    def _step(self, step: int, signals: dict[str, Any]) -> None:
        now = time.monotonic()
        if self._stepped_at is not None:
            signals.setdefault("step_seconds", now - self._stepped_at)
        self._stepped_at, self._next = now, step + 1
        signals.setdefault("lr", self._optimizer.param_groups[0]["lr"])
        updated = self._meter.updated
        measured = self._meter.take()
        if self._scaler is not None:
            signals.setdefault("loss_scale", getattr(self._scaler, "_scale", None))  # get_scale() would wait
            if "skipped" not in measured.scalars:
                signals.setdefault("skipped", 0 if updated else 1)
                if not updated:
                    measured.gradients, measured.with_gradient, measured.without_gradient = [], [], []
        for name, value in list(signals.items()):
            if isinstance(value, torch.Tensor) and value.numel() == 1:
                measured.scalars[name] = signals.pop(name)
        with torch.no_grad():
            reading = self._transfer.start(measured.parts(), measured.decode)
        self._pending.add(step, signals, reading)
        self._meter.begin(self._next)

    def clip_grad_norm_(self, max_norm: float) -> Tensor:
        """Clip the gradients to the L2 norm `max_norm` and return their norm before, as torch.nn.utils does.

        The norms of the layers are computed once for both purposes, and reported as they were before. Over sharded
        (FSDP2) parameters torch's own function clips, and ``clip_coef`` is not reported.
        """
        if not self._meter.sharded:
            try:
                return self._meter.clip(max_norm)
            except Exception as error:  # training depends on the clipping
                self._warn(error)
        return torch.nn.utils.clip_grad_norm_(self._model.parameters(), max_norm)

    def event(self, kind: str, **fields: Any) -> None:
        """Say that something happened, as `anomaly.Telemetry.event`; the time until the next step is not its step's.

        On an accelerator it may be filed under one of the last two steps, whose numbers are still on their way.
        """
        self._pending.drain()
        self._stepped_at = None
        self.telemetry.event(kind, **fields)

    def close(self, timeout: float = 5.0) -> bool:
        """Take the hooks off, report what is still on its way, send it; True if all was acknowledged."""
        self._finish()
        return self.telemetry.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Report how the run ended, as `anomaly.Telemetry` does, and close."""
        self._finish()
        self.telemetry.__exit__(kind, error, trace)

    def _finish(self) -> None:
        try:
            self._meter.close()
            self._pending.finish(1.0)
        except Exception as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "run %s: a step is not reported: %r (further ones are silent)", self.telemetry.run, error
            )
