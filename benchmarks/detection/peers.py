"""Every published rule with its knob: the default, and the values that the curves are swept over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.detection import peer_layers, peer_losses
from benchmarks.detection.peer_view import Alarm, View


@dataclass(frozen=True)
class Peer:
    """One rule. `knob` says what `default` is a value of; "" for none. `layered`: it names layers."""

    name: str
    rule: Callable[[View, float], Iterator[Alarm]]
    knob: str = ""
    default: float = 0.0
    sweep: tuple[float, ...] = ()
    layered: bool = False

    @property
    def knobs(self) -> tuple[float, ...]:
        """Every value to try, the default among them."""
        return tuple(sorted({self.default, *self.sweep}))


_Z = (2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 25.0, 50.0)
_TIMES = (1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
PEERS = (
    Peer("KillLossSpike", peer_losses.kill_loss_spike, "times the mean", 2.0, _TIMES),
    Peer("NaNMonitor", peer_losses.nan_monitor),
    Peer("TerminateOnNaN", peer_losses.terminate_on_nan),
    Peer("Megatron", peer_losses.megatron, "times the largest", 10.0, _TIMES),
    Peer("OLMo SkipStep", peer_losses.olmo_skip_step, "deviations", 6.0, _Z),
    Peer(
        "Lightning", peer_losses.lightning, "times the mean", 2.0, (0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 5.0, 10.0)
    ),
    Peer("ZClip", peer_losses.zclip, "z", 2.5, _Z),
    Peer("W&B z-score", peer_losses.wandb_z, "z", 3.0, _Z),
    Peer("W&B, once a day", peer_losses.wandb_z_once, "z", 3.0, _Z),
    Peer(
        "SageMaker Debugger", peer_layers.sagemaker, "steps a save", 500.0, (1.0, 10.0, 100.0), layered=True
    ),
    Peer(
        "AdaGC", peer_layers.adagc, "times the average", 1.05, (1.5, 2.0, 3.0, 5.0, 10.0, 30.0), layered=True
    ),
    Peer("SPAM", peer_layers.spam, "times the moment", 5000.0, (10.0, 50.0, 200.0, 1000.0), layered=True),
    Peer("TrainSDC", peer_layers.train_sdc, "deviations", 6.0, (3.0, 4.0, 10.0, 20.0), layered=True),
    Peer(
        "rolling z per layer",
        peer_layers.rolling_z,
        "z",
        6.0,
        (4.0, 8.0, 10.0, 15.0, 25.0, 50.0),
        layered=True,
    ),
)
