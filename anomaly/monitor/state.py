"""What is known of one run: minimal, nothing derivable. `snapshot` writes it and reads it back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.book import IncidentBook
from anomaly.incidents.open_incident import Moment, OpenIncident
from anomaly.incidents.timer_book import TimerBook
from anomaly.incidents.transition import Source
from anomaly.monitor.anchors import Anchors
from anomaly.monitor.history import History
from anomaly.monitor.layer_looks import LayerLooks
from anomaly.monitor.norms import Norms, no_norms
from anomaly.monitor.recent import Recent
from anomaly.monitor.series import NO_SERIES, SeriesTable
from anomaly.monitor.stretch import Stretch
from anomaly.records import MILLIONTHS, Event, Fork, Layout, Place
from detectors.climb import Climb
from detectors.leaps import Leaps
from detectors.levels import Levels
from detectors.lone import Lone
from detectors.peers import PeerChart
from detectors.river_watch import RiverWatch
from detectors.runlength import RunLength
from detectors.slab import MOST_STEPS, Slab
from detectors.unmoved import Unmoved
from detectors.unsteady import Unsteady

REPEATED = ("loss", "input_hash")
"""Signals whose very same value again and again means the same batch."""
REPEATS = 4
ARRIVALS = 10


class SlotRecord(msgspec.Struct):
    """One step record in slot order. `values` is float32 [slots] as bytes; `step` in millionths."""

    step: int
    time: float | None
    values: bytes
    events: tuple[Event, ...]
    source: Source | None

    def vector(self, table: SeriesTable) -> NDArray[np.float32]:
        """The values for a table that may have grown since."""
        values = np.frombuffer(self.values, np.float32)
        if len(values) == table.slots:
            return values
        grown = table.blank.copy()
        grown[: len(values)] = values
        return grown


class Life(msgspec.Struct, array_like=True):
    """Since when a run is known in its partition and until when (`lives` says what for). Clocks in milliseconds."""

    born: int = -1
    """Offset of the first record of its present life; -1: before all."""
    past: list[tuple[int, int]] = []
    """The last lives before this one, after which it was forgotten: offset of the first record, and `ends`."""
    closes: int | None = None
    ends: int | None = None
    closed: bool = False
    """What was learned has been dropped already."""


class RankState(msgspec.Struct):
    """One rank of a run. Steps are millionths."""

    attempt: int
    step: int | None = None
    session: int | None = None
    sequence: int = -1
    replaced: list[int] = []
    sessions: int = 0
    """How many it has had."""
    strays: int = 0
    """Records of replaced sessions since one of the present session made an incident of them."""
    stray_step: int | None = None
    """The last one's step."""
    waiting: list[SlotRecord] = []
    interval: int = 0
    """Millionths of a step between its reports, the last one seen."""
    messages: int = 0
    arrivals: list[int] = []
    """The run's message counts at this rank's last `ARRIVALS` messages."""
    missing: bool = False
    place: Place | None = None
    stage: int | None = None
    """The rank whose layers it reports most, where several ranks have layers of their own (`owners`)."""

    def stands_for(self, step: int) -> float:
        """Steps that a record at `step` stands for: as many as the one before it, or fewer; 1 to MOST_STEPS."""
        steps = 0.0 if self.step is None else min(step - self.step, self.interval) / MILLIONTHS
        return min(max(steps, 1.0), MOST_STEPS)


class PendingStep(msgspec.Struct):
    """The ranks that reported one step, until they are compared."""

    step: int
    values: dict[int, bytes] = {}
    sent: dict[int, int] = {}
    """Each reporter's message count at its report."""
    model_only: bool = False
    """Whether only whole-model values are kept, in slot order."""
    read: int = -1
    """The rank whose record was the whole reading when it came (`owners`); none."""


class Context(msgspec.Struct, omit_defaults=True):
    """What explains a change: learning rate, batch, restarts. Steps are millionths, readings the run's own count."""

    lr: float | None = None
    settled_lr: float | None = None
    """The largest learning rate at the time it stopped rising; None while it still rises."""
    first_lr_step: int | None = None
    """The step at which the learning rate was first seen."""
    peak_unseen: bool = False
    """The run was joined midway, and its rate has only decayed since: how high it goes is not known."""
    zero_lr: int = 0
    high_lr: int = 0
    """Readings far above the settled one."""
    tokens: float | None = None
    loss_scale: float | None = None
    skipped: int = 0
    """Steps skipped in a row."""
    cautious_until: int = 0
    announced: int | None = None
    """The reading at which the run last said that its schedule, phase or batch changes."""
    declared: dict[str, float | str] = {}
    """The learning rate's schedule as the run declared it."""
    batch_factor: float = 1.0
    """What the tokens of a step were last multiplied by, and the reading at which."""
    batch_changed: int | None = None
    changes: dict[str, tuple[int, int]] = {}
    """What may explain an alarm, by its name: when it changed last, as a reading and as a step."""
    began: int = 0
    """The run's readings when it last began anew, with new weights."""
    loss_changes: int = 0
    checkpoints: list[int] = []
    """The steps of the last checkpoints, oldest first: an onset may lie before the newest."""
    nonfinite_step: int | None = None
    """The step of the first non-finite record of the present excursion."""
    outcome: str | None = None
    paused: dict[str, tuple[int, float | None]] = {}
    """Pauses that the run declared, by what they are for: the reading at the time, their seconds where stated."""


class Timers(msgspec.Struct, omit_defaults=True):
    """What the timers know of the run (`timers`); the record path never reads it. Seconds are those that count."""

    messages: int = 0
    """The run's count of messages when the timers last looked."""
    attempt: int = 0
    quiet: float = 0.0
    """Seconds without a record, when that was last saved."""
    intervals: list[float] = []
    """The last seconds between records."""
    longest: list[float] = []
    """The two longest of them ever, in ascending order."""
    paused: bool = False
    longest_pause: float = 0.0
    """The longest declared pause that the run came back from."""
    waited: float = 0.0
    """Seconds that ranks of the world have not come, while others reported."""
    book: TimerBook = msgspec.field(default_factory=TimerBook)


class Live(msgspec.Struct, frozen=True):
    """The ranks that a comparison waits for: those seen, and how many the world has that never reported.

    A count, not a range: the size of the world is whatever a record says.
    """

    seen: list[int]
    unseen: int


class Excursion(msgspec.Struct):
    """How long findings of one kind have followed each other. `first_step` in millionths."""

    first_step: int
    last_reading: int
    count: int = 0


@dataclass(slots=True)
class RunState:
    """One run in one partition. `offset` is the highest source offset applied, -1 before the first."""

    run: str
    fork: Fork | None = None
    offset: int = -1
    revision: int = 0
    origins: dict[int, int] = field(default_factory=dict)
    """Highest offset applied per partition that records were forwarded from."""
    life: Life = field(default_factory=Life)
    attempt: int = 0
    newest_step: int | None = None
    readings: int = 0
    """Distinct steps judged, over all attempts."""
    messages: int = 0
    first_time: float | None = None
    last_time: float | None = None
    tags: dict[str, str] | None = None
    layouts: dict[bytes, Layout] = field(default_factory=dict)
    table: SeriesTable = NO_SERIES
    growths: int = 0
    """How often its series became more."""
    slab: Slab = field(default_factory=lambda: Slab(np.zeros(0, np.uint8)))
    tails: str = ""
    """Which measured tails it is judged by, or was when it was saved (`detectors.levels`)."""
    owners: NDArray[np.int32] | None = None
    """int32 [slots]: the rank whose values are charted, -1 for none yet; None while the run has one rank."""
    ranks: dict[int, RankState] = field(default_factory=dict)
    context: Context = field(default_factory=Context)
    recent: Recent = field(default_factory=Recent)
    """The last judged steps as 2 * step + (1 if nothing was suspicious)."""
    pending: list[PendingStep] = field(default_factory=list)
    peer_runs: dict[str, list[int]] = field(default_factory=dict)
    """What comparisons of ranks remember: the size of the `world`; which ranks are `replicas` ([rank, the lowest of
    them, times in a row, …]); how often in a row each was far behind in `seconds` ([rank, times, …])."""
    peer_chart: PeerChart | None = None
    """The chart of the ranks against each other, once two have been compared."""
    excursions: dict[str, Excursion] = field(default_factory=dict)
    book: IncidentBook = field(default_factory=IncidentBook)

    climb: Climb = field(default_factory=lambda: Climb(2))
    """Of the loss and of the evaluation's loss."""
    repeats: RunLength = field(default_factory=lambda: RunLength(len(REPEATED), REPEATS))
    last_values: list[float] = field(default_factory=lambda: [math.nan] * len(REPEATED))
    """The last measured value of each signal in `REPEATED`."""
    history: History = field(default_factory=History)
    """Of the whole-model signals; `survey` looks at it."""
    anchors: Anchors = field(default_factory=Anchors)
    """Where the layers' levels stood before."""
    unsteady: Unsteady = field(default_factory=lambda: Unsteady(0))
    """Of the layers' gradients, in the order of `noise.GRADIENTS`."""
    lone: Lone = field(default_factory=lambda: Lone(0))
    """Of the same."""
    norms: list[Norms] = field(default_factory=no_norms)
    """What the layers' weights and gradients were, by `norms.SIGNALS`; `swelling` looks at it."""
    leaps: Leaps = field(default_factory=lambda: Leaps(0))
    """Of the layers' updates, in the order of `leaps.UPDATES`."""
    unmoved: Unmoved = field(default_factory=lambda: Unmoved(0))
    """Of the weights' norms, in the order of `table.weight_slots`."""
    watchers: dict[str, RiverWatch] = field(default_factory=dict)
    saved_watchers: dict[str, bytes] = field(default_factory=dict)
    """River watches of a snapshot that no record has asked for yet."""
    looks: LayerLooks = field(default_factory=LayerLooks)
    timers: Timers | None = None
    """None until the timers see the run's first record."""
    saved: bool = False
    """Whether a snapshot of it was written; like `forks` of the writer's making, not in the snapshot."""
    forks: list[str] = field(default_factory=list)
    """The runs that took over its reference; those of them that are not saved must be, before it (`forks`)."""
    stretch: Stretch | None = None
    """What the next record must be like to be plain; None: not worked out since one took the long way."""
    live: Live | None = None
    """Worked out when first asked, forgotten when ranks come, go or move; not in the snapshot."""

    def judge_by(self, levels: Levels) -> None:
        """Judge by this budget and these tails from now on; nothing changes where it is what it was."""
        self.tails = levels.identity
        self.climb.gain = levels.gain("climb", "loss")
        if self.slab.levels != levels:
            self.slab.judge_by(levels)
        self.slab.levels = levels  # one object for all runs, with what it has worked out

    def moment(self, record: SlotRecord) -> Moment:
        """A record as its incidents need it."""
        return Moment(
            step=record.step,
            reading=self.readings,
            attempt=self.attempt,
            time=record.time,
            source=record.source,
            checkpoints=tuple(self.context.checkpoints),
            tags=self.tags,
        )

    @property
    def age(self) -> int:
        """Readings since the run began, or began anew."""
        return self.readings - self.context.began

    @property
    def open_incidents(self) -> list[OpenIncident]:
        """All that is open, whoever opened it."""
        return [*self.book.open, *(self.timers.book.open if self.timers is not None else ())]

    def waiting_values(self, pending: PendingStep, raw: bytes) -> NDArray[np.float32]:
        """A waiting record in slot order, float32 [slots]; slots that came since then are not measured in it."""
        values = self.table.blank.copy()
        known = np.frombuffer(raw, np.float32)
        if pending.model_only:
            values[self.table.model_only[: len(known)]] = known
        else:
            values[: len(known)] = known
        return values

    @property
    def multiple_ranks(self) -> bool:
        """Whether more than one rank reports, so that naming one says something."""
        return len(self.ranks) > 1
