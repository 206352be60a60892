"""What happens to a run that is no fault, announced by the hook's events or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from benchmarks.detection.injections import Hold
from benchmarks.detection.plan import Injection

if TYPE_CHECKING:
    from benchmarks.detection.replica import Replica
    from benchmarks.detection.training import Training


class Benign(Hold):
    """An event; `change` makes it at its step, `said` is how it is announced."""

    said: tuple[str, dict[str, Any]] | None = None
    _done = False

    def begin(self) -> None:
        """Make it."""
        if self.now and not self._done:
            self._done = True
            self.change()
            if self.plan.announced and self.said is not None:
                kind, fields = self.said
                self.training.announce(kind, **fields)

    def change(self) -> None:
        """At its step, once."""


class BatchSize(Benign):
    """The batch grows or shrinks by the strength."""

    def change(self) -> None:
        """From now on."""
        training = self.training
        training.batch_size = max(2, round(training.batch_size * self.strength))
        self.said = ("batch_size", {"value": training.batch_size * training.accumulation})


class Sequence(Benign):
    """Sequences get longer."""

    def change(self) -> None:
        """To what the model takes, from the half that it began with."""
        self.training.length = self.training.plan.length
        self.said = ("phase", {"name": f"sequence {self.training.length}"})

    def choose(self) -> None:
        """Begin short."""
        self.training.length = self.training.plan.length // 2


class Accumulation(Benign):
    """More micro-batches a step."""

    def change(self) -> None:
        """Two or four."""
        training = self.training
        training.accumulation = max(1, round(training.accumulation * self.strength))
        self.said = ("batch_size", {"value": training.batch_size * training.accumulation})


class DataMix(Benign):
    """Another source of data, or a part of another."""

    def change(self) -> None:
        """The strength is its share."""
        self.training.mix = min(1.0, self.strength)
        self.said = ("data_mix", {"name": f"{self.strength:.2f} of the second source"})


class EpochBoundary(Benign):
    """The data begin again: what comes was seen before."""

    def change(self) -> None:
        """The generators go back to the start."""
        for replica in self.training.replicas:
            replica.generator.manual_seed(self.training.plan.seed * 1000 + replica.rank + 1)
        self.said = ("phase", {"name": "epoch 2"})


class Clipping(Benign):
    """Clipping is switched on, or tightened until it clips at every step."""

    def change(self) -> None:
        """To the strength."""
        self.training.clip = self.strength
        self.said = ("clipping", {"value": self.strength})


class Resume(Benign):
    """The job stops and goes on where it was."""

    def change(self) -> None:
        """With all that it had."""
        self.training.restore(self.training.snapshot())
        self.said = ("resume", {})


class Restart(Benign):
    """The job goes back to its last checkpoint: steps repeat, with other batches."""

    def choose(self) -> None:
        """The checkpoint comes before."""
        self._saved: list[Any] | None = None
        self._at = self.plan.step - round(self.strength)

    def begin(self) -> None:
        """Save, and later go back."""
        if self.training.step == self._at and self._saved is None:
            self._saved = self.training.snapshot()
            if self.plan.announced:
                self.training.announce("checkpoint_end", step=self._at, path=f"checkpoint-{self._at}")
        super().begin()

    def change(self) -> None:
        """Back."""
        assert self._saved is not None
        self.training.restore(self._saved)
        self.training.step = self._at
        self.said = ("resume", {"step": self._at})


class Spike(Benign):
    """One bad batch; the loss is back within five steps."""

    def choose(self) -> None:
        """One step long."""
        self.end = self.plan.step + 1

    def loss(self, replica: Replica, loss: Tensor) -> Tensor:
        """The loss of that step is larger."""
        return loss * self.strength if self.on else loss


class Pause(Benign):
    """A long step: an evaluation, a checkpoint being written, a node being swapped."""

    def change(self) -> None:
        """It takes some seconds."""
        self.training.pause = self.strength
        kind = {"evaluation_pause": "eval", "checkpoint_pause": "checkpoint"}.get(self.plan.name)
        if kind is None:
            self.said = ("pause", {"seconds": self.strength})
            return
        self.said = (f"{kind}_end", {"step": self.plan.step})
        if self.plan.announced:
            self.training.announce(f"{kind}_start")


class Precision(Benign):
    """From float32 to bfloat16."""

    def change(self) -> None:
        """Autocast from now on."""
        self.training.bf16 = True
        self.said = ("precision", {"name": "bfloat16"})


class Unfreeze(Benign):
    """Some layers are frozen at the start and thawed later."""

    def choose(self) -> None:
        """Freeze the first third."""
        for replica in self.training.replicas:
            self._freeze(replica, frozen=True)

    def change(self) -> None:
        """Thaw."""
        for replica in self.training.replicas:
            self._freeze(replica, frozen=False)
        self.said = ("phase", {"name": "unfrozen"})

    def _freeze(self, replica: Replica, *, frozen: bool) -> None:
        names = list(replica.layers)
        for name in names[: max(1, len(names) // 3)]:
            for parameter in replica.layers[name]:
                parameter.requires_grad = not frozen
                parameter.grad = None


class Freeze(Unfreeze):
    """Some layers are frozen from a step on."""

    def choose(self) -> None:
        """Not yet."""

    def change(self) -> None:
        """Freeze."""
        for replica in self.training.replicas:
            self._freeze(replica, frozen=True)
        self.said = ("phase", {"name": "frozen"})


class DropoutOn(Benign):
    """Dropout, or another augmentation, is switched on: the training loss rises a little."""

    def change(self) -> None:
        """In all blocks."""
        for replica in self.training.replicas:
            for module in replica.model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = self.strength
        self.said = ("phase", {"name": "augmentation"})


class Resize(Benign):
    """The last rank leaves for good; the others go on with a smaller world."""

    def change(self) -> None:
        """Close it, and reopen the others with their new place."""
        self.training.shrink()
        self.said = ("world_size", {"value": len(self.training.replicas)})


_BY_NAME: dict[str, type[Hold]] = {
    "batch_size_ramp": BatchSize,
    "sequence_ramp": Sequence,
    "accumulation_change": Accumulation,
    "data_mix": DataMix,
    "epoch_boundary": EpochBoundary,
    "clipping_on": Clipping,
    "clip_saturation": Clipping,
    "resume": Resume,
    "restart_from_checkpoint": Restart,
    "single_spike": Spike,
    "evaluation_pause": Pause,
    "checkpoint_pause": Pause,
    "pause": Pause,
    "precision_change": Precision,
    "unfreeze": Unfreeze,
    "freeze": Freeze,
    "augmentation": DropoutOn,
    "elastic_resize": Resize,
}


def make(plan: Injection, training: Training) -> Hold:
    """The event that `plan` names."""
    return _BY_NAME[plan.name](plan, training)
