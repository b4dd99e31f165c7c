"""What becomes of a record that leaves a worker's hands without having ended: pure decisions.

Layer 2: standard library and layers 0 and 1; for stores and their tests. Nothing here does IO.
A store calls one of these inside its step and writes the :class:`Fate`; a terminal fate goes
through ``finish``.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from celeriac import states
from celeriac.outcome import Outcome
from celeriac.records import Stamp, StoredResult
from celeriac.stores.base import Options
from celeriac.stores.finish import EXPIRED_REASON, REVOKED_REASON


class Held(msgspec.Struct, frozen=True):
    """What counts of a record that a worker holds."""

    revoked: bool = False
    stamp: int = 0
    retries: int = 0
    crashes: int = 0
    losses: int = 0
    expires: float | None = None


class Fate(msgspec.Struct, frozen=True):
    """Where the record goes, and its counters then.

    *state* is terminal, ``queued``, ``scheduled`` (with *due*) or ``waiting``. *renew*: it takes a
    new sequence, behind what is queued; else it keeps its old place.
    """

    state: str
    reason: str = ""
    due: float | None = None
    retries: int = 0
    crashes: int = 0
    losses: int = 0
    renew: bool = False


def lost(held: Held, worker: str, *, now: float, options: Options) -> Fate:
    """The owner is gone, *worker* names it: ``"worker HOST (pid N)"``.

    The first loss requeues at once; a later one waits for ``loss_delay`` times 0.5 to 1.5, so
    that what fells whole machines does not fell the next one in the same second.
    """
    losses = held.losses + 1
    counted = Fate("", retries=held.retries, crashes=held.crashes, losses=losses)
    if held.revoked:
        return replace(counted, state=states.CANCELLED, reason=REVOKED_REASON)
    if held.stamp & (Stamp.AT_MOST_ONCE | Stamp.FAIL_IF_LOST):
        reason = f"WorkerLostError: {worker} stopped beating while it held this task"
        return replace(counted, state=states.FAILED, reason=reason)
    if losses >= options.max_losses:
        reason = f"DeadTaskError: lost {losses} times together with the worker that held it"
        return replace(counted, state=states.DEAD, reason=reason)
    if losses == 1:
        return _again(counted, held.expires, now, None, f"lost: {worker} stopped beating")
    due = now + options.loss_delay * (0.5 + options.random())
    return _again(counted, held.expires, now, due, f"lost {losses} times: {worker} stopped beating")


def repeated(held: Held, outcome: Outcome, *, now: float) -> Fate:
    """An outcome that is not terminal: retry, crash, requeue, replace.

    *held* is as of before the outcome. A revoke that is pending ends the record now. What comes
    back to its queue takes a new sequence, or it would be leased again before all others.
    """
    counted = Fate(
        "",
        retries=held.retries + (outcome.charge == "retry"),
        crashes=held.crashes + (outcome.charge == "crash"),
        losses=held.losses,
    )
    if held.revoked:
        return replace(counted, state=states.CANCELLED, reason=REVOKED_REASON)
    if outcome.state == states.WAITING:
        return replace(counted, state=states.WAITING, reason=outcome.reason)
    due = None
    if outcome.state == states.SCHEDULED:
        due = outcome.eta if outcome.eta is not None else now + outcome.delay
    return _again(counted, held.expires, now, due, outcome.reason, renew=True)


def handed_back(held: Held, started: bool, delay: float, worker: str, *, now: float) -> Fate:
    """A worker hands back what it did not start or, *started*, what it interrupted."""
    counted = Fate("", retries=held.retries, crashes=held.crashes, losses=held.losses)
    if held.revoked:
        return replace(counted, state=states.CANCELLED, reason=REVOKED_REASON)
    if started and held.stamp & Stamp.AT_MOST_ONCE:
        reason = f"WorkerLostError: {worker} stopped while it ran this task"
        return replace(counted, state=states.FAILED, reason=reason)
    due = now + delay if delay > 0 else None
    return _again(counted, held.expires, now, due, "", renew=started)


def _again(
    counted: Fate,
    expires: float | None,
    now: float,
    due: float | None,
    reason: str,
    renew: bool = False,
) -> Fate:
    if expires is not None and expires <= now:
        return replace(counted, state=states.EXPIRED, reason=EXPIRED_REASON)
    if due is not None and due > now:
        return replace(counted, state=states.SCHEDULED, reason=reason, due=due, renew=renew)
    return replace(counted, state=states.QUEUED, reason=reason, renew=renew)


def retention(state: str, keep: bool, unique: bool, options: Options) -> float | None:
    """Seconds after its end that a record is kept; None: for ever.

    *keep* is the outcome's; *unique* says that the id stands for one call (cron and unique ids:
    send nonce = id), which must not run again within ``revoke_expires``. Failed and dead records
    are kept for a person to see and retry, even if nobody wants the result.
    """
    if state in (states.FAILED, states.DEAD):
        kept: float | None = options.dead_expires
    elif not keep:
        kept = options.tombstone_expires
    else:
        kept = options.result_expires
    return max(kept, options.revoke_expires) if unique and kept is not None else kept


def mirrored(state: str, keep: bool) -> bool:
    """Whether an end is told to another store of results (``Options.mirror``): not if its result is
    ignored, since then nobody asks for it there."""
    return keep or state in (states.FAILED, states.DEAD)


def comes_late(result: StoredResult, known: StoredResult) -> bool:
    """Whether *result*, brought from another store, ended before the one that is *known* here: who
    brought it was held up, and another was faster."""
    return (
        result.ended_at is not None
        and known.ended_at is not None
        and result.ended_at < known.ended_at
    )


#: Reasons written by the stores themselves.
PURGED_REASON: Final = "TaskRevokedError: purged"
DISCARDED_REASON: Final = "TaskRevokedError: discarded"

__all__ = [
    "DISCARDED_REASON",
    "PURGED_REASON",
    "Fate",
    "Held",
    "comes_late",
    "handed_back",
    "lost",
    "mirrored",
    "repeated",
    "retention",
]
