"""Is this record new, repeated, late, or the sign that its rank started over? Asked before anything is judged."""

from __future__ import annotations

import enum

from anomaly.errors import Reason, RecordError
from anomaly.monitor.state import RankState, RunState

LATE_MAKE_RESTART = 3
STRAYS_MAKE_DUPLICATE = 3
MAX_REPLACED = 8
GONE_ON_SHARE = 0.5
"""From this share of the steps on, a run that starts over is where it was in what its charts measure."""


class Admission(enum.StrEnum):
    """What becomes of a record; also the label of its count."""

    JUDGED = "judged"
    DUPLICATE = "duplicate"
    LATE = "late"
    REPLACED_SESSION = "replaced_session"
    RESTART = "restart"

    __hash__ = str.__hash__  # an enum's own is Python code, and these are the keys of counts


def admission_of(rank: RankState, session: int | None, sequence: int | None, step: int) -> Admission:
    """What the record is, by session and sequence where it has them, else by its step. Changes nothing."""
    if session is not None and sequence is not None:
        if session == rank.session:
            return Admission.JUDGED if sequence > rank.sequence else Admission.DUPLICATE
        if session in rank.replaced:
            return Admission.REPLACED_SESSION
        return Admission.JUDGED if rank.step is None else Admission.RESTART
    if rank.step is None or step > rank.step:
        return Admission.JUDGED
    if len(rank.waiting) == LATE_MAKE_RESTART - 1 and step > rank.waiting[-1].step:
        return Admission.RESTART
    return Admission.LATE


def check_sessions(rank: RankState, session: int | None, limit: int) -> None:
    """Raise `RecordError` for a session that would be one too many."""
    if (
        session is not None
        and session != rank.session
        and session not in rank.replaced
        and rank.sessions >= limit
    ):
        raise RecordError(
            Reason.SESSION_LIMIT,
            f"the rank has started over {limit} times; start the run under another id, or raise max_sessions_per_rank",
        )


def note_session(rank: RankState, session: int | None, sequence: int | None) -> None:
    """Remember the session of a record that is judged; a new one replaces the old for good."""
    if session is None or sequence is None:
        return
    if session != rank.session:
        if rank.session is not None:
            rank.replaced = [*rank.replaced, rank.session][-MAX_REPLACED:]
        rank.session = session
        rank.sessions += 1
        rank.strays = 0
    rank.sequence = sequence


def join_attempt(state: RunState, rank: RankState, step: int, starts_over: bool) -> bool:
    """Put a judged record's rank into an attempt. True when it opens a new one.

    A rank that starts over opens the next attempt only if it was itself in the present one, else it joins; a rank
    with no sign of its own joins once its step is at or below the present attempt's newest.
    """
    opens = starts_over and rank.attempt == state.attempt
    if opens:
        state.attempt += 1
        state.newest_step = None
        rank.attempt = state.attempt
    elif starts_over or (
        rank.attempt < state.attempt and state.newest_step is not None and step <= state.newest_step
    ):
        rank.attempt = state.attempt
    return opens


def begins_anew(state: RunState, step: int) -> bool:
    """Whether a run that starts over at `step` has new weights, or those of a time that its charts have forgotten."""
    newest = state.newest_step
    return newest is None or step <= 0 or step < GONE_ON_SHARE * newest


def goes_on(state: RunState, step: int) -> bool:
    """Whether a run that starts over at `step` is where its charts expect it: all was well since."""
    if begins_anew(state, step) or state.book.open:
        return False
    return all(packed & 1 for packed in state.recent if packed >> 1 >= step)
