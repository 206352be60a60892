"""PyTorch trainings, small but real, under `watch`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.optim import Optimizer  # noqa: E402

from anomaly import SettingsError, Telemetry  # noqa: E402
from anomaly.pending import MOST_PENDING, Pending  # noqa: E402
from anomaly.torch import Watch, watch  # noqa: E402
from anomaly.torch_device import DeviceReading, PinnedRing  # noqa: E402
from anomaly.torch_layers import Layers  # noqa: E402
from tests.hook.recording import FAST, Broker, Sent, read  # noqa: E402

TOKENS, WIDTH = 11, 8


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.mlp(self.norm(x))
        return out


class Model(nn.Module):
    """An embedding, two blocks and a head whose weight is the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(TOKENS, WIDTH)
        self.h = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(WIDTH, TOKENS)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.h:
            x = block(x)
        out: Tensor = self.head(x)
        return out


LAYERS = (
    "embed", "h.0.norm", "h.0.mlp.0", "h.0.mlp.2", "h.1.norm", "h.1.mlp.0", "h.1.mlp.2", "head",
)  # fmt: skip


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.random.set_rng_state(state)


def loss_of(model: nn.Module, tokens: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(tokens), tokens.roll(1))


def batches(number: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, TOKENS, (32,), generator=generator) for _ in range(number)]


def watched(model: nn.Module, optimizer: Any, broker: Broker, **options: Any) -> Watch:
    return watch(model, optimizer, "r1", sender=broker.connect, pacing=FAST, **options)


def train(
    model: nn.Module,
    optimizer: Any,
    run: Watch | None,
    steps: int = 1,
    before_update: Callable[[int], Any] | None = None,
) -> list[float]:
    losses = []
    for step, tokens in enumerate(batches(steps)):
        optimizer.zero_grad()
        loss = loss_of(model, tokens)
        loss.backward()
        if before_update:
            before_update(step)
        optimizer.step()
        if run is not None:
            run.step(loss)
        losses.append(float(loss.detach()))
    return losses


def steps_of(broker: Broker) -> list[Sent]:
    return [record for record in read(broker.messages) if record.model]


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


class Arrival:
    """A CUDA event that happens when told."""

    def __init__(self) -> None:
        self.happened = False

    def record(self) -> None:
        self.happened = False

    def query(self) -> bool:
        return self.happened


def test_on_a_device_numbers_are_read_when_their_copy_has_arrived_and_buffers_are_used_again() -> None:
    arrivals: list[Arrival] = []

    def arrival() -> Arrival:
        arrivals.append(Arrival())
        return arrivals[-1]

    ring = PinnedRing(2, make_buffer=torch.empty, make_arrival=arrival)
    decoded: list[NDArray[np.float32]] = []

    def decode(numbers: NDArray[np.float32]) -> tuple[dict[str, float], None]:
        decoded.append(numbers)
        return {}, None

    def reading(*values: float) -> DeviceReading:
        vector = torch.tensor(values)
        return DeviceReading(ring, ring.copy(vector), len(values), decode)

    first, second, third = reading(1.0), reading(2.0), reading(3.0)
    assert not first.ready()
    assert third.ready()  # it has no buffer, and says so when it is read
    with pytest.raises(RuntimeError, match="more steps behind than there are buffers"):
        third.read()
    arrivals[0].happened = True
    assert first.ready()
    assert not second.ready()
    first.read()
    fourth = reading(4.0, 5.0)
    assert not fourth.ready()
    arrivals[0].happened = arrivals[1].happened = True
    second.read()
    fourth.read()
    assert [numbers.tolist() for numbers in decoded] == [[1.0], [2.0], [4.0, 5.0]]
    assert len(arrivals) == 2


def test_steps_on_their_way_are_reported_in_order_and_at_the_latest_at_the_end(broker: Broker) -> None:
    class Late:
        arrived = False

        def ready(self) -> bool:
            return self.arrived

        def read(self) -> tuple[dict[str, float], None]:
            return {"x": 1.0}, None

    telemetry = Telemetry("r1", sender=broker.connect, pacing=FAST)
    pending = Pending(telemetry)
    readings = [Late() for _ in range(MOST_PENDING + 4)]
    for step, reading in enumerate(readings):
        if step == 3:
            readings[0].arrived = True
        pending.add(step, {"loss": float(step)}, reading)
    readings[-1].arrived = True
    pending.finish(0.0)
    telemetry.close()
    records = read(broker.messages)
    assert [record.step for record in records] == list(range(MOST_PENDING + 4))
    assert [record.step for record in records if "x" in record.model] == [0, MOST_PENDING + 3]
    assert pending.missed == MOST_PENDING + 2
