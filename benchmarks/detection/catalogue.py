"""The faults: what each is called, how soon it should be found, how strong it is drawn, what a run needs for it."""

from __future__ import annotations

from dataclasses import dataclass

EXACT, JUMP, GRADUAL = 5, 25, 300
"""Delay budgets in readings of the affected series."""


@dataclass(frozen=True)
class Fault:
    """One row. The strength is log-uniform between `weakest` and `strongest`, in `unit`; less may be stronger."""

    code: str
    kind: str
    budget: int
    weakest: float
    strongest: float
    unit: str
    needs: tuple[str, ...] = ()
    """Features that a run must have, see `corpus`."""
    every: str = ""
    """Which readings the budget counts where they are rarer than steps: ``updates``, ``activations``, ``eval``."""
    at_start: bool = False
    """It is there from the first step."""
    test_only: bool = False


# fmt: off
FAULTS: tuple[Fault, ...] = (
    Fault("F01", "nonfinite_loss", EXACT, 1, 1, "steps"),
    Fault("F02", "nonfinite_gradient", EXACT, 1, 1, "elements"),
    Fault("F03", "nonfinite_activation", EXACT, 1, 1, "elements"),
    Fault("F04", "nonfinite_weight", EXACT, 1, 1, "elements"),
    Fault("F05", "loss_scale_collapse", GRADUAL, 0.5, 1.0, "share of steps that overflow", ("fp16",)),
    Fault("F06", "underflow", GRADUAL, 0.08, 0.5, "halvings a step", ("fp16",)),
    Fault("F07", "outlier_growth", GRADUAL, 0.01, 0.04, "growth a step", (), "activations"),
    Fault("F08", "gradient_spike", JUMP, 2.5, 100, "times"),
    Fault("F09", "layer_gradient_spike", JUMP, 2.5, 300, "times"),
    Fault("F10", "gradient_explosion", GRADUAL, 0.015, 0.1, "growth a step"),
    Fault("F11", "gradient_vanishing", GRADUAL, 0.01, 0.1, "decay a step"),
    Fault("F12", "gradient_dead", EXACT, 1, 1, "layers"),
    Fault("F13", "gradient_noise", GRADUAL, 0.7, 10, "noise over gradient"),
    Fault("F15", "missing_zero_grad", GRADUAL, 1, 1, ""),
    Fault("F16", "dead_units", GRADUAL, 0.25, 1.0, "share of units", ("relu",), "activations"),
    Fault("F17", "saturation", GRADUAL, 1.5, 20, "times", ("tanh",), "activations", test_only=True),
    Fault("F18", "variance_collapse", GRADUAL, 0.01, 0.1, "decay a step", ("norm",), "activations"),
    Fault("F19", "residual_gain_outlier", GRADUAL, 0.05, 1.0, "extra gain", ("ranks", "blocks"), "activations"),
    Fault("F20", "attention_logit_growth", GRADUAL, 0.005, 0.04, "growth a step", ("attention",), "activations"),
    Fault("F22", "weights_frozen", EXACT, 1, 1, "layers", (), "updates"),
    Fault("F23", "update_ratio_high", JUMP, 2, 30, "times", (), "updates"),
    Fault("F24", "update_ratio_low", GRADUAL, 2, 100, "times less", (), "updates"),
    Fault("F25", "weight_blowup", GRADUAL, 0.001, 0.02, "growth a step"),
    Fault("F27", "poor_initialisation", GRADUAL, 5, 100, "times", at_start=True),
    Fault("F28", "lr_schedule", GRADUAL, 3, 100, "times"),
    Fault("F28", "lr_schedule", GRADUAL, 0.003, 0.03, "growth a step"),
    Fault("F30", "optimizer_state_lost", JUMP, 1, 1, "", ("stateful",)),
    Fault("F32", "loss_spike_persistent", JUMP, 0.15, 1.0, "share of labels", ("labels",)),
    Fault("F33", "loss_divergence", GRADUAL, 600, 100, "steps to half of the labels", ("labels",)),
    Fault("F34", "loss_plateau", GRADUAL, 1e-2, 1e-5, "of the update left"),
    Fault("F34", "flat_from_start", GRADUAL, 1e-3, 1e-5, "of the update left", (), "", True),
    Fault("F36", "loss_out_of_range", JUMP, 1.05, 3.0, "times the loss taken off", ("positive",)),
    Fault("F37", "loss_collapse", JUMP, 0.3, 1.0, "share of targets leaked", ("leaky",)),
    Fault("F38", "overfit", GRADUAL, 8, 1, "batches left", ("eval",), "eval"),
    Fault("F39", "eval_regression", JUMP, 1.08, 2.5, "times", ("eval",), "eval"),
    Fault("F40", "bad_batch", JUMP, 0.3, 1.0, "share of the batch", ("ranks", "labels")),
    Fault("F42", "repeated_batch", EXACT, 1, 1, "", ("hashes",)),
    Fault("F44", "replica_divergence", EXACT, 1e-6, 1e-2, "relative change", ("ranks", "hashes")),
    Fault("F45", "rank_gradient_outlier", JUMP, 1.5, 50, "times", ("ranks", "local")),
    Fault("F47", "straggler", GRADUAL, 1.15, 4, "times", ("ranks",)),
    Fault("F48", "run_silent", GRADUAL, 200, 2000, "seconds", ("timed",)),
    Fault("F49", "partial_telemetry", GRADUAL, 1, 1, "", ("ranks",)),
    Fault("F50", "throughput_drop", GRADUAL, 1.15, 4, "times"),
    Fault("F51", "resume_corruption", JUMP, 0.05, 1.0, "relative change of the weights"),
    Fault("F52", "router_collapse", GRADUAL, 0.02, 0.3, "logits a step", ("moe",), "activations", test_only=True),
    Fault("F53", "rl_kl", GRADUAL, 5, 50, "times", ("rl",), test_only=True),
    Fault("F53", "rl_entropy", GRADUAL, 0.1, 1.0, "bonus against entropy", ("rl",), test_only=True),
    Fault("F53", "rl_reward", JUMP, 0.3, 2.0, "reward lost", ("rl",), test_only=True),
    Fault("F54", "duplicate_run", JUMP, 1, 1, "", ("sessions", "one_rank")),
    Fault("F56", "series_shift", GRADUAL, 2, 20, "standard deviations", test_only=True),
    Fault("F57", "nonfinite_unknown", EXACT, 1, 1, "", test_only=True),
)
# fmt: on
BY_KIND = {fault.kind: fault for fault in FAULTS}


def row_of(kind: str, strength: float) -> Fault:
    """The row that drew `strength`: one kind may happen in two ways, in units of their own."""
    rows = [fault for fault in FAULTS if fault.kind == kind]
    for fault in rows:
        least, most = sorted((fault.weakest, fault.strongest))
        if least <= strength <= most:
            return fault
    return rows[0]
