"""Training loops as they are: clipping, closures, scalers, pauses, errors, compiled models."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.optim import Optimizer  # noqa: E402

from anomaly import SettingsError  # noqa: E402
from tests.hook.recording import Broker  # noqa: E402
from tests.hook.torch_trainings import (  # noqa: E402
    LAYERS,
    Model,
    batches,
    loss_of,
    steps_of,
    train,
    watched,
)

pytestmark = pytest.mark.usefixtures("seeded")


@pytest.mark.parametrize("max_norm", [0.01, 100.0])
def test_clipping_is_bit_equal_to_torchs_and_reports_what_was_before(broker: Broker, max_norm: float) -> None:
    def trained(clip: Callable[[Any], Callable[[int], Any]], run: bool) -> list[Tensor]:
        torch.manual_seed(3)
        model = Model()
        optimizer = torch.optim.SGD(model.parameters(), 0.5)
        watching = watched(model, optimizer, broker) if run else None
        train(model, optimizer, watching, 5, clip(watching or model))
        if watching:
            watching.close()
        return [parameter.detach() for parameter in model.parameters()]

    totals: list[float] = []
    theirs = trained(
        lambda model: (
            lambda _step: totals.append(float(nn.utils.clip_grad_norm_(model.parameters(), max_norm)))
        ),
        False,
    )
    ours = trained(lambda run: lambda _step: run.clip_grad_norm_(max_norm), True)
    assert all(torch.equal(one, other) for one, other in zip(theirs, ours, strict=True))
    records = steps_of(broker)
    assert [record.model["grad_norm_total"] for record in records] == pytest.approx(totals, rel=1e-5)
    assert [record.model["clip_coef"] for record in records] == pytest.approx(
        [min(1.0, max_norm / (total + 1e-6)) for total in totals], rel=1e-5
    )


def test_a_closures_gradients_are_taken_once_it_has_made_them(broker: Broker) -> None:
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    (tokens,) = batches(1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = loss_of(model, tokens)
        loss.backward()
        return float(loss.detach())

    with watched(model, optimizer, broker) as run:
        run.step(optimizer.step(closure))
    total = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
    assert steps_of(broker)[0].model["grad_norm_total"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_a_scaler_skips_say_so_and_report_no_gradients(broker: Broker, fused: bool) -> None:
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    with watched(model, optimizer, broker, scaler=scaler) as run:
        for step, tokens in enumerate(batches(3)):
            optimizer.zero_grad()
            loss = loss_of(model, tokens)
            scaler.scale(loss).backward()
            expected = math.sqrt(
                sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None)
            )
            if step == 1:
                model.head.bias.grad[0] = math.inf  # type: ignore[index]
            scaler.step(optimizer)
            scaler.update()
            run.step(loss)
    records = steps_of(broker)
    assert [record.model["skipped"] for record in records] == [0, 1, 0]
    assert [record.model["loss_scale"] for record in records] == [256.0, 128.0, 128.0]
    assert "grad_norm" not in records[1].layers.get("embed", {})
    assert records[2].model["grad_norm_total"] == pytest.approx(expected / 128.0, rel=1e-4)


def test_steps_count_by_themselves_from_any_number(broker: Broker) -> None:
    model = nn.Linear(2, 2)
    with watched(model, torch.optim.SGD(model.parameters(), 0.1), broker) as run:
        run.step(1.0, step=500)
        run.step(1.0)
        run.step(torch.tensor(2.0, requires_grad=True), tokens=512, accuracy=torch.tensor([0.5]))
    records = steps_of(broker)
    assert [record.step for record in records] == [500, 501, 502]
    assert records[2].model["loss"] == 2.0
    assert records[2].model["tokens"] == 512
    assert records[2].model["accuracy"] == 0.5


def test_the_pause_of_an_evaluation_is_no_steps_duration(broker: Broker) -> None:
    model = nn.Linear(2, 2)
    with watched(model, torch.optim.SGD(model.parameters(), 0.1), broker) as run:
        run.step(1.0)
        run.step(1.0)
        run.event("eval_start")
        run.event("eval_end")
        run.step(1.0)
    records = steps_of(broker)
    assert ["step_seconds" in record.model for record in records] == [False, True, False]
    assert [event["kind"] for event in records[2].events][:2] == ["eval_start", "eval_end"]


def test_an_error_while_measuring_ends_the_measuring_and_nothing_else(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(Optimizer):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, {"lr": 0.1})

        def step(self, closure: Any = None) -> Any:
            return None

        @property
        def grad_scale(self) -> Tensor:
            raise RuntimeError("a surprise")

    model = Model()
    optimizer = Odd(model.parameters())
    with watched(model, optimizer, broker) as run:
        train(model, optimizer, run, 4)
    assert [record.model["loss"] > 0 for record in steps_of(broker)] == [True] * 4
    assert caplog.text.count("a surprise") == 1


def test_odd_values_are_reported_as_such_and_never_raise(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watched(model, optimizer, broker) as run:
        run.step(torch.ones(3))
        run.step("no number", step="nor this")  # type: ignore[arg-type]
        run.step(1.0)
    assert [record.model.get("loss") for record in steps_of(broker)] == [None, 1.0]
    assert len(caplog.messages) == 2


def test_closing_leaves_no_hook_behind(broker: Broker) -> None:
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    run = watched(model, optimizer, broker, activations_every=1)
    run.close()
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert not any(module._forward_hooks for module in model.modules())
    train(model, optimizer, run, 1)


def test_a_compiled_model_is_watched_under_its_own_names(broker: Broker) -> None:
    model = Model()
    compiled = torch.compile(model, backend="eager")
    optimizer = torch.optim.SGD(compiled.parameters(), 0.1)
    with watched(compiled, optimizer, broker, activations_every=2) as run:
        train(compiled, optimizer, run, 5)
    records = steps_of(broker)
    assert len(records) == 5
    assert records[0].layout.layers == LAYERS
    assert "grad_norm" in records[4].layers["embed"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"updates_every": -1}, "updates_every: got -1"),
        ({"activations_every": 0.5}, "activations_every: got 0.5"),
    ],
)
def test_wrong_arguments_are_refused_at_once(broker: Broker, options: dict[str, Any], said: str) -> None:
    model = Model()
    with pytest.raises(SettingsError, match=said):
        watched(model, torch.optim.SGD(model.parameters(), 0.1), broker, **options)


def test_what_is_no_optimizer_or_has_no_parameters_is_refused(broker: Broker) -> None:
    with pytest.raises(SettingsError) as caught:
        watched(nn.ReLU(), "adam", broker)
    assert "a torch.optim.Optimizer is needed" in str(caught.value)
    assert "there is nothing to watch" in str(caught.value)
