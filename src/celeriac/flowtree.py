"""Trees of workflows, as values.

Layer 3. A :class:`Tree` is what ``result.tree()`` returns and ``celeriac tree`` shows;
:mod:`celeriac.flowparts` makes one of the flat parts of a workflow. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from celeriac import states
from celeriac.progress import Progress, of_members

__all__ = [
    "BAD",
    "GONE",
    "Told",
    "Tree",
    "as_one",
    "gone",
    "progress_of",
    "state_of",
    "sum_of",
    "times_of",
]

#: The state of a part that the store no longer knows.
GONE: Final = "UNKNOWN"
#: States of what has ended without success.
BAD: Final = frozenset({states.FAILURE, states.REVOKED, states.REJECTED})


class Tree(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A workflow, or a part of one, as it stood when it was read: ``result.tree()``.

    Times are seconds since the epoch by the store's clock, durations seconds.
    """

    # Without the garbage collector: nothing in it refers back, and of a large one all would be
    # walked again and again while it is made.

    #: ``task``, ``group`` or ``chain``; a chain is steps one after the other.
    kind: str
    #: Of a task, a group or the whole workflow; "" for a chain within it.
    id: str = ""
    #: What it is where it stands: ``workflow`` (the whole), ``step``, ``member``, ``added`` (a
    #: member, by ``add_to_chord``), ``body``, ``callback``, ``errback``, ``replacement``, or
    #: ``sent`` (by the task that it stands under, as a call of its own).
    role: str = "step"
    #: The state that users see; of several tasks that of the whole. ``UNKNOWN``: no longer kept.
    state: str = states.PENDING
    #: Why it has not ended, or what it ended with, in a line; the same as ``celeriac why`` says.
    reason: str = ""
    #: That in a word, as ``celeriac why --json`` has it.
    code: str = ""
    #: Name of the task; "" for several.
    task: str = ""
    #: Of what failed by itself: its arguments as text, without those it hides and cut short; "…"
    #: stands for the results that it takes.
    arguments: str = ""
    #: Its place among the members of its group.
    index: int | None = None
    #: The worker that has it, or had it last.
    worker: str | None = None
    #: How often it was repeated on request.
    retries: int = 0
    #: When it began and ended; None where it has not.
    started_at: float | None = None
    ended_at: float | None = None
    #: How long it has run, or ran.
    seconds: float | None = None
    #: How far it is: what it said itself, or of a group how many of its members have ended.
    progress: Progress | None = None
    #: Id of the task whose end decided its own.
    cause: str = ""
    #: Of a failure: the last place in its traceback.
    where: str = ""
    #: Id of the workflow that something ``sent`` is a part of; "" where it is the one shown here.
    flow: str = ""
    #: How many tasks of the workflow are in it, by state. Errbacks that were not called are not
    #: counted, nor is what was sent.
    counts: dict[str, int] = {}
    children: tuple[Tree, ...] = ()

    def __repr__(self) -> str:
        return f"<Tree: {self.kind} {self.task or self.role} {self.id} {self.state}>"

    def tasks(self) -> Iterator[Tree]:
        """Yield all tasks in it, each before what stands under it."""
        todo = [self]
        while todo:
            each = todo.pop()
            if each.kind == "task":
                yield each
            todo.extend(reversed(each.children))

    @property
    def ready(self) -> bool:
        """Whether all tasks of the workflow that are in it have ended."""
        return all(each in states.READY_STATES or each == GONE for each in self.counts)

    @property
    def failed(self) -> bool:
        """Whether one of them has ended without success."""
        return not BAD.isdisjoint(self.counts)

    @property
    def failures(self) -> list[Tree]:
        """Those that failed by themselves, not because of another one."""
        return [each for each in self.tasks() if each.state in BAD and not each.cause]

    def as_dict(self) -> dict[str, Any]:
        """Plain data with stable keys; times as ISO 8601 in UTC."""
        return {
            "kind": self.kind,
            "id": self.id,
            "role": self.role,
            "state": self.state,
            "reason": self.reason,
            "code": self.code,
            "task": self.task,
            "arguments": self.arguments,
            "index": self.index,
            "worker": self.worker,
            "retries": self.retries,
            "started_at": _iso(self.started_at),
            "ended_at": _iso(self.ended_at),
            "seconds": self.seconds,
            "progress": None if self.progress is None else self.progress.as_dict(),
            "cause": self.cause,
            "where": self.where,
            "flow": self.flow,
            "counts": dict(self.counts),
            "children": [each.as_dict() for each in self.children],
        }


class Told(msgspec.Struct, frozen=True, gc=False):
    """What is known of a task besides its record; see the fields of :class:`Tree`."""

    reason: str = ""
    code: str = ""
    where: str = ""
    arguments: str = ""
    progress: Progress | None = None


def as_one(found: Sequence[Tree], role: str, now: float, index: int | None = None) -> Tree:
    """Return one tree of the steps of a line; *index* is its place as the member of a group."""
    if len(found) == 1:
        return msgspec.structs.replace(found[0], role=role, index=index)
    counts = sum_of(found)
    return Tree(
        kind="chain", role=role, state=state_of(counts), counts=counts, children=tuple(found),
        index=index, **times_of(found, now),
    )  # fmt: skip


def gone(id: str) -> Tree:
    """Return what stands for a part that is referred to and no longer there."""
    return Tree(kind="task", id=id, state=GONE, reason="no longer kept", counts={GONE: 1})


def sum_of(trees: Iterable[Tree], first: dict[str, int] | None = None) -> dict[str, int]:
    """Return how many tasks are in *trees*, by state, on top of *first*, which is changed."""
    counts = first or {}
    for each in trees:
        for state, count in each.counts.items():
            counts[state] = counts.get(state, 0) + count
    return counts


def state_of(counts: Mapping[str, int]) -> str:
    """Return the state of a whole that has so many tasks in each state."""
    for each in (states.FAILURE, states.REVOKED, states.REJECTED):
        if each in counts:
            return each
    ended = [each for each in counts if each in states.READY_STATES]
    if len(ended) == len(counts) - (GONE in counts):
        return states.SUCCESS if states.SUCCESS in counts or not ended else states.IGNORED
    begun = counts.keys() - {states.PENDING, GONE}
    return states.STARTED if begun else states.PENDING


def times_of(trees: Sequence[Tree], now: float) -> dict[str, Any]:
    """Return when several began and, if all have, ended; how long that took."""
    started = min((each.started_at for each in trees if each.started_at is not None), default=None)
    ends = [each.ended_at for each in trees if each.state != GONE]
    ended = max((each for each in ends if each is not None), default=None)
    if None in ends:
        ended = None
    until = now if ended is None else ended
    seconds = None if started is None else max(0.0, until - started)
    return {"started_at": started, "ended_at": ended, "seconds": seconds}


def progress_of(members: Sequence[Tree], now: float) -> Progress | None:
    """Return how far a group is, by what its members say and which have ended."""
    if not members:
        return None
    return of_members(
        [(each.ended_at if each.ready else None, each.progress) for each in members], now
    )


def _iso(then: float | None) -> str | None:
    if then is None:
        return None
    try:
        text = datetime.fromtimestamp(then, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):  # a moment that no calendar holds
        return None
    return text.replace("+00:00", "Z")
