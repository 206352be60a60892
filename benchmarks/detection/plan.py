"""What each run is: a pure function of its part and its number."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

VERSION = 1
"""Raised whenever traces of the same plan come out otherwise; older files are then made anew."""
CHANGED = dict.fromkeys(
    (
        "outlier_growth", "dead_units", "saturation", "variance_collapse", "attention_logit_growth", "weights_frozen",
        "update_ratio_high", "update_ratio_low", "loss_plateau", "flat_from_start", "weight_blowup",
    ),
    2,
)  # fmt: skip
"""The version of runs with one of these faults, where only they came out otherwise."""
DTYPES_TOLD = 3
"""The version of runs whose weights are of 16 bits: since then their tables say so, as the hook does."""


@dataclass(frozen=True)
class Injection:
    """Something that happens to a run at a step: a fault (with a `code`) or a benign event (announced or not)."""

    name: str
    step: int
    strength: float = 1.0
    code: str = ""
    announced: bool = False
    variant: int = 0
    """Which of the ways in which it happens."""


@dataclass(frozen=True)
class Plan:
    """One run. `size` is what its model is built with; `seed` draws everything that is random in it."""

    run: str
    part: str
    seed: int
    model: str
    size: dict[str, Any]
    steps: int
    optimizer: str = "adamw"
    lr: float = 1e-3
    schedule: str = "const"
    warmup: int = 0
    precision: str = "fp32"
    clip: float | None = None
    accumulation: int = 1
    ranks: int = 1
    local_norms: bool = True
    """Whether a rank reports its own gradients' norms, or those of the mean."""
    batch_size: int = 8
    length: int = 24
    eval_every: int = 0
    updates_every: int = 10
    activations_every: int = 10
    weights_every: int = 1
    gradient_statistics: bool = False
    hashes: bool = False
    sharded: bool = False
    """Whether each rank sees a part of the weights and gradients only, so that its norms are parts."""
    host_signals: bool = False
    """Whether waiting for data and memory are reported, too."""
    timed: bool = False
    sessions: bool = False
    announced: bool = False
    """Whether the schedule is announced at the start."""
    logging: tuple[tuple[int, int], ...] = ((0, 1),)
    """From which step on every how many steps are kept."""
    missing: tuple[str, ...] = ()
    """Signals that this run never reports; ``layers``: it reports the whole model only."""
    missing_share: float = 0.0
    benign: tuple[Injection, ...] = ()
    faults: tuple[Injection, ...] = field(default=())

    @property
    def fingerprint(self) -> str:
        """Equal plans of one version give equal bytes."""
        named = DTYPES_TOLD if self.precision == "bf16_weights" else VERSION
        version = max([VERSION, named, *(CHANGED.get(fault.name, VERSION) for fault in self.faults)])
        return json.dumps({"version": version, **asdict(self)}, sort_keys=True)
