"""Which tensors make a layer: `Layers` groups a PyTorch model's parameters and describes them as a layout.

A layer is a module that owns parameters directly (``transformer.h.0.attn.c_attn``), in the order of registration, which
is the forward order wherever modules are created in the order they are used. A tied weight belongs to its first owner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from anomaly.errors import SettingsError
from anomaly.records import MAX_NAME, Layout

_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile, FSDP and activation checkpointing put into names."""


class Layers:
    """The model's layers as they are now.

    ``tensors`` are all parameters, each once, those of one device and dtype side by side; ``layer_of`` has the number
    of each one's layer. ``trained`` are the indices of the tensors that require gradients and that the optimizer knows.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, signals: tuple[str, ...], model_signals: tuple[str, ...]
    ) -> None:
        in_optimizer = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        self.names: list[str] = []
        self.modules: list[nn.Module] = []
        owned: list[tuple[int, nn.Parameter]] = []
        for name, module, parameters in _owners(model):
            owned += [(len(self.names), parameter) for parameter in parameters]
            self.names.append(name)
            self.modules.append(module)
        owned.sort(key=lambda pair: (str(pair[1].device), str(pair[1].dtype)))  # stable: layers stay in order
        self.tensors = [parameter for _, parameter in owned]
        self.layer_of: NDArray[np.intp] = np.array([layer for layer, _ in owned], dtype=np.intp)
        self.trained = [
            at
            for at, tensor in enumerate(self.tensors)
            if tensor.requires_grad and id(tensor) in in_optimizer
        ]
        self.layout = self._layout(signals, model_signals)
        self._state = self._fingerprint(optimizer)

    def changed(self, optimizer: Optimizer) -> bool:
        """Whether something was frozen, unfrozen or given to the optimizer since."""
        return self._fingerprint(optimizer) != self._state

    def bins(self, number: int) -> list[list[int]]:
        """The trained tensors' indices, whole layers together, in `number` parts of about equal size."""
        sizes = np.zeros(len(self.names), dtype=np.int64)
        for at in self.trained:
            sizes[self.layer_of[at]] += self.tensors[at].numel()
        part_of = np.zeros(len(self.names), dtype=np.intp)
        totals = np.zeros(number, dtype=np.int64)
        for layer in np.argsort(-sizes, kind="stable"):
            part_of[layer] = totals.argmin()
            totals[part_of[layer]] += sizes[layer]
        return [[at for at in self.trained if part_of[self.layer_of[at]] == part] for part in range(number)]

    def _layout(self, signals: tuple[str, ...], model_signals: tuple[str, ...]) -> Layout:
        count = len(self.names)
        trainable, parameters, dtypes = [False] * count, [0] * count, [""] * count
        for at, tensor in enumerate(self.tensors):
            layer = self.layer_of[at]
            parameters[layer] += tensor.numel()
            dtypes[layer] = str(tensor.dtype).removeprefix("torch.")
        for at in self.trained:
            trainable[self.layer_of[at]] = True
        return Layout(
            tuple(self.names), signals, model_signals, tuple(trainable), tuple(parameters), tuple(dtypes)
        )

    def _fingerprint(self, optimizer: Optimizer) -> tuple[list[bool], int]:
        known = sum(len(group["params"]) for group in optimizer.param_groups)
        return [tensor.requires_grad for tensor in self.tensors], known


def _owners(model: nn.Module) -> Iterator[tuple[str, nn.Module, list[nn.Parameter]]]:
    """Each module that owns parameters of its own, not yet seen elsewhere, with a readable name."""
    root = model.module if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel) else model
    seen: set[int] = set()
    taken: set[str] = set()
    for path, module in root.named_modules():
        parameters = []
        for parameter in module._parameters.values():
            if parameter is None or id(parameter) in seen:
                continue
            if isinstance(parameter, nn.parameter.UninitializedParameter):
                raise SettingsError(
                    [f"model: {path} has no shape yet; run one batch through it before watch()"]
                )
            seen.add(id(parameter))
            if parameter.numel():
                parameters.append(parameter)
        if parameters:
            name = _readable(path) or type(root).__name__
            while name in taken:
                name += "'"
            taken.add(name)
            yield name, module, parameters


def _readable(path: str) -> str:
    for wrapper in _WRAPPERS:
        path = path.replace(wrapper, "")
    return path[-MAX_NAME + 10 :]  # room for the marks of equal ends


def runs(tensors: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Start and end of each run of tensors of one device and dtype: what one fused call can take."""
    starts = [
        at
        for at, tensor in enumerate(tensors)
        if at == 0 or (tensor.device, tensor.dtype) != (tensors[at - 1].device, tensors[at - 1].dtype)
    ]
    return list(zip(starts, [*starts[1:], len(tensors)], strict=True))


def local(tensor: Tensor) -> Tensor:
    """What of a tensor lies on this rank: norms of shards never start a collective operation."""
    shard = tensor.detach()
    return shard.to_local() if hasattr(shard, "to_local") else shard
