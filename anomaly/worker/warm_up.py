"""What a worker does before it reads: judge a short run, so that every compiled kernel is there."""

from __future__ import annotations

import json
import math

from aiokafka.structs import ConsumerRecord

from anomaly.monitor import PartitionMonitor
from anomaly.monitor.limits import Limits

STEPS = 128
SIGNALS = ("grad_norm", "update_ratio", "act_rms", "act_in_rms", "act_absmax", "act_zero_frac")
LAYERS = tuple(f"h.{block}.{part}" for block in range(4) for part in ("attn", "mlp"))


def warm_up(limits: Limits) -> None:
    """Judge a short run, so that compiling delays neither the first real fault nor the heartbeats.

    Not one record: charts are set up after some, and layers compared after some more; what most runs report is there.
    With kernels that are compiled nowhere yet this takes fifteen seconds, else half of one.
    """
    monitor = PartitionMonitor(0, 1, limits)
    for step in range(1, STEPS + 1):
        value = json.dumps(_record(step)).encode()
        record: ConsumerRecord[bytes, bytes] = ConsumerRecord(
            "", 0, step, 0, 0, b"", value, None, 0, len(value), ()
        )
        monitor.process([record])


def _record(step: int) -> dict[str, object]:
    """Healthy but for one gradient, high in the last ones, and the loss, which ends with NaN."""
    wave = 1.0 + step % 7 / 10
    layer = dict.fromkeys(SIGNALS, wave) | {"weight_norm": 1.0 + step / 1000}
    leapt = layer | {"grad_norm": 64.0 * wave if step > STEPS - 4 else wave}
    return {
        "run": "warm-up",
        "step": step,
        "loss": wave if step < STEPS else math.nan,
        "grad_norm_total": wave,
        "lr": 0.001,
        "tokens": 8.0,
        "step_seconds": wave,
        "layers": dict.fromkeys(LAYERS, layer) | {LAYERS[0]: leapt},
    }
