"""Every kind of incident: its family, its severity, what it is called and what to do. One table for all of it.

Severity says what to do: critical = act now, the run burns money or its state is lost; warning = look today; info =
goes to the log only. The severity here is what a confirmed finding of that kind gets; the judge may raise it (a loss
that diverged far) or lower it (a spike that came back).
"""

from __future__ import annotations

from dataclasses import dataclass

from anomaly.incidents.transition import Severity

INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. Findings of one `cause_group` in a run belong to one incident."""

    name: str
    family: str
    severity: Severity
    title: str
    advice: str
    found_by: str
    """How it is found; empty while nothing raises it."""

    @property
    def cause_group(self) -> str:
        """What training computes is one cause, whoever shows it; time, telemetry and identity are watched apart."""
        return _APART.get(self.name, self.family if self.family in ("telemetry", "identity") else "training")

    @property
    def runbook(self) -> str:
        """Where people read on: the path of its runbook in this repository."""
        return f"docs/runbooks/{self.name}.md"


_APART = {"straggler": "seconds", "throughput_drop": "seconds", "duplicate_run": "training"}
_ROLL_BACK = "Stop the run and go back to the last good checkpoint"
_LOOK_AT_DATA = "look at the batches read since the first bad step"

# fmt: off
_TABLE: tuple[tuple[str, str, Severity, str, str, str], ...] = (
    ("nonfinite_loss", "nonfinite", CRITICAL, "Non-finite loss", f"{_ROLL_BACK}; {_LOOK_AT_DATA} and lower the learning rate or precision risk before restarting.", "hard rule, in the same record"),
    ("nonfinite_gradient", "nonfinite", CRITICAL, "Non-finite gradient", f"{_ROLL_BACK}; check the named layer's backward pass and the loss scale, and skip the batch if it repeats.", "hard rule, in the same record"),
    ("nonfinite_activation", "nonfinite", CRITICAL, "Non-finite activation", f"{_ROLL_BACK}; check the named layer's inputs and its range in the training precision.", "hard rule, in the same record"),
    ("nonfinite_weight", "nonfinite", CRITICAL, "Non-finite weights", f"{_ROLL_BACK}: every checkpoint since the first bad step is lost; check the named layer's last update and the host's memory.", "hard rule, in the same record"),
    ("nonfinite_unknown", "special", CRITICAL, "Non-finite values", f"{_ROLL_BACK}; the source is not known: report gradient, activation and weight counts apart.", "hard rule, in the same record"),
    ("loss_scale_collapse", "precision", WARNING, "Loss scale collapses", "Gradients overflow again and again: lower the learning rate, or train in bfloat16.", "rules: ten skipped steps in a row; four halvings, or a quarter of the last 32 steps skipped, once the search for a scale is over"),
    ("underflow", "precision", WARNING, "Gradients underflow", "More and more gradients are exactly zero: raise the loss scale, or train in bfloat16.", "charts of its series"),
    ("outlier_growth", "precision", WARNING, "Activations grow", "Look at the named layer before its range ends in NaN: its normalisation, its learning rate, weight decay.", "charts of its series; in one layer, growth of the largest activation by the same factor again and again, by 4.6 in 128 readings and by twice as much as in any other block"),
    ("gradient_spike", "gradient", WARNING, "Gradient spike", f"If the loss does not recover, go back to the last good checkpoint; {_LOOK_AT_DATA}; consider clipping.", "charts of its series; a whole gradient that stands at three times the largest of its last 48 readings, however rough it is"),
    ("layer_gradient_spike", "gradient", WARNING, "Gradient spike in one layer", f"Check the named layer and its inputs; {_LOOK_AT_DATA}.", "charts of its series; and by what the other layers' gradients do not share, at about half of the height: one that jumps up by itself and stays for three readings"),
    ("gradient_explosion", "gradient", WARNING, "Gradients explode", "Lower the learning rate or clip; go back to the last good checkpoint if the loss follows.", "the total norm grows by the same factor over 48 readings, or evenly over 192; a single jump of it is a gradient_spike"),
    ("gradient_vanishing", "gradient", WARNING, "Gradient vanishes", "Check what feeds the named layer: saturation, a dead branch, a wrong detach, the loss scale.", "charts of its series; by what the other layers' gradients do not share, over a hundred readings or more: one that shrinks by the same factor again and again, by four in 128 readings"),
    ("gradient_dead", "gradient", WARNING, "Gradient is exactly zero", "The named layer no longer learns: look for a detach, a dead branch or an unused module. Checkpoints are sound, but without what the layer should have learned since the first bad step.", "exact rule: three readings of 0"),
    ("gradient_noise", "gradient", WARNING, "Gradient noise grows", f"Check the named layer and the batch composition; {_LOOK_AT_DATA}.", "the layer's gradient jumps from reading to reading, by what the others do not share, far more than it did and than any other layer's; weak noise is not found"),
    ("clip_saturation", "gradient", INFO, "Clipping at nearly every step", "The clipping threshold now sets the step size: raise it, or lower the learning rate.", "64 readings nearly all clipped, where it was less than half"),
    ("missing_zero_grad", "gradient", WARNING, "Gradients accumulate", "The norm grows with every step as if gradients were never cleared: check zero_grad.", "the total norm grows by the same amount over 12 readings; without it the charts say gradient_spike or update_ratio_high"),
    ("dead_units", "activation", WARNING, "Units die", "More units of the named layer are always zero and seldom come back: go back to a checkpoint before the first bad step, lower the learning rate.", "charts of its series"),
    ("saturation", "activation", WARNING, "Units saturate", "Outputs are pinned to their ends: check the named layer's inputs and scale.", "charts of its series; in the last layer only while its outputs stay within 1"),
    ("variance_collapse", "activation", WARNING, "Activations collapse", "The named layer's outputs lose their spread: check normalisation and residual paths.", "charts of its series"),
    ("residual_gain_outlier", "activation", WARNING, "One rank's residual gain differs", "Compare the named rank's hardware and inputs with its peers: silent data corruption looks like this. Checkpoints since the first bad step may hold what that rank computed.", "ranks against each other: output over input of a layer, for long by little"),
    ("attention_logit_growth", "activation", WARNING, "Attention logits grow", "Attention becomes one-hot: consider query-key normalisation or a lower learning rate.", "charts of its series; of entropy, where less than a third of it is left"),
    ("weights_frozen", "weight", WARNING, "Weights no longer move", "The named layer has a gradient but no update: check the optimiser's parameter groups. Checkpoints are sound, but the layer is as it was at the first bad step.", "exact rules: three updates of 0; the weights' norm bit for bit the same three times, although it had moved"),
    ("update_ratio_high", "weight", WARNING, "Updates too large", "Check learning rate, its schedule and the optimiser's state; go back to the last good checkpoint if the loss follows.", "charts of its series; updates over the learning rate that leap by a factor of 2.2 or more and stay, in one layer or in most, with nothing that explains it, after four readings"),
    ("update_ratio_low", "weight", WARNING, "Updates too small", "Check learning rate, clipping and the optimiser's state.", "as update_ratio_high, downwards"),
    ("weight_blowup", "weight", WARNING, "Weights blow up", "Check weight decay and the learning rate of the named layer; checkpoints since the first bad step hold the grown weights, so go back to one before it.", "charts of its series; in one layer, growth by the same factor again and again, by 1.6 in some two hundred readings and by twice as much as in any other block; a norm that moved, up or down, by a twentieth and by six times more than the updates between reach"),
    ("poor_initialisation", "weight", WARNING, "Poor initialisation", "Restart with another initialisation of the named layer.", "one look after sixteen readings: a layer four times what its siblings are, or activations far too large in most layers; a model without siblings shows it in its loss only"),
    ("lr_schedule", "weight", WARNING, "Learning rate off its schedule", "Compare with the schedule you meant; stop the run if the loss follows.", "rules: far above what it had settled at, stuck at 0, creeping up after its warm-up, falling by more than fifteen times, or off the declared schedule"),
    ("optimizer_state_lost", "weight", WARNING, "Optimiser state lost at a resume", "Check that the optimiser's state was saved and loaded.", "the first update after a resume, in most layers; without a sign of the resume the charts say update_ratio_high"),
    ("loss_spike_transient", "loss", INFO, "Loss spike that recovered", "Nothing now; if they become frequent, look at the data.", "charts of the loss; a warning where they come four times as often as before"),
    ("loss_spike_persistent", "loss", WARNING, "Loss spike that stays", f"Go back to the last good checkpoint; {_LOOK_AT_DATA}, or lower the learning rate.", "charts of the loss; its last readings against those before, where one reading stands for many steps"),
    ("loss_divergence", "loss", WARNING, "Loss climbs", "The run is getting worse slowly: lower the learning rate or go back to the last good checkpoint.", "rising blocks of the loss at three scales; not of one that rose before it fell, nor of one below 0 in its first 512 readings"),
    ("loss_plateau", "loss", WARNING, "Loss no longer falls", "Check learning rate, data and that gradients reach every layer.", "the loss has been level for 63 of 64 parts of the run; all weights' norms move a hundredth of what they did, or not at all (weights_frozen)"),
    ("flat_from_start", "loss", WARNING, "Loss never fell", "Check learning rate, labels and that gradients reach every layer.", "the loss is no lower than in the first sixteenth of the run, 200 readings on where the weights hardly moved, else 1,000; until it falls"),
    ("loss_out_of_range", "loss", WARNING, "Loss out of range", "The loss has a value it cannot have: check labels, masks and the loss function.", "rule: a loss well above 0 at each reading jumps below it"),
    ("loss_collapse", "loss", WARNING, "Loss falls off a cliff", "Too good to be true: look for a leak of the labels or a data loader stuck on one batch or a few; what was learned since the first bad step is of no use.", "charts of its series; half of it gone at once, six readings that are all 40 % below any of the last forty-eight, or its noise gone, from reading to reading or to one up to eight on"),
    ("overfit", "loss", WARNING, "Validation loss rises", "Stop or regularise; the best checkpoint is before the first bad step.", "three evaluations clearly above the best one while the training loss fell"),
    ("eval_regression", "loss", WARNING, "Evaluation got worse", "Compare the checkpoint before the first bad step; check the evaluation data.", "three evaluations clearly above the best one; charts of its series"),
    ("bad_batch", "data", WARNING, "Bad batch on one rank", "Look at the named rank's batch at the first bad step; skip it and go on, unless the loss stays up: then go back to the last good checkpoint.", "ranks against each other: its first layers, with its loss, in one step; or its loss alone, four steps in a row"),
    ("repeated_batch", "data", WARNING, "The same batch again and again", "The data loader is stuck: check its workers, sampler and seed; go back to a checkpoint before the first bad step, as the model is learning one batch by heart.", "exact rule: the same value again and again"),
    ("replica_divergence", "ranks", CRITICAL, "Replicas differ", "Ranks that must agree hold different weights: stop, go back to the last good checkpoint and check the named rank.", "exact vote of weight hashes"),
    ("rank_gradient_outlier", "ranks", WARNING, "One rank's gradient differs", "Compare the named rank's data and hardware with its peers; what it sent is in every checkpoint since the first bad step.", "ranks against each other: twice or half of where it usually stands, at once or for long, with more evidence where it is less and where ranks hold shards; four times its peers in most layers, five steps in a row, whatever was usual"),
    ("straggler", "ranks", WARNING, "One rank is slow", "Check the named rank's host: clocks, temperature, network, other jobs.", "ranks against each other: step or data seconds; twice the median from the start"),
    ("throughput_drop", "telemetry", WARNING, "Steps became slower", "Check data loading, storage and network.", "a quarter more seconds a step or worse for 48 readings (half as much again for 20, where each stands for ten steps or more), with nothing that explains it: no larger batch, no smaller gradients; a remark where it is two, four or eight times as many, give or take 7 %, and no tokens are told; charts of its series, at once, for four times as many"),
    ("run_silent", "telemetry", CRITICAL, "Run went silent", "The job may hang or be dead: look at its host and its scheduler.", "timer: no record for ten times its median interval, and a minute, outside a declared pause"),
    ("partial_telemetry", "telemetry", WARNING, "A rank or layer no longer reports", "Look at the named rank's process and host.", "ranks that most of their peers left behind; timer: ranks that never came; layers absent for ten of their own intervals, and 48 readings at the least (16 where each stands for ten steps or more)"),
    ("resume_corruption", "restart", WARNING, "The resumed run is not the one that stopped", "Check that weights, optimiser, data position and seeds were restored.", "the first norms of weights after a resume, where its steps go on: six times as far from those before as they moved of late; or two samples of the loss, before and after it, or of the same steps; corrupt weights that show in neither are not found"),
    ("router_collapse", "special", WARNING, "Experts collapse", "The router sends everything to few experts: check its auxiliary loss and its learning rate.", "charts of its series"),
    ("rl_kl", "special", WARNING, "KL leaves its band", "The policy moves too fast: lower the learning rate or raise the KL penalty.", "charts of a whole-model series with kl in its name beside signals of a policy, in log and over the learning rate, upwards"),
    ("rl_entropy", "special", WARNING, "Policy entropy leaves its band", "The policy collapses: raise the entropy bonus or lower the learning rate.", "charts of a whole-model series with entropy in its name, downwards"),
    ("rl_reward", "special", WARNING, "Reward leaves its band", "Check the environment and the reward model.", "charts of a whole-model series with reward or return in its name, downwards and at once, by its own noise; one that no longer varies, though below its best"),
    ("duplicate_run", "identity", WARNING, "Two jobs report under one run id", "Stop one of the jobs, or give it a run id of its own.", "three records of a replaced session"),
    ("resize", "identity", INFO, "World size changed", "Nothing to do if the resize was meant.", "half of the ranks or more leaving at once"),
    ("series_shift", "special", WARNING, "A series of yours shifted", "Look at the named series; its meaning is yours.", "charts of its series: it had a level, by its own noise, and left it at once"),
)
# fmt: on

KINDS: dict[str, Kind] = {row[0]: Kind(*row) for row in _TABLE}
