"""What broken and hostile producers send: one record of noise for each draw, the same for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from anomaly import codec
from anomaly.records import Layout, LayoutMessage
from tests.fuzz.messages import INTEGERS, NUMBERS, RUNS, STEPS, WRONG, Producer


@dataclass
class Sent:
    """One record as a producer hands it to Kafka."""

    value: bytes | None
    key: bytes | None = None
    timestamp: int = 1_790_000_000_000
    headers: tuple[tuple[str, Any], ...] = ()


class Noise:
    """Draws records of noise. `largest` bounds what is drawn large on purpose: layers, nesting, ranks."""

    def __init__(self, seed: int, largest: int = 100_000) -> None:
        self.rng = random.Random(seed)
        self.largest = largest
        self._producer = Producer(self.rng)
        ways: dict[Callable[[], bytes | None], int] = {
            self._random_bytes: 6,
            self._flipped: 14,
            self._cut: 8,
            self._spliced: 8,
            self._fields_of_an_array: 16,
            self._fields_of_an_object: 16,
            self._producer.json: 30,
            self._producer.compact: 30,
            self._producer.layout_message: 6,
            self._lying_layout: 5,
            self._nested: 2,
            self._huge_length: 4,
            self._text_of_json: 4,
            self._nothing: 1,
        }
        self._ways, self._weights = list(ways), list(ways.values())
        self._rare = (self._many_layers, self._many_records, self._many_events)

    def draw(self) -> Sent:
        """The next record."""
        rng = self.rng
        if rng.random() < 50 / self.largest:
            value: bytes | None = rng.choice(self._rare)()
        else:
            value = rng.choices(self._ways, self._weights)[0]()
        sent = Sent(value, rng.choice((None, b"", b"noise", b"\xff\xfe", b"__preflight__", b"k" * 300)))
        if rng.random() < 0.05:
            sent.timestamp = rng.choice((-1, 0, 1, -(2**63), 2**63 - 1, 10**15, 1_790_000_000_000))
        if rng.random() < 0.1:
            sent.headers = self._producer.headers()
        return sent

    # Damaged messages.

    def _valid(self) -> bytes:
        return self.rng.choice((self._producer.json, self._producer.compact, self._producer.layout_message))()

    def _random_bytes(self) -> bytes:
        return self.rng.randbytes(self.rng.choice((1, 3, 9, 50, 500)))

    def _flipped(self) -> bytes:
        damaged = bytearray(self._valid())
        for _ in range(self.rng.randrange(1, 4)):
            damaged[self.rng.randrange(len(damaged))] ^= 1 << self.rng.randrange(8)
        return bytes(damaged)

    def _cut(self) -> bytes:
        whole = self._valid()
        return whole[: self.rng.randrange(len(whole))]

    def _spliced(self) -> bytes:
        one, other = self._valid(), self._valid()
        return one[: self.rng.randrange(len(one))] + other[self.rng.randrange(len(other)) :]

    def _changed(self, fields: list[Any]) -> list[Any]:
        """One field of another type, gone, twice, or of no sense; at any depth."""
        rng = self.rng
        at = rng.randrange(len(fields))
        inner = fields[at]
        if isinstance(inner, list) and inner and rng.random() < 0.5:
            fields[at] = self._changed(inner)
            return fields
        how = rng.randrange(4)
        if how == 0:
            del fields[at]
        elif how == 1:
            fields.insert(at, inner)
        elif how == 2:
            fields[at] = rng.choice(WRONG)
        else:
            value = rng.choice(rng.choice((NUMBERS, STEPS, INTEGERS)))
            fields[at] = 2**64 - 1 if isinstance(value, int) and not -(2**63) <= value < 2**64 else value
        return fields

    def _fields_of_an_array(self) -> bytes:
        payload = self.rng.choice((self._producer.compact, self._producer.layout_message))()
        return msgspec.msgpack.encode(self._changed(msgspec.msgpack.decode(payload)))

    def _fields_of_an_object(self) -> bytes:
        rng = self.rng
        record = self._producer.object()
        for _ in range(rng.randrange(1, 4)):
            if not record:
                break
            field = rng.choice(list(record))
            how = rng.randrange(3)
            if how == 0:
                del record[field]
            elif how == 1:
                record[field] = rng.choice(WRONG)
            else:
                record[field] = [record[field]] if rng.random() < 0.5 else {"x": record[field]}
        text = json.dumps(record)
        if rng.random() < 0.3 and len(record) > 1:  # a field twice
            text = text[:-1] + ", " + json.dumps({rng.choice(list(record)): rng.choice(WRONG)})[1:]
        return text.encode(errors="surrogatepass")

    def _lying_layout(self) -> bytes:
        """A record that names a layout of another width, or one that does not exist."""
        one, other = self.rng.choice(self._producer.layouts), self.rng.choice(self._producer.layouts)
        message = self._producer.steps_message(one)
        message.layout_hash = other.hash if self.rng.random() < 0.8 else self.rng.randbytes(8)
        return codec.encode_steps(message)

    def _nested(self) -> bytes:
        depth = self.rng.choice((100, 1000, self.largest))
        opened, closed = self.rng.choice((("[", "]"), ('{"a":', "}")))
        json_text = (
            '{"run":"noise-0","step":1,"layers":'
            + opened * depth
            + closed * depth * self.rng.randrange(2)
            + "}"
        )
        compact = codec.encode_steps(self._producer.steps_message(self._producer.layouts[0]))
        return self.rng.choice(
            (json_text.encode(), compact[:-3] + b"\x91" * depth, b"\x91" * depth, b"\x81\xa1a" * depth)
        )

    def _huge_length(self) -> bytes:
        heads = (
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
        )
        head = self.rng.choice(heads)
        compact = codec.encode_steps(self._producer.steps_message(self._producer.layouts[0]))
        cut = self.rng.randrange(1, len(compact))
        return self.rng.choice(
            (head, b"\x9e\x02\x01" + head, compact[:cut] + head + compact[cut:], b"{" + b'"' * 9)
        )

    def _text_of_json(self) -> bytes:
        return self.rng.choice(
            (b"{}", b" ", b"{", b"\n\n{}", b"{}{}", b"[1]", b" 7", b' "x"', b"{\xff}", b'{"run":"\\ud800","step":1}',
             b"\xef\xbb\xbf{}",
             b'{"run":"noise-1","step":1e999}', b'{"run":"noise-1","step":-0}',
             b'{"run":"noise-1","step":' + b"9" * 5000 + b"}",
             b'{"run":"noise-1","step":1,"loss":' + b"9" * 4000 + b"}", '{"run":"noise-1","step":1}'.encode("utf-16"),
             b'{"run":"noise-1","step":1,"loss":1,"loss":NaN}', b"\t{\"run\":\"noise-1\"}")
        )  # fmt: skip

    def _nothing(self) -> None:
        return None

    # Large on purpose; rare, because each costs as much as a thousand others.

    def _many_layers(self) -> bytes:
        count = self.rng.choice((1000, self.largest, self.largest + 1))
        layers = tuple(f"l{self.rng.randrange(10)}-{at}" for at in range(count))
        if self.rng.random() < 0.5:
            return codec.encode_layout(LayoutMessage(RUNS[-1], Layout(layers, ("grad_norm",), ("loss",))))
        record = {
            "run": RUNS[-1],
            "step": self._producer.next_step(RUNS[-1]),
            "layers": {layer: {"x": 1.0} for layer in layers},
        }
        return json.dumps(record).encode()

    def _many_records(self) -> bytes:
        return codec.encode_steps(
            self._producer.steps_message(Layout((), (), ("loss",)), self.rng.choice((4096, 4097)))
        )

    def _many_events(self) -> bytes:
        record = self._producer.object() | {
            "events": self._producer.events(200) * 3,
            "tags": {str(at): "x" for at in range(40)},
        }
        return json.dumps(record).encode(errors="surrogatepass")
