"""States: the store's own, the ones users see, and the one place where they meet.

Layer 0: standard library only; anybody may import it.

A *record* (what the store keeps of a call) is always in exactly one store state. Users see
Celery's states; :func:`visible` is the only translation between the two.

The store's state machine::

    enqueue ─► waiting ──release──► queued ◄──due── scheduled ◄─┐
       ├──────────────────────────────▲  ▲                      │ retry, crash back-off
       └─► scheduled (eta)            │  │ hand back, crash,    │
                                lease │  │ lost owner           │
                                      ▼  │                      │
                                     leased ──start──► running ─┤
                                                          │     └─► waiting (replace)
                                                          ▼
             succeeded failed revoked expired ignored rejected dead   (terminal)

Terminal states never change except by an operator's ``retry``, which reopens the record under
the same id in a new generation.
"""

from __future__ import annotations

from typing import Final

# --- the store's own states -------------------------------------------------------------------
WAITING: Final = "waiting"  # a part of a workflow that is not due yet
SCHEDULED: Final = "scheduled"  # due at a later time: eta, retry or crash back-off
QUEUED: Final = "queued"  # due now; *parked* is a place within this state, not a state
LEASED: Final = "leased"  # in a worker's hands, body not known to have begun
RUNNING: Final = "running"  # body known to have begun (or at-most-once: the lease is the start)
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
CANCELLED: Final = "revoked"
EXPIRED: Final = "expired"
SKIPPED: Final = "ignored"
REFUSED: Final = "rejected"
DEAD: Final = "dead"  # put aside after crashes or losses; kept, inspectable, retryable

HELD: Final = frozenset({LEASED, RUNNING})
PENDING_STORE_STATES: Final = frozenset({WAITING, SCHEDULED, QUEUED})
TERMINAL: Final = frozenset({SUCCEEDED, FAILED, CANCELLED, EXPIRED, SKIPPED, REFUSED, DEAD})
#: Terminal states an operator's ``retry`` may reopen.
REOPENABLE: Final = TERMINAL - {SUCCEEDED}
STORE_STATES: Final = PENDING_STORE_STATES | HELD | TERMINAL

#: Every legal edge of the state machine; stores and the model are tested against it.
TRANSITIONS: Final[dict[str, frozenset[str]]] = {
    WAITING: frozenset({QUEUED, SCHEDULED}) | (TERMINAL - {SUCCEEDED, DEAD}),
    SCHEDULED: frozenset({QUEUED, CANCELLED, EXPIRED}),
    QUEUED: frozenset({LEASED, RUNNING, CANCELLED, EXPIRED}),
    LEASED: frozenset({RUNNING, QUEUED, SCHEDULED, WAITING}) | TERMINAL,
    RUNNING: frozenset({QUEUED, SCHEDULED, WAITING}) | TERMINAL,
    **{state: frozenset({QUEUED, SCHEDULED, WAITING}) for state in TERMINAL},
}

# --- what users see: Celery's names -----------------------------------------------------------
PENDING: Final = "PENDING"
RECEIVED: Final = "RECEIVED"
STARTED: Final = "STARTED"
SUCCESS: Final = "SUCCESS"
FAILURE: Final = "FAILURE"
RETRY: Final = "RETRY"
REVOKED: Final = "REVOKED"
REJECTED: Final = "REJECTED"
IGNORED: Final = "IGNORED"

READY_STATES: Final = frozenset({SUCCESS, FAILURE, REVOKED, REJECTED, IGNORED})
UNREADY_STATES: Final = frozenset({PENDING, RECEIVED, STARTED, RETRY})
EXCEPTION_STATES: Final = frozenset({RETRY, FAILURE, REVOKED})
PROPAGATE_STATES: Final = frozenset({FAILURE, REVOKED})
ALL_STATES: Final = READY_STATES | UNREADY_STATES

_VISIBLE: Final = {
    WAITING: PENDING,
    SCHEDULED: PENDING,
    QUEUED: PENDING,
    LEASED: RECEIVED,
    RUNNING: STARTED,
    SUCCEEDED: SUCCESS,
    FAILED: FAILURE,
    CANCELLED: REVOKED,
    EXPIRED: REVOKED,
    SKIPPED: IGNORED,
    REFUSED: REJECTED,
    DEAD: FAILURE,
}


def visible(state: str, retries: int = 0, custom: str | None = None) -> str:
    """Return the state a user sees for store state *state*.

    *retries* is the record's count of asked-for repeats: while one of them is due or queued the
    user sees ``RETRY``. *custom* is a state set by ``update_state``; it shows while the task is
    in a worker's hands and never hides a terminal state.
    """
    if custom is not None and state in HELD:
        return custom
    if retries and state in (SCHEDULED, QUEUED):
        return RETRY
    return _VISIBLE[state]


_PRECEDENCE: Final = (SUCCESS, FAILURE, REVOKED, REJECTED, IGNORED, STARTED, RECEIVED, RETRY)


def precedence(name: str) -> int:
    """Rank a user-visible state: the lower the number, the more final the state.

    States of your own rank between the listed ones and ``PENDING``.
    """
    if name == PENDING:
        return len(_PRECEDENCE) + 1
    return _PRECEDENCE.index(name) if name in _PRECEDENCE else len(_PRECEDENCE)


class state(str):  # noqa: N801 - the class name Celery users know
    """A user-visible state as a string that compares by precedence (``state("SUCCESS") > …``)."""

    __slots__ = ()

    def __gt__(self, other: str) -> bool:
        return precedence(self) < precedence(other)

    def __ge__(self, other: str) -> bool:
        return precedence(self) <= precedence(other)

    def __lt__(self, other: str) -> bool:
        return precedence(self) > precedence(other)

    def __le__(self, other: str) -> bool:
        return precedence(self) >= precedence(other)


__all__ = [
    "ALL_STATES",
    "EXCEPTION_STATES",
    "FAILURE",
    "IGNORED",
    "PENDING",
    "PROPAGATE_STATES",
    "READY_STATES",
    "RECEIVED",
    "REJECTED",
    "RETRY",
    "REVOKED",
    "STARTED",
    "SUCCESS",
    "UNREADY_STATES",
    "precedence",
    "state",
    "visible",
]
