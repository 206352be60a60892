"""Incidents for the tests of pages and receivers, hostile ones among them."""

from __future__ import annotations

import math

from anomaly.incidents.transition import Considered, Evidence, Severity, Source, Status, Transition

OPENED = 1_790_000_000.0
EMOJI = "🔥" * 200
HOSTILE = (
    "<!channel> @channel @everyone <@U123>",
    "*bold* _it_ `code` [click](https://evil.example/) <https://evil.example/|ok>",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "line\r\nBcc: everyone@lab.example\r\n\r\nbody",
    "\u202egnp.evil\u202c \u2066x\u2069",
    "\x1b[31mred\x1b[0m\x07\x00",
    EMOJI,
    '{"json": "yes"}\\" {{ .Labels }} ${PATH}',
)


def nan_gradient(**changed: object) -> Transition:
    """A gradient that is NaN in one layer on one rank, as its incident is opened; fields may be changed."""
    fields: dict[str, object] = {
        "incident": "3a537a06ea04a673",
        "transition": 1,
        "status": Status.OPENED,
        "run": "gpt-7b-ablation",
        "attempt": 0,
        "kind": "nonfinite_gradient",
        "severity": Severity.CRITICAL,
        "step": 41_203,
        "first_step": 41_203,
        "last_good_step": 41_202,
        "last_checkpoint_step": 41_000,
        "layer": "layers.17.attn",
        "layers": ("layers.17.attn", "layers.16.mlp", "layers.16.attn"),
        "ranks": (3,),
        "statistic": "grad_norm",
        "value": math.nan,
        "expected": 0.4123,
        "score": 1.0,
        "detector": "nonfinite",
        "evidence": (Evidence("grad_norm", math.nan, 0.4123, 1.0, "nonfinite", "layers.17.attn", 41_203),),
        "summary": "Non-finite gradient in layers.17.attn on rank 3 since step 41,203",
        "advice": "Stop the run and go back to the last good checkpoint; check the named layer's backward pass and "
        "the loss scale, and skip the batch if it repeats.",
        "runbook": "docs/runbooks/nonfinite_gradient.md",
        "source": Source(4, 1234),
        "opened_unix_seconds": OPENED,
        "updated_unix_seconds": OPENED,
        "tags": {
            "owner": "ana@lab.example",
            "team": "nlp",
            "dashboard": "https://wandb.example/lab/gpt/runs/7b",
        },
        "considered": (
            Considered("learning rate", "no: did not jump; 0.0003 now, 0.0003 at most before"),
            Considered("restart", "no: none lately"),
        ),
    }
    return Transition(**(fields | changed))  # type: ignore[arg-type]


def resolved(**changed: object) -> Transition:
    """The same 13 minutes later, over."""
    over = {
        "transition": 5,
        "status": Status.RESOLVED,
        "step": 41_900,
        "updated_unix_seconds": OPENED + 793,
    }
    return nan_gradient(**(over | changed))


def silent_runs(count: int) -> list[Transition]:
    """A cluster's file system dies: so many runs go silent at once."""
    return [
        nan_gradient(
            incident=f"{number:016x}",
            run=f"sweep-{number:03d}",
            kind="run_silent",
            layer=None,
            layers=(),
            ranks=(),
            statistic="silent_seconds",
            value=312.0,
            expected=2.1,
            detector="timer",
            advice="The job may hang or be dead: look at its host and its scheduler.",
            runbook="docs/runbooks/run_silent.md",
            considered=(),
        )
        for number in range(count)
    ]
