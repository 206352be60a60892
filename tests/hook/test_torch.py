"""PyTorch trainings, small but real, under `watch`: what is measured, and what that changes (nothing)."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from anomaly.torch_layers import Layers  # noqa: E402
from tests.hook.recording import Broker  # noqa: E402
from tests.hook.torch_trainings import (  # noqa: E402
    LAYERS,
    TOKENS,
    WIDTH,
    Model,
    batches,
    loss_of,
    steps_of,
    train,
    watched,
)

pytestmark = pytest.mark.usefixtures("seeded")


def test_watching_changes_no_bit_of_the_training(broker: Broker) -> None:
    def trained(with_watch: bool) -> tuple[list[float], list[Tensor]]:
        torch.manual_seed(3)
        model = Model()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        run = watched(model, optimizer, broker, updates_every=2, activations_every=2) if with_watch else None
        losses = train(model, optimizer, run, 20)
        if run:
            run.close()
        return losses, [*(parameter.detach() for parameter in model.parameters()), torch.rand(3)]

    plain, watching = trained(False), trained(True)
    assert plain[0] == watching[0]
    assert all(torch.equal(one, other) for one, other in zip(plain[1], watching[1], strict=True))


def test_layers_are_the_modules_with_parameters_in_order_and_tied_weights_count_once(broker: Broker) -> None:
    model = Model()
    for parameter in model.h[0].parameters():
        parameter.requires_grad_(False)
    with watched(model, torch.optim.SGD(model.parameters(), 0.1), broker) as run:
        run.step(1.0)
    layout = steps_of(broker)[0].layout
    assert layout.layers == LAYERS
    assert layout.parameters is not None
    assert sum(layout.parameters) == sum(parameter.numel() for parameter in model.parameters())
    assert layout.parameters[-1] == TOKENS  # the head's bias: its weight is the embedding's
    assert layout.trainable == (True, False, False, False, True, True, True, True)
    assert layout.dtype == ("float32",) * 8


def test_norms_are_those_of_the_gradients_and_of_the_weights_before_the_update(broker: Broker) -> None:
    model = Model()
    expected: list[dict[str, tuple[float, float]]] = []

    def note(_step: int) -> None:
        modules = {name: module for name, module in model.named_modules() if name in LAYERS}
        of_layer = {name: list(module.parameters(recurse=False)) for name, module in modules.items()}
        of_layer["head"] = [model.head.bias]
        expected.append(
            {
                name: (
                    math.sqrt(
                        sum(float(p.grad.double().square().sum()) for p in tensors if p.grad is not None)
                    ),
                    math.sqrt(sum(float(p.detach().double().square().sum()) for p in tensors)),
                )
                for name, tensors in of_layer.items()
            }
        )

    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    with watched(model, optimizer, broker) as run:
        losses = train(model, optimizer, run, 12, note)
    records = steps_of(broker)
    assert [record.step for record in records] == list(range(12))
    assert [record.model["loss"] for record in records] == pytest.approx(losses)
    assert records[0].model["lr"] == pytest.approx(1e-2)
    for record, of_step in zip(records, expected, strict=True):
        for layer, (gradient, weight) in of_step.items():
            assert record.layers[layer]["grad_norm"] == pytest.approx(gradient, rel=1e-5)
            assert record.layers[layer]["weight_norm"] == pytest.approx(weight, rel=1e-5)
        total = math.sqrt(sum(gradient**2 for gradient, _ in of_step.values()))
        assert record.model["grad_norm_total"] == pytest.approx(total, rel=1e-5)


def test_every_layers_update_ratio_comes_once_in_so_many_steps(broker: Broker) -> None:
    model, rate = Model(), 0.5
    optimizer = torch.optim.SGD(model.parameters(), rate)
    with watched(model, optimizer, broker, updates_every=4) as run:
        train(model, optimizer, run, 8)
    records = steps_of(broker)
    for layer in LAYERS:
        measured = [record for record in records if "update_ratio" in record.layers[layer]]
        assert measured[1].step - measured[0].step == 4
        assert len(measured) == 2
        for record in measured:
            of_layer = record.layers[layer]
            assert of_layer["update_ratio"] == pytest.approx(
                rate * of_layer["grad_norm"] / of_layer["weight_norm"], rel=1e-3
            )


def test_activations_of_all_layers_come_every_so_many_steps(broker: Broker) -> None:
    model = Model()
    outputs: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if name in LAYERS:
            module.register_forward_hook(
                lambda _m, _i, out, name=name: outputs.__setitem__(name, out.detach())
            )
    seen: list[dict[str, Tensor]] = []
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watched(model, optimizer, broker, activations_every=3) as run:
        train(model, optimizer, run, 7, lambda _step: seen.append(dict(outputs)))
    records = steps_of(broker)
    assert [record.step for record in records if "act_rms" in record.layers["embed"]] == [0, 3, 6]
    for step in (0, 3, 6):
        for layer in LAYERS:
            of_layer, output = records[step].layers[layer], seen[step][layer]
            assert of_layer["act_mean"] == pytest.approx(float(output.mean()), abs=1e-6)
            assert of_layer["act_rms"] == pytest.approx(float(output.square().mean().sqrt()), rel=1e-5)
            assert of_layer["act_absmax"] == pytest.approx(float(output.abs().max()))
    assert all(not module._forward_hooks or len(module._forward_hooks) == 1 for module in model.modules())


@pytest.mark.parametrize("stride", [3, 5, 10, 20])
def test_a_loop_that_reports_few_of_its_steps_still_has_every_layer_measured(
    broker: Broker, stride: int
) -> None:
    model, steps = Model(), 24 * stride
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watched(model, optimizer, broker, updates_every=4, activations_every=10) as run:
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            model(torch.arange(5)).square().mean().backward()
            optimizer.step()
            if step % stride == 0:
                run.step(1.0, step=step)
    records = steps_of(broker)[1:]  # the first does not know yet how far they are apart
    assert [record.step for record in records] == list(range(2 * stride, steps + 1, stride))
    for layer in LAYERS:
        measured = [record for record in records if "update_ratio" in record.layers[layer]]
        assert len(measured) == pytest.approx(len(records) / 4, abs=1)
    measured = [record for record in records if "act_rms" in record.layers["embed"]]
    assert len(measured) == pytest.approx(len(records) * min(stride / 10, 1), abs=1)


def test_evaluation_and_later_micro_batches_are_not_measured(broker: Broker) -> None:
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    run = watched(model, optimizer, broker, activations_every=1)
    model.eval()
    model(torch.zeros(5, dtype=torch.long))
    model.train()
    before = model.embed.weight.detach().clone()
    first, second = batches(2)
    for tokens in (first, second):
        loss_of(model, tokens).backward()
    optimizer.step()
    run.step()
    run.close()
    with torch.no_grad():
        expected = float(nn.functional.embedding(first, before).square().mean().sqrt())
    assert steps_of(broker)[0].layers["embed"]["act_rms"] == pytest.approx(expected, rel=1e-5)


def test_a_weight_that_turned_nan_shows_in_its_own_layer_first(broker: Broker) -> None:
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    with watched(model, optimizer, broker, activations_every=1) as run:
        train(model, optimizer, run, 2)
        with torch.no_grad():
            model.get_parameter("h.1.mlp.0.weight")[0, 0] = math.nan
        train(model, optimizer, run, 1)
    record = steps_of(broker)[2]
    broken = [layer for layer in LAYERS if math.isnan(record.layers[layer]["weight_norm"])]
    assert broken == ["h.1.mlp.0"]
    assert math.isnan(record.model["loss"])
    assert math.isnan(record.layers["embed"]["grad_norm"])
    first = next(layer for layer in LAYERS if math.isnan(record.layers[layer]["act_rms"]))
    assert first == "h.1.mlp.0"


def test_a_gradient_that_stops_coming_counts_as_zero_and_one_that_never_came_as_not_measured(
    broker: Broker,
) -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "left": nn.Linear(2, 1), "never": nn.Linear(2, 1)})
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watched(model, optimizer, broker) as run:
        for step in range(3):
            optimizer.zero_grad()
            loss = model["used"](torch.ones(2)).sum()
            if step == 0:
                loss = loss + model["left"](torch.ones(2)).sum()
            loss.backward()
            optimizer.step()
            run.step(loss)
    records = steps_of(broker)
    assert [record.layers["left"]["grad_norm"] for record in records] == [
        pytest.approx(math.sqrt(3)),
        0.0,
        0.0,
    ]
    assert all("grad_norm" not in record.layers["never"] for record in records)
    assert all("weight_norm" in record.layers["never"] for record in records)


def test_freezing_a_layer_changes_the_layout_and_ends_its_gradients(broker: Broker) -> None:
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watched(model, optimizer, broker) as run:
        train(model, optimizer, run, 1)
        model.h[0].mlp.requires_grad_(False)
        train(model, optimizer, run, 1)
    before, after = steps_of(broker)
    assert before.layout.trainable == (True,) * 8
    assert after.layout.trainable == (True, True, False, False, True, True, True, True)
    assert "grad_norm" in before.layers["h.0.mlp.0"]
    assert "grad_norm" not in after.layers["h.0.mlp.0"]


def test_half_precision_norms_are_taken_in_float32(broker: Broker) -> None:
    model = nn.Linear(400, 400, bias=False).half()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with torch.no_grad():
        model.weight.fill_(300.0)
    model.weight.grad = torch.full_like(model.weight, 300.0)
    with watched(model, optimizer, broker) as run:
        optimizer.step()
        run.step()
    record = steps_of(broker)[0]
    assert record.layers["Linear"]["grad_norm"] == pytest.approx(120_000.0, rel=1e-3)
    assert record.layers["Linear"]["weight_norm"] == pytest.approx(120_000.0, rel=1e-3)
    assert record.layout.dtype == ("float16",)


def test_tensors_of_several_dtypes_keep_their_layers(broker: Broker) -> None:
    model = Model()
    model.h[0].mlp.bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, float(number + 1))
    with watched(model, optimizer, broker) as run:
        optimizer.step()
        run.step()
    record = steps_of(broker)[0]
    layers = Layers(model, optimizer, ("x",), ()).layout.layers
    assert layers == LAYERS
    assert record.layers["embed"]["grad_norm"] == pytest.approx(math.sqrt(TOKENS * WIDTH))
    assert record.layers["head"]["grad_norm"] == pytest.approx(14 * math.sqrt(TOKENS))
    assert record.layers["h.0.mlp.0"]["grad_norm"] == pytest.approx(
        math.sqrt(16 * 2 * WIDTH * WIDTH + 25 * 2 * WIDTH), rel=1e-3
    )
