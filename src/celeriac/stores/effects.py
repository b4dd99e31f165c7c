"""What ``finish`` sees of a store and what it tells it to write: plain data.

Layer 2: standard library and layers 0 and 1; for ``stores.finish``, the stores and their tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

from celeriac.message import ADDED, Edges, Message, NewJoin

# --- what the routine sees --------------------------------------------------------------------


class Node(msgspec.Struct, frozen=True):
    """A record as far as its edges matter."""

    id: str
    state: str
    edges: Edges | None = None
    #: The message's own eta and the record's expires, epoch seconds.
    eta: float | None = None
    expires: float | None = None
    #: A revoke is pending on it.
    revoked: bool = False
    cause: str = ""


class JoinNode(msgspec.Struct, frozen=True):
    """A join. *count* members have succeeded, *failures* have ended in another way.

    *size* is what it was sealed with, None until then.
    """

    id: str
    body: str
    size: int | None = None
    count: int = 0
    failures: int = 0
    #: "", "done" or "failed".
    decided: str = ""
    cause: str = ""
    #: Members that were added to those *size* counts.
    grown: int = 0

    @property
    def given_up(self) -> bool:
        """Whether it failed because it was never sealed (and not because of a member)."""
        return self.decided == "failed" and not self.cause


class View(Protocol):
    """What a store shows of itself, as of the beginning of the step plus effects applied since."""

    def record(self, id: str) -> Node | None:
        """The record, or None."""

    def join(self, id: str) -> JoinNode | None:
        """The join, or None."""

    def member(self, join: str, index: int) -> str:
        """``"done"`` or ``"failed"`` if the member's end is noted in the join, ``"added"`` if the
        join has grown by it and it has not ended, else ``""``."""

    def outsiders(self, join: str, after: int, most: int) -> Sequence[tuple[int, str]]:
        """What was stored with a join while it was open and waits for what was not sent with it
        (:func:`outsiders`): up to *most* ids in the order they came, and the place of each, which
        is more than *after* and never changes. The first is 1 or more."""


# --- what it says -----------------------------------------------------------------------------


class End(msgspec.Struct, frozen=True):
    """Write the terminal *state*; *reason* and *cause* with it. The lease, if any, is over."""

    id: str
    state: str
    reason: str = ""
    cause: str = ""


class Release(msgspec.Struct, frozen=True):
    """A waiting record is due: *state* is ``queued``, or ``scheduled`` with *due*. Ring.

    With *expires* that is when it expires from now on.
    """

    id: str
    state: str
    due: float | None = None
    expires: float | None = None


class Member(msgspec.Struct, frozen=True):
    """Note the end of a member: ``done`` (count + 1) or, not *done*, failed (failures + 1).

    *id* is the record that ended.
    """

    join: str
    index: int
    id: str
    done: bool


class Forget(msgspec.Struct, frozen=True):
    """Take back the note of a member's end (count - 1 or, not *done*, failures - 1). One that was
    added (an index of ``ADDED`` or more) stays so."""

    join: str
    index: int
    done: bool


class Decide(msgspec.Struct, frozen=True):
    """Write the join's *decided* ("done", "failed", or "" when it is reopened) and *cause*."""

    join: str
    decided: str
    cause: str = ""


class Size(msgspec.Struct, frozen=True):
    """Write the size of a join: it is sealed."""

    join: str
    size: int


class Grow(msgspec.Struct, frozen=True):
    """A member is added to a join: *grown* + 1, and the index is noted as added."""

    join: str
    index: int


class Reopen(msgspec.Struct, frozen=True):
    """An ended record lives again, in a new generation.

    The store sets *state* (``waiting``, ``queued``, or ``scheduled`` with *due*), generation + 1,
    retries, crashes and losses 0, a new sequence; it clears reason, cause, result, custom state,
    pending revoke, end, ``drop_at``, and an ``expires`` that has passed or, with *lasts_anew*, any:
    it counts from the next release then. The attempt counts on.
    """

    id: str
    state: str
    due: float | None = None
    lasts_anew: bool = False


Effect = End | Release | Member | Forget | Decide | Size | Grow | Reopen


class How(IntEnum):
    """What a :class:`Pending` is, and how its record ended."""

    #: By itself, or because a member of its join did.
    ITSELF = 0
    #: It was not needed: what it waited for ended without failure. It never ran.
    SKIPPED = 1
    #: A record before it ended without success, or before all members of its join.
    UPSTREAM = 2
    #: Not a record: a join that was given up. *offset* is the place of an outsider.
    GIVEN_UP = 3


class Pending(msgspec.Struct, frozen=True):
    """An ended record whose edges are followed only up to *offset*."""

    id: str
    state: str
    cause: str
    how: How = How.ITSELF
    offset: int = 0

    @property
    def skipped(self) -> bool:
        """Whether nothing that hangs on it is needed."""
        return self.how is How.SKIPPED


class Effects(msgspec.Struct, frozen=True):
    """Effects to apply in their order, and what is left for a later step."""

    effects: tuple[Effect, ...] = ()
    remainder: tuple[Pending, ...] = ()


# --- what stores work out with it ---------------------------------------------------------------


def outsiders(messages: Iterable[Message], joins: Iterable[NewJoin]) -> list[str]:
    """Ids of those that wait for something which is not stored with them.

    They are what nobody may ever release if the rest does not come.
    """
    released = {join.body for join in joins}
    waiting = []
    for each in messages:
        edges = each.header.edges
        if edges is not None:
            released.update(edges.success, edges.failure, edges.own)
            if edges.waits:
                waiting.append(each.id)
    return [id for id in waiting if id not in released]


def gathered(size: int | None, done: Mapping[int, str]) -> list[str | None]:
    """Ids of the members of a join that are *done* (index → id) in the order of their results: by
    index, those that were added last; None where one is missing of the first *size*."""
    first = {index: id for index, id in done.items() if index < ADDED}
    if size is None:
        size = max(first, default=-1) + 1
    added = sorted(index for index in done if index >= ADDED)
    return [*(first.get(index) for index in range(size)), *(done[index] for index in added)]


__all__ = [
    "Decide",
    "Effect",
    "Effects",
    "End",
    "Forget",
    "Grow",
    "How",
    "JoinNode",
    "Member",
    "Node",
    "Pending",
    "Release",
    "Reopen",
    "Size",
    "View",
    "gathered",
    "outsiders",
]
