"""What is known of a run of the corpus: ``<run>.json`` beside ``<run>.parquet``."""

from __future__ import annotations

from pathlib import Path

import msgspec

BLOCKS = (
    (1, 4, "nonfinite"),
    (5, 7, "precision"),
    (8, 15, "gradient"),
    (16, 20, "activation"),
    (22, 30, "weight"),
    (31, 39, "loss"),
    (40, 42, "data"),
    (44, 47, "ranks"),
    (48, 50, "telemetry"),
    (51, 51, "restart"),
    (52, 57, "special"),
)
"""The families, as blocks of codes."""

CODES = {
    "nonfinite_loss": 1,
    "nonfinite_gradient": 2,
    "nonfinite_activation": 3,
    "nonfinite_weight": 4,
    "loss_scale_collapse": 5,
    "underflow": 6,
    "outlier_growth": 7,
    "gradient_spike": 8,
    "layer_gradient_spike": 9,
    "gradient_explosion": 10,
    "gradient_vanishing": 11,
    "gradient_dead": 12,
    "gradient_noise": 13,
    "clip_saturation": 14,
    "missing_zero_grad": 15,
    "dead_units": 16,
    "saturation": 17,
    "variance_collapse": 18,
    "residual_gain_outlier": 19,
    "attention_logit_growth": 20,
    "weights_frozen": 22,
    "update_ratio_high": 23,
    "update_ratio_low": 24,
    "weight_blowup": 25,
    "poor_initialisation": 27,
    "lr_schedule": 28,
    "optimizer_state_lost": 30,
    "loss_spike_transient": 31,
    "loss_spike_persistent": 32,
    "loss_divergence": 33,
    "loss_plateau": 34,
    "flat_from_start": 34,
    "loss_out_of_range": 36,
    "loss_collapse": 37,
    "overfit": 38,
    "eval_regression": 39,
    "bad_batch": 40,
    "repeated_batch": 42,
    "replica_divergence": 44,
    "rank_gradient_outlier": 45,
    "straggler": 47,
    "run_silent": 48,
    "partial_telemetry": 49,
    "throughput_drop": 50,
    "resume_corruption": 51,
    "router_collapse": 52,
    "rl_kl": 53,
    "rl_entropy": 53,
    "rl_reward": 53,
    "duplicate_run": 54,
    "resize": 55,
    "series_shift": 56,
    "nonfinite_unknown": 57,
}
"""Every kind's code."""

REMARKS = {"F14", "F31", "F55"}
"""Faults that the list of faults wants at `info`: no page is owed for them, so they are no part of recall."""
BENIGN = {"F31", "F55"}
"""Those of them that the list of benign events has, too: a page for one is a false alarm."""

EXACT, JUMP = 5, 25
"""Budgets, in readings of the affected series, of faults that show at once; all others may take longer."""
_EXACT = frozenset((1, 2, 3, 4, 12, 22, 42, 44))
_JUMP = frozenset((8, 9, 23, 30, 32, 36, 37, 40, 45, 51))


def family_of(code: int) -> str:
    """The family of a fault's number.

    >>> family_of(9)
    'gradient'
    """
    return next((family for first, last, family in BLOCKS if first <= code <= last), "")


class Fault(msgspec.Struct, frozen=True):
    """One injected fault. `budget_steps`: how late it may be found; `strength` is comparable within one code."""

    code: str
    kind: str
    onset_step: int
    budget_steps: int
    family: str = ""
    end_step: int | None = None
    layer: str | None = None
    block: str | None = None
    rank: int | None = None
    strength: float = 0.0
    note: str = ""

    @property
    def deadline(self) -> int:
        """The last step at which it counts as found."""
        return self.onset_step + self.budget_steps

    @property
    def at_once(self) -> bool:
        """Whether it shows at once, so that its delay says how quick a detector is."""
        return self.number in _EXACT | _JUMP

    @property
    def cadence(self) -> float:
        """Steps from one reading of the affected series to the next, as its budget implies; 1 where not at once."""
        base = EXACT if self.number in _EXACT else JUMP
        return max(self.budget_steps / base, 1.0) if self.at_once else 1.0

    @property
    def number(self) -> int:
        """Its code's number."""
        return int(self.code[1:])

    @property
    def by_block(self) -> str:
        """Its family by its code."""
        return family_of(self.number)


class Benign(msgspec.Struct, frozen=True):
    """Something that must not page."""

    name: str
    step: int
    announced: bool = False


class Label(msgspec.Struct, frozen=True):
    """One run."""

    run: str
    part: str
    model: str
    steps: int
    healthy: bool
    seed: int = 0
    optimizer: str = ""
    schedule: str = ""
    precision: str = ""
    clipping: float | None = None
    accumulation: int = 1
    ranks: int = 1
    layers: int = 0
    logging_every: int = 1
    fault: Fault | None = None
    second_fault: Fault | None = None
    benign: tuple[Benign, ...] = ()
    missing: tuple[str, ...] = ()
    """What the run does not report; "layers": nothing of any layer."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Those that page, in order of onset; what is only worth a remark is in `remarks`."""
        return tuple(fault for fault in self.injected if fault.code not in REMARKS)

    @property
    def remarks(self) -> tuple[Fault, ...]:
        """What was injected that is worth an `info` at most."""
        return tuple(fault for fault in self.injected if fault.code in REMARKS)

    @property
    def injected(self) -> tuple[Fault, ...]:
        """All that was injected, in order of onset."""
        given = [self._as_told(fault) for fault in (self.fault, self.second_fault) if fault is not None]
        return tuple(sorted(given, key=lambda fault: fault.onset_step))

    def _as_told(self, fault: Fault) -> Fault:
        """A silence is labelled at the record that ends it; all that can be told of it is told at the one before."""
        if fault.kind != "run_silent":
            return fault
        earlier, longer = fault.onset_step - self.logging_every, fault.budget_steps + self.logging_every
        return msgspec.structs.replace(fault, onset_step=earlier, budget_steps=longer)

    @property
    def quiet_steps(self) -> int:
        """Steps in which nothing may page: all of a healthy run, else those before the first onset."""
        onsets = [fault.onset_step for fault in self.injected if fault.code not in BENIGN]
        return max(min(onsets), 0) if onsets else self.steps


class Trace(msgspec.Struct, frozen=True):
    """A run of the corpus: its label and where its records are."""

    label: Label
    file: Path


def traces(folder: Path) -> list[Trace]:
    """Every run of `folder` whose records and label are both there, by name. ValueError for a label that is none."""
    found = []
    for path in sorted(folder.glob("*.json")):
        records = path.with_suffix(".parquet")
        if records.exists():
            try:
                found.append(Trace(msgspec.json.decode(path.read_bytes(), type=Label), records))
            except msgspec.MsgspecError as error:
                raise ValueError(f"{path} is no label of a run: {error}") from error
    return found
