"""What goes wrong in each run of the demo, and whether the incidents that came say so.

The steps of the faults are printed on the terminal and never sent: the worker knows only what the hook reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import Severity, Status, Transition

BATCH_SIZE = 16
LEARNING_RATE = 3e-3
WARM_UP_STEPS = 20
POISONED = "block.2.mlp"


class Injected(NamedTuple):
    """What is done to one step; all zero in a healthy one. Numbers, not branches: one compiled step does it all.

    ``noise`` is the share of targets replaced by random bytes, ``poison`` 1 where a layer's update turns NaN.
    """

    noise: float = 0.0
    poison: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run: how it is trained, what happens to it, and what must be found. Steps are optimiser steps."""

    run: str
    title: str
    story: str
    steps: int

    fault_step: int | None = None
    budget: int = 0
    """Steps after `fault_step` within which a person must have been told."""
    families: tuple[str, ...] = ()
    """Families of kinds that name the fault rightly."""
    layer: str | None = None

    lr_factor: float = 1.0
    poison: bool = False
    noise_steps: int = 0
    """Steps in which the share of random targets climbs from 0 to its end."""
    restart_at: int | None = None
    restart_from: int | None = None
    larger_batch_at: int | None = None

    def is_faulty(self, step: int) -> bool:
        """Whether the fault has begun."""
        return self.fault_step is not None and step >= self.fault_step

    def lr(self, step: int) -> float:
        """The learning rate of a step: a short warm-up, then constant."""
        return (
            LEARNING_RATE * min(1.0, step / WARM_UP_STEPS) * (self.lr_factor if self.is_faulty(step) else 1.0)
        )

    def injected(self, step: int) -> Injected:
        """What is done to this step."""
        if self.fault_step is None or not self.is_faulty(step):
            return Injected()
        noise = min(1.0, (step - self.fault_step) / self.noise_steps) if self.noise_steps else 0.0
        return Injected(noise=0.9 * noise, poison=float(self.poison and step == self.fault_step))

    def batch_size(self, step: int) -> int:
        """Sequences in a batch."""
        return BATCH_SIZE * (2 if self.larger_batch_at is not None and step >= self.larger_batch_at else 1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a run's incidents are what they should be, and what is wrong where they are not."""

    scenario: Scenario
    paged: tuple[Transition, ...]
    """For each incident a person was told of, the transition that told them first."""
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True if everything is as it should be."""
        return not self.problems


def judge(scenario: Scenario, transitions: Sequence[Transition]) -> Verdict:
    """Compare a run's transitions (each one once) with what was done to it."""
    paged = tuple(first_pages(transitions))
    if scenario.fault_step is None:
        problems = [f"a healthy run paged: {page.summary}" for page in paged]
    elif not paged:
        problems = [f"missed: nobody was told of {scenario.title}"]
    else:
        problems = list(_wrong(scenario, paged))
    return Verdict(scenario, paged, tuple(problems))


def first_pages(transitions: Sequence[Transition]) -> list[Transition]:
    """The transition with which each incident first reached warning or critical, in order."""
    pages: dict[str, Transition] = {}
    for one in transitions:
        if one.severity is not Severity.INFO and one.status is not Status.RESOLVED:
            pages.setdefault(one.incident, one)
    return list(pages.values())


def _wrong(scenario: Scenario, paged: Sequence[Transition]) -> list[str]:
    page, problems = paged[0], []
    assert scenario.fault_step is not None
    if page.step < scenario.fault_step:
        problems.append(f"false alarm at step {page.step}, before the fault: {page.summary}")
    elif page.step > scenario.fault_step + scenario.budget:
        problems.append(f"late: told at step {page.step}, more than {scenario.budget} after the fault")
    family = KINDS[page.kind].family if page.kind in KINDS else "unknown"
    if family not in scenario.families:
        problems.append(
            f"misnamed: {page.kind} ({family}), expected the family {' or '.join(scenario.families)}"
        )
    if scenario.layer is not None and page.layer != scenario.layer:
        problems.append(f"wrong layer: {page.layer}, expected {scenario.layer}")
    if len(paged) > 1:
        problems.append(f"paged {len(paged)} times: {', '.join(one.kind for one in paged)}")
    return problems


def scenarios() -> tuple[Scenario, ...]:
    """The runs of the demo, in order."""
    return (
        Scenario(
            run="demo-1-learning-rate",
            title="learning rate × 100",
            story="at step {step} the learning rate is multiplied by 100",
            steps=260,
            fault_step=220,
            budget=25,
            families=("weight",),
            lr_factor=100.0,
        ),
        Scenario(
            run="demo-2-nan-weights",
            title="NaN in one layer's weights",
            story="at step {step} the update of {layer} turns its weights into NaN",
            steps=200,
            fault_step=180,
            budget=5,
            families=("nonfinite",),
            layer=POISONED,
            poison=True,
        ),
        Scenario(
            run="demo-3-slow-divergence",
            title="slow divergence of the loss",
            story="from step {step} on, more and more targets are random bytes",
            steps=425,
            fault_step=300,
            budget=125,
            families=("loss", "weight"),  # random targets pull at the output layer before the loss climbs
            noise_steps=125,
        ),
        Scenario(
            run="demo-4-healthy",
            title="healthy, with a restart and a larger batch",
            story="restarts at step 180 from the checkpoint of step 150, doubles its batch at 300; must stay quiet",
            steps=400,
            restart_at=180,
            restart_from=150,
            larger_batch_at=300,
        ),
    )
