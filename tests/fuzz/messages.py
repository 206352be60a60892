"""What a producer may send that can be read: valid messages, most of them of unpleasant content.

Run ids come from a fixed pool that no good run is in, so that the noise has state, restarts and ranks of its own.
"""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from anomaly import codec
from anomaly.records import (
    MAX_STEP,
    MILLIONTHS,
    NOT_MEASURED_BITS,
    Fork,
    Layout,
    LayoutMessage,
    Place,
    StepMessage,
)
from tests.fuzz.names import name, wrong_name

RUNS = tuple(f"noise-{number}" for number in range(8))
PARENTS = ("good-0", "good-1", *RUNS[:3])
NUMBERS: tuple[Any, ...] = (
    0, -0.0, 1, -1, 0.1, 1e-45, 1e-38, 3.4028235e38, -3.4028235e38, 3.5e38, 1e308, -1e308, 10**400, -(10**400), 2**53,
    math.nan, math.inf, -math.inf, "NaN", "Infinity", "-Infinity", None, True, False,
)  # fmt: skip
STEPS: tuple[Any, ...] = (
    0, 1, -1, 0.5, MAX_STEP, -MAX_STEP, MAX_STEP + 1, -MAX_STEP - 1, 2**62, -(2**63), 2**63 - 1, 2**64, 10**100,
    -(10**100), 1e300, -1e300, math.nan, math.inf, 2**32 + 0.5, 4294967295.999999, 1e-7, True, "7", None, [], {},
)  # fmt: skip
INTEGERS: tuple[Any, ...] = (
    0, 1, 7, -1, 0.0, 1.5, 2**31 - 1, 2**31, 10**9, 2**62, 2**62 + 1, 2**63, 2**64 - 1, 2**64, 10**30, 1e300, math.nan,
    math.inf, True, "1", None, [1], {},
)  # fmt: skip
WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**63 - 1, "", "text", "NaN", [], [[]], [None], {}, {"": {}}, {"kind": 1}, [{"kind": "x"}],
    [{"kind": None}], "\x00", 1e308,
)  # fmt: skip
FLOAT_BITS = (
    0, 0x80000000, 1, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001, 0x7F800001,
    NOT_MEASURED_BITS, 0x3F800000, 0xBF800000, 0x00800000, 0x501502F9,
)  # fmt: skip
KINDS_OF_EVENT = (
    "resume", "eval_start", "checkpoint_end", "batch_size", "pause", "world_size", "finished", "lr_schedule", "phase",
)  # fmt: skip


class Producer:
    """Draws messages; the same for the same `rng`."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._steps = dict.fromkeys(RUNS, 0)
        self.layouts = [self._layout() for _ in range(12)]

    def _run(self) -> str:
        return self.rng.choice(RUNS)

    def next_step(self, run: str) -> int:
        """Mostly the next one; now and then back, far away, or the same again."""
        jump = self.rng.random()
        if jump < 0.02:
            self._steps[run] = self.rng.choice((-MAX_STEP, MAX_STEP - 10, 0, -5, 2**40, -(2**42)))
        elif jump < 0.1:
            self._steps[run] -= self.rng.randrange(10)
        else:
            self._steps[run] += self.rng.choice((0, 1, 1, 1, 1, 1000))
        self._steps[run] = max(-MAX_STEP, min(MAX_STEP, self._steps[run]))
        return self._steps[run]

    def _layout(self) -> Layout:
        rng = self.rng
        layers = tuple(dict.fromkeys(name(rng) for _ in range(rng.randrange(6))))
        signals = tuple(dict.fromkeys(name(rng) for _ in range(rng.randrange(5))))
        of_model = tuple(
            dict.fromkeys((*rng.sample(("loss", "lr", "eval_loss", "tokens", "weight_hash"), 2), name(rng)))
        )
        trainable = tuple(rng.random() < 0.5 for _ in layers) if rng.random() < 0.3 else None
        return Layout(layers, signals, of_model, trainable)

    def _place(self) -> Place | None:
        rng = self.rng
        if rng.random() < 0.7:
            return None
        sizes = (None, 0, 1, 2, 8, 2**31 - 1, 10**9)
        return Place(rng.choice(sizes), rng.choice(sizes), rng.choice(sizes), rng.choice(sizes))

    def events(self, most: int = 4) -> list[dict[str, Any]]:
        rng = self.rng
        return [
            {
                "kind": rng.choice(KINDS_OF_EVENT) if rng.random() < 0.7 else name(rng),
                rng.choice(
                    ("step", "value", "seconds", "name", "outcome", name(rng))
                ): self._number_or_wrong(),
            }
            for _ in range(rng.randrange(most))
        ]

    def _number_or_wrong(self) -> Any:
        value = self.rng.choice(self.rng.choice((NUMBERS, STEPS, INTEGERS, WRONG)))
        return 2**63 - 1 if isinstance(value, int) and abs(value) >= 2**63 else value

    def steps_message(self, layout: Layout, records: int = 1) -> StepMessage:
        rng = self.rng
        run = self._run()
        bits = rng.choices(FLOAT_BITS, k=records * layout.width)
        if rng.random() < 0.5:  # mostly ordinary, so that the charts have something to learn
            bits = [
                struct.unpack("<I", struct.pack("<f", rng.gauss(2, 0.1)))[0] if rng.random() < 0.9 else bit
                for bit in bits
            ]
        has_session = rng.random() < 0.5
        return StepMessage(
            run=run,
            rank=rng.choice((0, 0, 0, 1, 2, 3, 7, 2**31 - 1, rng.randrange(40))),
            steps=[self.next_step(run) * MILLIONTHS + rng.choice((0, 0, 0, 1)) for _ in range(records)],
            times=[rng.choice((None, 0.0, -1e11, 1e11, 1_790_000_000.5)) for _ in range(records)],
            values=np.array(bits, np.uint32).view(np.float32).reshape(records, layout.width),
            layout_hash=layout.hash,
            session=rng.choice((0, 1, 2, 2**63, 2**64 - 1)) if has_session else None,
            sequence=rng.choice((0, 1, 2**62, rng.randrange(1000))) if has_session else None,
            events=[tuple(self.events()) for _ in range(records)] if rng.random() < 0.2 else None,
            tags={name(rng): name(rng) for _ in range(rng.randrange(4))} if rng.random() < 0.1 else None,
            fork=self._fork() if rng.random() < 0.05 else None,
            place=self._place(),
        )  # fmt: skip

    def _fork(self) -> Fork:
        rng = self.rng
        return Fork(
            rng.choice(PARENTS), rng.choice(PARENTS), rng.choice((0, 1, -1, MAX_STEP, -MAX_STEP)) * MILLIONTHS
        )

    def compact(self) -> bytes:
        records = self.rng.choice((1, 1, 1, 1, 2, 5))
        return codec.encode_steps(self.steps_message(self.rng.choice(self.layouts), records))

    def layout_message(self) -> bytes:
        layout = self.rng.choice(self.layouts) if self.rng.random() < 0.9 else self._layout()
        return codec.encode_layout(
            LayoutMessage(self._run(), layout, self._fork() if self.rng.random() < 0.05 else None)
        )

    def object(self) -> dict[str, Any]:
        rng = self.rng
        run = self._run()
        record: dict[str, Any] = {
            "run": run,
            "step": self.next_step(run),
            "loss": rng.gauss(2, 0.1),
            "lr": 0.001,
        }
        record["layers"] = {
            rng.choice(("a", "b", name(rng))): {
                rng.choice(("grad_norm", "act_rms", name(rng))): rng.choice(NUMBERS)
            }
            for _ in range(rng.randrange(4))
        }
        optional: tuple[tuple[str, float, Callable[[], Any]], ...] = (
            ("step", 0.1, lambda: rng.choice(STEPS)),
            ("rank", 0.3, lambda: rng.choice((0, 1, 2, 3, rng.choice(INTEGERS)))),
            ("time", 0.2, lambda: rng.choice(NUMBERS)),
            ("session", 0.1, lambda: rng.choice(INTEGERS)),
            ("sequence", 0.1, lambda: rng.choice(INTEGERS)),
            ("events", 0.2, self.events),
            ("tags", 0.1, lambda: {name(rng): name(rng) for _ in range(rng.randrange(4))}),
            ("place", 0.1, lambda: {"world_size": rng.choice(INTEGERS), "tensor": rng.choice(INTEGERS)}),
            ("fork", 0.1, lambda: dict.fromkeys(("root", "parent"), rng.choice(PARENTS)) | {"step": 1}),
            (rng.choice(("loss", "lr", "tokens", "loss_scale", name(rng))), 0.5, lambda: rng.choice(NUMBERS)),
            ("run", 0.03, lambda: rng.choice((wrong_name(rng), rng.choice(WRONG)))),
            (wrong_name(rng), 0.02, lambda: 1.0),
        )  # fmt: skip
        for field, share, value in optional:
            if rng.random() < share:
                record[field] = value()
        return record

    def json(self) -> bytes:
        return json.dumps(self.object(), ensure_ascii=self.rng.random() < 0.5).encode(errors="surrogatepass")

    def headers(self) -> tuple[tuple[str, Any], ...]:
        """Marks of forwarding that lie, and whatever else."""
        rng = self.rng
        numbers = (
            b"0",
            b"1",
            b"-1",
            b"5",
            b"",
            None,
            b"x",
            b"\xff",
            b"9" * 30,
            b"9" * 5000,
            b"1e3",
            b" 2 ",
            b"1_0",
            "٣".encode(),
        )
        pairs = [("forwarded_partition", rng.choice(numbers)), ("forwarded_offset", rng.choice(numbers))]
        pairs += [("preflight", b""), ("reason", b"none"), (name(rng), None), ("x", rng.randbytes(20))]
        return tuple(rng.sample(pairs, rng.randrange(1, len(pairs))) if rng.random() < 0.5 else pairs[:2])
