"""Updates too small for weights of 16 bits: no fault where the learning rate is low, or for a while."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from anomaly import codec
from anomaly.incidents import Transition
from anomaly.records import Layout, LayoutMessage, StepMessage
from tests.monitor.logs import Log, monitor

NAMES = ("h.0.norm", "h.0.mlp", "h.1.norm", "h.1.mlp")


def told(
    dtype: str | None,
    still: Callable[[int], bool],
    lr: Callable[[int], float],
    usual: float = 1.0,
    norms: tuple[str, ...] = (),
) -> list[Transition]:
    """A run whose first layer, with updates of so much, does not move in the steps that `still` says."""
    dtypes = None if dtype is None else (dtype,) * len(NAMES)
    layout = Layout(NAMES, ("grad_norm", "update_ratio", *norms), ("loss", "lr"), dtype=dtypes)
    log, noise = Log(), np.random.default_rng(0)
    log.add(codec.encode_layout(LayoutMessage("r1", layout)))
    for step in range(400):
        values = np.exp(0.1 * noise.standard_normal(layout.width)).astype(np.float32)
        values[:2] = 2.0 + 0.05 * noise.standard_normal(), lr(step)
        values[3] *= usual
        if norms:
            values[4::3] = 10.0 + 0.01 * step
        if still(step):
            values[3 : 4 + len(norms)] = (0.0, 10.0)[: 1 + len(norms)]
        log.add(codec.encode_steps(StepMessage("r1", 0, [step * 10**6], [None], values[None], layout.hash)))
    return [each for _, each in monitor().process(log.records).transitions if each.kind == "weights_frozen"]


def constant(_: int) -> float:
    return 1e-3


def decay(step: int) -> float:
    return 1e-3 * (1 - step / 400)


def at_the_end(step: int) -> bool:
    return step >= 300


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits_stand_still_for_a_while_and_where_the_rate_is_low(dtype: str) -> None:
    assert told(dtype, lambda step: 200 <= step < 220, constant) == []
    assert told(dtype, at_the_end, decay) == []


@pytest.mark.parametrize("dtype", ["float32", None])
def test_others_do_not(dtype: str | None) -> None:
    (found, *_) = told(dtype, lambda step: 200 <= step < 220, constant)
    assert (found.layer, found.first_step, found.step) == ("h.0.norm", 200, 202)
    assert told(dtype, at_the_end, decay)


@pytest.mark.parametrize("norms", [(), ("weight_norm",)])
def test_sixteen_bits_that_take_few_of_the_updates_may_stand_still_for_long(norms: tuple[str, ...]) -> None:
    assert told("bfloat16", at_the_end, constant, 1e-4, norms) == []
    assert told("bfloat16", lambda step: 200 <= step < 220, constant, 1.0, norms) == []
    assert told("bfloat16", at_the_end, constant, 1.0, norms)
    assert told("float32", at_the_end, constant, 1e-4, norms)


def test_sixteen_bits_that_stand_still_for_long_at_a_high_rate_are_frozen() -> None:
    (incident, *_) = told("bfloat16", at_the_end, constant)
    assert (incident.layer, incident.first_step) == ("h.0.norm", 300)
