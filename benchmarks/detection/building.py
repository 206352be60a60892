"""A plan's model, the data it takes and the layers it has."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.detection.models import CNN, GAN, LSTM, MLP, VAE, Model, Policy, Residual
from benchmarks.detection.plan import Plan
from benchmarks.detection.transformers import GPT, Shape

DATA = {
    "gpt_pre": "text",
    "gpt_post": "text",
    "gpt_tied": "text",
    "gpt_tied_nobias": "text",
    "gpt_moe": "text",
    "gpt_lora": "text",
    "lstm": "text",
    "cnn": "images",
    "cnn_plain": "images",
    "mlp": "maps",
    "residual": "maps",
    "vae": "samples",
    "gan": "pairs",
    "policy": "episodes",
}


_CLASSES: dict[str, Callable[..., Model]] = {
    "mlp": MLP,
    "residual": Residual,
    "lstm": LSTM,
    "vae": VAE,
    "gan": GAN,
    "policy": Policy,
}


def model(plan: Plan) -> Model | GPT:
    """The model, with the weights of the seed set before."""
    made = _made(plan.model, dict(plan.size))
    if plan.precision == "bf16_weights":
        made.bfloat16()
    return made


def _made(name: str, size: dict[str, int]) -> Model | GPT:
    if name.startswith("gpt"):
        return _transformer(name, size)
    if name.startswith("cnn"):
        return CNN(**size, batch_norm=name == "cnn")
    made: Model = _CLASSES[name](**size)
    return made


def _transformer(name: str, size: dict[str, int]) -> GPT:
    shape = Shape(
        blocks=size["blocks"],
        width=size["width"],
        tokens=size["tokens"],
        pre_norm=name != "gpt_post",
        bias=name not in ("gpt_tied_nobias",),
        tied=name.startswith("gpt_tied"),
        experts=size.get("experts", 0),
        dropout=size.get("dropout", 0) / 100,
    )
    made = GPT(shape)
    if name == "gpt_lora":
        _only_adapters(made)
    return made


def _only_adapters(made: GPT) -> None:
    """Freeze all but low-rank adapters on the projections, as in fine-tuning."""
    for parameter in made.parameters():
        parameter.requires_grad = False
    for block in made.h:
        for name in ("qkv", "down"):
            setattr(block, name, Adapted(getattr(block, name)))
    for parameter in made.head.parameters():
        parameter.requires_grad = True


class Adapted(nn.Module):
    """A frozen linear layer with a trained low-rank addition."""

    def __init__(self, base: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.base = base
        self.a = nn.Linear(base.in_features, rank, bias=False)
        self.b = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Base plus addition."""
        out: torch.Tensor = self.base(x) + self.b(self.a(x))
        return out


def layers_of(made: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Layer → parameters, as the hook names them: a module that owns some; a tied weight is its first owner's."""
    seen: set[int] = set()
    layers: dict[str, list[nn.Parameter]] = {}
    for name, module in made.named_modules():
        own = [parameter for parameter in module.parameters(recurse=False) if id(parameter) not in seen]
        seen.update(id(parameter) for parameter in own)
        if own:
            layers[name] = own
    return layers


def block_of(layer: str) -> str | None:
    """The block a layer belongs to: its name up to the first number.

    >>> block_of("h.3.qkv"), block_of("head")
    ('h.3', None)
    """
    parts = layer.split(".")
    for at, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: at + 1])
    return None
