"""What is kept of the records around an incident, as they are read: this run's alone, and of them what a plan needs."""

from __future__ import annotations

import math
from typing import Any

from anomaly import codec
from anomaly.errors import RecordError
from anomaly.incidents import Transition
from anomaly.notify.wanted import Piece, piece_of, plan_of
from anomaly.notify.window import MAX_RANKS_KEPT
from anomaly.records import MILLIONTHS, Fork, Layout, LayoutMessage, StepMessage

QUIET_MESSAGES = 20
QUIET_MS = 60_000
FIRST_STEP = MILLIONTHS
_WHITE_OR_BRACE = b"{ \t\r\n"
_LAYOUT_TAG = b"\x01"
_Found = StepMessage | Piece


class Gathered:
    """The records of one run around an incident. A forked run's parent tells what was before the fork.

    `layouts` are those known already, by their hashes; what is found is added to them.
    """

    def __init__(self, transition: Transition, layouts: dict[bytes, Layout]) -> None:
        self.plan = plan_of(transition)
        self._of, self._fork = transition, Fork("", "", 0)
        self._names: tuple[str, ...] = (transition.run,)
        self._layouts = layouts
        self._found: dict[int, _Found] = {}
        """By offset: a message whose layout is not known yet, else what is needed of it."""
        self._newest: dict[int, float] = {}
        """Of each rank, the step it came to, at the source or after it."""
        self._times: list[int] = []
        self.before: set[float] = set()
        """Steps before the onset."""
        self.after: set[float] = set()
        """Steps after the last of the incident."""
        self.begins = False
        """Whether the run's very first record is among them."""

    def __contains__(self, offset: int) -> bool:
        return offset in self._found

    @property
    def lacks_layouts(self) -> bool:
        """Whether a record's layout has not been found."""
        return any(isinstance(each, StepMessage) for each in self._found.values())

    @property
    def oldest_seconds(self) -> float:
        """Unix seconds of the oldest record kept."""
        return min(self._times, default=0) / 1000

    def is_quiet(self, milliseconds: int) -> bool:
        """Whether that is so long before, or after, all that was kept that the run was not there then."""
        first, last = min(self._times), max(self._times)
        usual = (last - first) / max(len(self._times) - 1, 1)
        longest = max(QUIET_MESSAGES * usual, QUIET_MS)
        return not first - longest <= milliseconds <= last + longest

    def take(self, record: Any) -> None:
        """A record up to the source."""
        message = self._message(record)
        if not isinstance(message, StepMessage):
            return
        if message.run == self._of.run and message.fork is not None:
            self._fork, self._names = message.fork, (message.run, message.fork.parent)
        if message.run != self._of.run and max(message.steps) > self._fork.step:
            return
        self._keep(record, message)
        steps = [step / MILLIONTHS for step in message.steps]
        self.before.update(step for step in steps if step < self._of.first_step)
        if message.sequence == 0 and message.steps[0] <= FIRST_STEP and message.fork is None:
            self.begins = True

    def take_later(self, record: Any) -> None:
        """A record after the source. One that goes back is of another attempt, which is another story."""
        message = self._message(record)
        if not isinstance(message, StepMessage) or message.run != self._of.run:
            return
        if min(message.steps) / MILLIONTHS <= self._came_to(message.rank):
            return
        self._keep(record, message)
        self._newest[message.rank] = max(message.steps) / MILLIONTHS
        self.after.update(step / MILLIONTHS for step in message.steps if step / MILLIONTHS > self._of.step)

    def take_layout(self, record: Any) -> None:
        """A record from before all others, of which only a layout is wanted."""
        if (record.value or b"")[1:2] == _LAYOUT_TAG:
            self._message(record)

    def forget(self, low: int, high: int) -> None:
        """Drop what was kept of these offsets."""
        for offset in [offset for offset in self._found if low <= offset < high]:
            del self._found[offset]

    def resolve(self) -> None:
        """Keep of the messages whose layout is known what is needed alone."""
        for offset, each in list(self._found.items()):
            if isinstance(each, Piece):
                continue
            layout = each.layout or self._layouts.get(each.layout_hash)
            if layout is None:
                continue
            piece = piece_of(self.plan, each, layout, self._of.layers)
            if piece is None:
                del self._found[offset]
            else:
                self._found[offset] = piece

    def pieces(self) -> list[Piece]:
        """All that is known, in the order of the log."""
        ordered = sorted(self._found.items())
        return [each for _, each in ordered if isinstance(each, Piece)]

    def _message(self, record: Any) -> StepMessage | LayoutMessage | None:
        """The record, where it is of this run and of a rank that is wanted; a layout is noted."""
        value = record.value or b""
        if not self._may_be_ours(value):
            return None
        try:
            message = codec.decode(value)
        except (RecordError, ArithmeticError, LookupError, TypeError, ValueError):
            return None  # it is among the dead letters
        if message.run not in self._names:
            return None
        if isinstance(message, LayoutMessage):
            self._layouts[message.layout.hash] = message.layout
            return message
        wanted = message.rank < MAX_RANKS_KEPT or message.rank in self._of.ranks
        return message if wanted else None

    def _may_be_ours(self, value: bytes) -> bool:
        """Most records of a partition are of other runs: told without decoding them. JSON may escape a name."""
        escaped = value[:1] in _WHITE_OR_BRACE
        return any(name.encode() in value or (escaped and not _plain(name)) for name in self._names)

    def _keep(self, record: Any, message: StepMessage) -> None:
        self._found[record.offset] = message
        self._times.append(record.timestamp)

    def _came_to(self, rank: int) -> float:
        if rank not in self._newest:
            of_rank = [offset for offset, each in self._found.items() if each.rank == rank]
            last = self._found[max(of_rank)] if of_rank else None
            steps = () if last is None else last.steps
            scale = MILLIONTHS if isinstance(last, StepMessage) else 1
            self._newest[rank] = max(steps, default=-math.inf) / scale
        return self._newest[rank]


def _plain(name: str) -> bool:
    """Whether every writer of JSON writes it as it is."""
    return name.isascii() and name.isprintable() and not set(name) & set('"\\/')
