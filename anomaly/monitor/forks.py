"""A fork of a run starts from what its parent knows: a deep enough past to judge its first step by.

What is taken over is the reference: the series' levels, scales and tails, the learning rate it had settled at, the
checkpoints before the fork. Not its incidents, ranks, attempts or excursions. For 30 readings twice the evidence is
asked for. A fork from so far back that the parent's levels are of other steps, or from before something went wrong in
it, learns the levels anew, as a restart does. A parent that is unknown or closed leaves the fork to start cold.

*Current* means the parent's state at the fork's first record in the log. A replay after a crash must find that state
again, and the parent's own snapshot may be of later. So there is one rule for whoever writes states: **a parent is not
written before the first states of the forks that were taken from it** (`unsaved_forks`). A partition's snapshots are
acknowledged in order; so if the log holds a parent of later, it holds the fork, and the replay skips the fork's first
record. If it holds neither, or the parent of before, the replay comes to the fork with the parent as it was. A fork of
a fork is its parent's fork: the rule asks the same of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from anomaly.monitor.context import be_cautious
from anomaly.monitor.history import History
from anomaly.monitor.state import REPEATS, Context, RunState
from anomaly.records import Fork
from detectors.climb import Climb
from detectors.flat import Flat
from detectors.runlength import RunLength
from detectors.slab import Slab
from detectors.unmoved import Unmoved


def forked(state: RunState, parent: RunState) -> RunState:
    """Give `state`, a run that was just made, its parent's reference; `parent` remembers it."""
    fork = state.fork
    assert fork is not None
    state.readings = parent.readings
    state.table = parent.table
    state.slab = Slab.load(parent.slab.profiles, parent.slab.dump(), state.slab.levels)
    state.history = History(parent.history.saved())
    state.unmoved = Unmoved.load(parent.unmoved.dump())
    state.climb = Climb.load(parent.climb.dump())
    state.climb.gain = parent.climb.gain
    state.repeats = RunLength.load(parent.repeats.dump(), REPEATS)
    state.saved_watchers = {
        **parent.saved_watchers,
        **{name: watcher.dump() for name, watcher in parent.watchers.items()},
    }
    known = parent.context
    state.context = Context(
        lr=known.lr,
        settled_lr=known.settled_lr,
        tokens=known.tokens,
        loss_scale=known.loss_scale,
        began=known.began,
        loss_changes=known.loss_changes,
        checkpoints=[step for step in known.checkpoints if step <= fork.step],
    )
    state.climb.restart()
    state.history.restart()
    state.unmoved.restart()
    state.repeats.run[:] = 0
    if not _levels_hold(parent, fork):
        state.history.flat = Flat()
        state.slab.restart()
        state.context.began = state.readings
    be_cautious(state, "fork")
    parent.forks = [*parent.forks, state.run]
    return state


def unsaved_forks(state: RunState, runs: Mapping[str, RunState]) -> Iterator[RunState]:
    """The forks, and theirs, that must be written before `state`: the youngest first, each once."""
    for run in state.forks:
        fork = runs.get(run)
        if fork is not None and not fork.saved:
            yield from unsaved_forks(fork, runs)
            yield fork


def _levels_hold(parent: RunState, fork: Fork) -> bool:
    """Whether the fork left its parent within the steps that this remembers, and nothing went wrong since."""
    since = [packed for packed in parent.recent if packed >> 1 >= fork.step]
    remembered = not parent.recent or fork.step >= min(parent.recent) >> 1
    return remembered and not parent.book.open and all(packed & 1 for packed in since)
