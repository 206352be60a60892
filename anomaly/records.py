"""What travels: step records, the layout they follow, a rank's place, a run's fork.

A *message* carries one or more consecutive step records of one rank. Whether it came in the compact form, as JSON or
from a file, it becomes the same `StepMessage`; nothing after decoding knows the difference.
"""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.errors import Reason, RecordError

Event = dict[str, Any]
"""``{"kind": …}`` and whatever else the kind carries."""

NOT_MEASURED_BITS = 0x7FC0ABCD
"""The bits of a float32 that mean *not measured*. Every other NaN is a measured NaN: compare as uint32."""
NOT_MEASURED = np.array([NOT_MEASURED_BITS], dtype=np.uint32).view(np.float32)
"""Shape (1,), float32. An array, because a Python float would lose the bits."""

MILLIONTHS = 1_000_000
MAX_STEP = 1 << 43
MAX_FRACTIONAL_STEP = 1 << 32
MAX_NAME = 200
MAX_LAYERS = 100_000
MAX_SIGNALS = 256
MAX_VALUES_A_RECORD = 1 << 21
"""8 MiB of float32. Layers × signals: a small text can name very many pairs that it never measures."""
MAX_RECORDS_A_MESSAGE = 4096
MAX_EVENTS = 64
MAX_TAGS = 32
MAX_TAG = 1000
MAX_RANK = (1 << 31) - 1
MAX_SESSION = (1 << 64) - 1
MAX_SEQUENCE = 1 << 62


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a rank stands: the number of ranks and its coordinates in each kind of parallelism."""

    world_size: int | None = None
    data: int | None = None
    tensor: int | None = None
    pipeline: int | None = None


class Fork(msgspec.Struct, frozen=True, array_like=True):
    """Which run a forked run comes from. `root` is the first ancestor, `step` (millionths) where it left `parent`."""

    root: str
    parent: str
    step: int


class Layout(msgspec.Struct, frozen=True, array_like=True, dict=True, weakref=True):
    """The names behind a record's matrix: layers in forward order, their signals, the whole-model signals.

    ``trainable``, ``parameters`` (counts) and ``dtype`` have one entry a layer, or are None when not known. Where some
    layers have a dtype, it is empty for the others.
    """

    layers: tuple[str, ...]
    signals: tuple[str, ...]
    model_signals: tuple[str, ...] = ()
    trainable: tuple[bool, ...] | None = None
    parameters: tuple[int, ...] | None = None
    dtype: tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        """Values in one record: the whole-model signals, then every signal of layer 0, of layer 1, and so on."""
        return len(self.model_signals) + len(self.layers) * len(self.signals)

    @cached_property
    def hash(self) -> bytes:
        """8 bytes that stand for this layout in every record.

        It covers these six fields for ever: a later field must not change it, or producers and workers of different
        releases would not agree on it.
        """
        fields = (
            self.layers,
            self.signals,
            self.model_signals,
            self.trainable,
            self.parameters,
            self.dtype,
        )
        return hashlib.blake2b(msgspec.msgpack.encode(fields), digest_size=8).digest()

    def check(self) -> None:
        """Raise `RecordError` where names are missing, doubled or too many."""
        for what, names, limit in (
            ("layers", self.layers, MAX_LAYERS),
            ("signals", self.signals, MAX_SIGNALS),
            ("model_signals", self.model_signals, MAX_SIGNALS),
        ):
            if len(names) > limit:
                raise RecordError(
                    Reason.INVALID_LAYOUT, f"{what}: got {len(names)} names, at most {limit} are allowed"
                )
            if len(set(names)) != len(names):
                raise RecordError(Reason.INVALID_LAYOUT, f"{what}: a name stands twice; names must differ")
            for name in names:
                check_name(what, name, Reason.INVALID_LAYOUT)
        if self.width > MAX_VALUES_A_RECORD:
            raise RecordError(
                Reason.INVALID_LAYOUT,
                f"got {len(self.layers)} layers × {len(self.signals)} signals, which are {self.width} values a "
                f"record; at most {MAX_VALUES_A_RECORD} are allowed",
            )
        for what, entries in (
            ("trainable", self.trainable),
            ("parameters", self.parameters),
            ("dtype", self.dtype),
        ):
            if entries is not None and len(entries) != len(self.layers):
                raise RecordError(
                    Reason.INVALID_LAYOUT,
                    f"{what}: got {len(entries)} for {len(self.layers)} layers; give one a layer",
                )


_shared: WeakValueDictionary[bytes, Layout] = WeakValueDictionary()


def shared(layout: Layout) -> Layout:
    """The one object for all layouts of this content: a thousand runs of one model hold its names once."""
    known = _shared.setdefault(layout.hash, layout)
    return known if known == layout else layout


class LayoutMessage(msgspec.Struct, frozen=True):
    """A layout, sent before the first record that follows it and repeated every minute."""

    run: str
    layout: Layout
    fork: Fork | None = None


class StepMessage(msgspec.Struct):
    """One or more consecutive step records of one rank.

    ``values`` is float32 of shape (records, layout.width), `NOT_MEASURED` where a value is absent. ``steps`` are int64
    millionths; ``times`` are unix seconds or None; ``events`` holds one tuple a record. ``layout`` is None in the
    compact form, where ``layout_hash`` names a layout sent before.
    """

    run: str
    rank: int
    steps: list[int]
    times: list[float | None]
    values: NDArray[np.float32]
    layout_hash: bytes
    layout: Layout | None = None
    session: int | None = None
    sequence: int | None = None
    events: list[tuple[Event, ...]] | None = None
    tags: dict[str, str] | None = None
    fork: Fork | None = None
    place: Place | None = None


def home_key(run: str, fork: Fork | None) -> bytes:
    """The Kafka key of a run's records: its own id, or its root run's, so that a fork meets its parent's state."""
    return (run if fork is None else fork.root).encode()


def check_name(what: str, name: str, reason: Reason = Reason.INVALID_RECORD) -> str:
    """Return `name`, or raise `RecordError` when it is empty, too long or cannot be written as UTF-8."""
    if not 1 <= len(name) <= MAX_NAME:
        raise RecordError(
            reason, f"{what}: got a name of {len(name)} characters, 1 to {MAX_NAME} are allowed"
        )
    if not (name.isascii() or is_unicode(name)):
        raise RecordError(reason, f"{what}: got a name with a lone surrogate; names must be valid Unicode")
    return name


def is_unicode(text: str) -> bool:
    """False for a text with a lone surrogate, which JSON can escape and nothing can write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def step_millionths(step: float) -> int:
    """A step number as int64 millionths.

    >>> step_millionths(12), step_millionths(0.5)
    (12000000, 500000)
    """
    if isinstance(step, float):
        if not math.isfinite(step):
            raise RecordError(Reason.INVALID_RECORD, f"step: got {step}, a finite number is needed")
        if step != int(step):
            if abs(step) >= MAX_FRACTIONAL_STEP:
                raise RecordError(
                    Reason.INVALID_RECORD,
                    f"step: got {step}; fractions are allowed below 2**32, send a whole step",
                )
            return round(step * MILLIONTHS)
    whole = int(step)
    if abs(whole) > MAX_STEP:
        raise RecordError(Reason.INVALID_RECORD, f"step: got {whole}, -2**43 to 2**43 is allowed")
    return whole * MILLIONTHS


def step_number(millionths: int) -> int | float:
    """The step as people write it: an integer where whole.

    >>> step_number(12_000_000), step_number(500_000)
    (12, 0.5)
    """
    whole, rest = divmod(millionths, MILLIONTHS)
    return whole if rest == 0 else millionths / MILLIONTHS
