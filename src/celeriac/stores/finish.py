"""What follows from the end of a record: the one routine ``finish``, as pure functions.

Layer 2: standard library and layers 0 and 1; for stores and their tests. Nothing here does IO.
Whoever ends a record (commit, reap, expiry, revoke, purge, discard, a failed join) calls
:func:`finish` inside its step, applies the effects *in their order* in the same step, and keeps
``Effects.remainder`` for the next reap pass (``resume``). A store in Python applies the effects
as they are; any other store is tested against them.

The rules (protocol section 1):

- A success inserts the record's index into its join, ends its errbacks as ``ignored`` and releases
  its successors. The insert that completes a sealed, undecided join decides it ``done`` and
  releases the body.
- Any other end notes the member as failed in its join (``join``, else ``within``), releases the
  errbacks and ends what waits on it over ``success``: ``revoked`` if this record was revoked, else
  ``failed``. The first failed member decides the join ``failed`` and ends its body.
- Errbacks in ``own`` are about the record's own run: if it is cancelled because a record before it
  ended without success, they end as after a success. So do those of a body whose join failed only
  because its members were cancelled like that: none of them failed by itself.
- An errback that is not needed takes what follows it along, all ``ignored``; nothing runs.
- Only ``waiting`` records are released or ended by another's end: so whatever is applied twice
  changes nothing.
- A join that is decided ``failed`` goes on collecting members, both those that succeeded and
  those that failed. Nothing is released by that; but an operator's ``retry`` of the failed members
  can reopen the join only if the others' ends are not forgotten. For the same reason it grows.
- A join that is given up ends what was stored with it and waits for what was never sent.
- ``cause`` is the id of the record whose own end started the cascade, "" on that record itself.

A step follows at most ``LIMIT`` edges. The remainder lists *ended* records with edges not yet
followed; they must keep their edges until that is done, and nothing in the remainder may be
forgotten or reopened before it is worked off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from celeriac import states
from celeriac.message import ADDED, Edges
from celeriac.stores.effects import (
    Decide,
    Effect,
    Effects,
    End,
    Forget,
    Grow,
    How,
    JoinNode,
    Member,
    Node,
    Pending,
    Release,
    Reopen,
    Size,
    View,
)

#: Edges one step may follow.
LIMIT: Final = 500

#: What ``View.member`` says of a member that has ended.
_NOTED: Final = ("done", "failed")
_NO_EDGES: Final = Edges()

REVOKED_REASON: Final = "TaskRevokedError: revoked"
EXPIRED_REASON: Final = "TaskRevokedError: expired"


# --- the routine ------------------------------------------------------------------------------


def finish(
    view: View, id: str, state: str, reason: str, *, now: float, limit: int = LIMIT
) -> Effects:
    """End record *id* in the terminal *state* and follow its edges.

    The first effect is the record's own ``End``. No effects at all if there is no such record or
    it has ended already. *now* is the store's wall clock, epoch seconds.
    """
    step = _Step(view, now, limit)
    step.end(id, state, reason, cause="")
    return step.run()


def resume(view: View, remainder: Iterable[Pending], *, now: float, limit: int = LIMIT) -> Effects:
    """Go on with a remainder. Repeatable: what is done already has no effect again."""
    step = _Step(view, now, limit)
    step.todo.extend(remainder)
    return step.run()


def seal(view: View, join: str, size: int, *, now: float, limit: int = LIMIT) -> Effects:
    """Tell a join its size; decide it ``done`` if all members are in. Size 0 is done at once.

    A join that a member has failed is told its size, too: it may be reopened. No effects if the
    join is absent, sealed already, or ``given_up``: the store raises ``HeaderIncomplete`` then.
    """
    step = _Step(view, now, limit)
    found = step.join(join)
    if found is not None and found.size is None and not found.given_up:
        step.put_join(msgspec.structs.replace(found, size=size), Size(join, size))
        step.complete(join)
    return step.run()


def abandon(view: View, join: str, members: int, *, now: float, limit: int = LIMIT) -> Effects:
    """Give up a join that was never sealed: its body fails with ``HeaderIncomplete``.

    *members* is how many had been enqueued. The body's end is its own (no cause); it is the cause
    of the end of what was stored with the join and waits for what was not. One that a member has
    failed already is given up, too: it could not be completed any more.
    """
    step = _Step(view, now, limit)
    found = step.join(join)
    if found is not None and found.size is None and not found.given_up:
        given_up = msgspec.structs.replace(found, decided="failed", cause="")
        step.put_join(given_up, Decide(join, "failed", ""))
        reason = f"HeaderIncomplete: header incomplete: {members} members of join {join}"
        step.end(found.body, states.FAILED, reason, cause="")
        step.todo.append(Pending(join, states.FAILED, found.body, How.GIVEN_UP))
    return step.run()


def grow(view: View, parts: Iterable[Edges | None]) -> Effects:
    """Make joins larger by the members that a commit adds to them: those of its new *parts* whose
    index is ``ADDED`` or more.

    For the step that stores these parts, before it ends the record whose commit it is. A join that
    is absent or ``done`` already, or knows that index, stays as it is.
    """
    step = _Step(view, now=0.0, limit=0)
    for edges in parts:
        if edges is not None and edges.join is not None and edges.join[1] >= ADDED:
            step.grow(*edges.join)
    return step.run()


def reopen(view: View, id: str, *, now: float) -> Effects:
    """An operator's retry of *id*: reopen it and what ended only because of it.

    A record that ended because of another one (it carries a cause) is reopened through that one.
    Not bounded, unlike :func:`finish`: a workflow reopened in two steps could fail again between
    them, and its second half would then wait for ever. No effects if the record is absent, has
    not ended, has succeeded, or cannot run because its join was given up or its cause is gone; nor
    if its turn will not come (it was revoked, or expired, before that); nor as long as an errback
    that would wait again, or what follows that, is due or runs: it is called for this end, and
    could not be called for the next one before it has ended. What ended before its turn waits
    again, if that is still to come.
    """
    step = _Step(view, now, limit=0)
    node = step.node(id)
    if node is not None and node.cause:
        node = step.node(node.cause)
    if node is None or node.state not in states.REOPENABLE or node.cause:
        return Effects()
    waits = step.waits(node)
    if waits is None:
        return Effects()
    step.reopen(node, waits=waits)
    todo = deque([_Reopened(node.id, cause=node.id)])
    while todo:
        todo.extend(step.reopen_along(todo.popleft()))
    return Effects() if step.called else Effects(tuple(step.effects))


class _Reopened(msgspec.Struct, frozen=True):
    """A reopened record to go on from.

    *whole*: it is part of an errback, and what follows it waits again however it ended; else only
    what ended because of *cause* does.
    """

    id: str
    cause: str
    whole: bool = False


class _Step:
    """One step being worked out: the view with the effects so far laid over it."""

    def __init__(self, view: View, now: float, limit: int) -> None:
        self.view = view
        self.now = now
        self.limit = limit
        self.effects: list[Effect] = []
        self.todo: deque[Pending] = deque()
        self.followed = 0
        #: An errback that was to be reopened has not ended.
        self.called = False
        self._reopened: set[str] = set()
        self._nodes: dict[str, Node | None] = {}
        self._joins: dict[str, JoinNode | None] = {}
        self._members: dict[tuple[str, int], str] = {}

    # -- reading through the overlay

    def node(self, id: str) -> Node | None:
        if id not in self._nodes:
            self._nodes[id] = self.view.record(id)
        return self._nodes[id]

    def join(self, id: str) -> JoinNode | None:
        if id not in self._joins:
            self._joins[id] = self.view.join(id)
        return self._joins[id]

    def member(self, join: str, index: int) -> str:
        key = (join, index)
        if key not in self._members:
            self._members[key] = self.view.member(join, index)
        return self._members[key]

    # -- writing to it

    def put_join(self, join: JoinNode, *effects: Effect) -> None:
        self._joins[join.id] = join
        self.effects.extend(effects)

    def end(self, id: str, state: str, reason: str, cause: str, how: How = How.ITSELF) -> None:
        """End a record that has not ended, and put its edges on the work list."""
        node = self.node(id)
        if node is None or node.state in states.TERMINAL:
            return
        self._nodes[id] = msgspec.structs.replace(node, state=state, cause=cause)
        self.effects.append(End(id, state, reason, cause))
        if node.edges is not None:
            self.todo.append(Pending(id, state, cause or id, how))

    def release(self, id: str) -> None:
        node = self.node(id)
        if node is None or node.state != states.WAITING:
            return
        if node.revoked:
            self.end(id, states.CANCELLED, REVOKED_REASON, cause="")
        elif node.expires is not None and node.expires <= self.now:
            self.end(id, states.EXPIRED, EXPIRED_REASON, cause="")
        else:
            edges = node.edges
            delay, lasts = (0.0, 0.0) if edges is None else (edges.delay, edges.lasts)
            state, due = _when(node, self.now)
            if delay and node.eta is None:
                state, due = states.SCHEDULED, self.now + delay
            expires = self.now + lasts if lasts and node.expires is None else None
            self._nodes[id] = msgspec.structs.replace(
                node, state=state, expires=expires or node.expires
            )
            self.effects.append(Release(id, state, due, expires))

    def cancel(self, id: str, by: Pending) -> None:
        """End a record that waited for *by*, which did not succeed (or, skipped, never ran)."""
        node = self.node(id)
        if node is None or node.state != states.WAITING:
            return
        if by.skipped:
            self.end(id, states.SKIPPED, _not_needed(by), by.cause, How.SKIPPED)
            return
        state = states.CANCELLED if by.state == states.CANCELLED else states.FAILED
        reason = f"UpstreamFailed: upstream {by.id} ended {by.state}"
        self.end(id, state, reason, by.cause, How.UPSTREAM)

    # -- joins

    def grow(self, join: str, index: int) -> None:
        """Count a member that is added, once."""
        found = self.join(join)
        if found is None or found.decided == "done" or self.member(join, index):
            return
        self._members[join, index] = "added"
        self.put_join(msgspec.structs.replace(found, grown=found.grown + 1), Grow(join, index))

    def note(self, join: str, index: int, by: Pending) -> None:
        """Note the end of a member, and decide the join if that decides it."""
        found = self.join(join)
        if found is None or found.decided == "done" or self.member(join, index) in _NOTED:
            return
        done = by.state == states.SUCCEEDED
        self._members[join, index] = "done" if done else "failed"
        self.put_join(
            msgspec.structs.replace(
                found, count=found.count + done, failures=found.failures + (not done)
            ),
            Member(join, index, by.id, done),
        )
        if done:
            self.complete(join)
        elif not found.decided:
            self.fail(join, index, by)

    def complete(self, join: str) -> None:
        found = self.join(join)
        if found is None or found.decided or found.size is None:
            return
        if found.count < found.size + found.grown:
            return
        self.put_join(msgspec.structs.replace(found, decided="done"), Decide(join, "done"))
        self.release(found.body)

    def fail(self, join: str, index: int, by: Pending) -> None:
        found = self.join(join)
        assert found is not None
        self.put_join(
            msgspec.structs.replace(found, decided="failed", cause=by.cause),
            Decide(join, "failed", by.cause),
        )
        body = self.node(found.body)
        if body is None or body.state != states.WAITING:
            return
        if by.skipped:
            self.cancel(found.body, by)
        else:
            which = "added later" if index >= ADDED else index
            reason = f"ChordError: member {which} ({by.id}) ended {by.state}"
            # Members that were cancelled because of a record before the whole header: the join's
            # failure is no more the body's own than a failed record before a step of a chain is.
            how = How.UPSTREAM if by.how is How.UPSTREAM else How.ITSELF
            self.end(found.body, states.FAILED, reason, by.cause, how)

    # -- the work list, breadth first

    def run(self) -> Effects:
        while self.todo and self.followed < self.limit:
            pending = self.todo.popleft()
            if pending.how is How.GIVEN_UP:
                self._end_outsiders(pending)
                continue
            node = self.node(pending.id)
            if node is not None and node.edges is not None:
                self._follow(pending, node.edges)
        return Effects(tuple(self.effects), tuple(self.todo))

    def _follow(self, pending: Pending, edges: Edges) -> None:
        """Follow the edges of an ended record from its offset on, as far as the limit allows."""
        ids = (*edges.failure, *edges.own, *edges.success)
        errbacks = len(edges.failure)
        own = errbacks + len(edges.own)
        if not pending.offset:
            self._follow_joins(pending, edges)
        # Offset 0 stands before the joins, offset n before the n-th id.
        for offset in range(max(pending.offset, 1), len(ids) + 1):
            if self.followed >= self.limit:
                self.todo.appendleft(msgspec.structs.replace(pending, offset=offset))
                return
            self.followed += 1
            id = ids[offset - 1]
            if offset > own:
                self._follow_success(pending, id)
            else:
                self._follow_errback(pending, id, own=offset > errbacks)

    def _follow_joins(self, pending: Pending, edges: Edges) -> None:
        self.followed += 1
        if edges.join is not None:
            self.note(*edges.join, pending)
        elif edges.within is not None and not (
            pending.skipped or pending.state == states.SUCCEEDED
        ):
            self.note(*edges.within, pending)

    def _follow_success(self, pending: Pending, id: str) -> None:
        if pending.state == states.SUCCEEDED and not pending.skipped:
            self.release(id)
        else:
            self.cancel(id, pending)

    def _follow_errback(self, pending: Pending, id: str, own: bool) -> None:
        needed = pending.state != states.SUCCEEDED and not pending.skipped
        if needed and not (own and pending.how is How.UPSTREAM):
            self.release(id)
        else:
            self.cancel(id, msgspec.structs.replace(pending, how=How.SKIPPED))

    def _end_outsiders(self, pending: Pending) -> None:
        """End what waits for what was never sent with a join that is given up."""
        reason = f"HeaderIncomplete: join {pending.id} was given up before all of it was sent"
        room = self.limit - self.followed
        found = self.view.outsiders(pending.id, pending.offset, room)
        for _, id in found:
            self.followed += 1
            node = self.node(id)
            if node is not None and node.state == states.WAITING:
                self.end(id, states.FAILED, reason, pending.cause, How.UPSTREAM)
        if len(found) == room:
            self.todo.appendleft(msgspec.structs.replace(pending, offset=found[-1][0]))

    # -- an operator's retry

    def waits(self, node: Node) -> bool | None:
        """Whether the turn of *node* is still to come. None if it will not come: what it is behind
        has ended so that it does not release it, or it takes a result that is not kept."""
        edges = node.edges or _NO_EDGES
        if edges.gathers is not None:
            join = self.join(edges.gathers)
            return None if join is None or join.decided == "failed" else not join.decided
        behind = edges.takes or (edges.behind if edges.waits else None)
        before = None if behind is None else self.node(behind)
        if before is None:
            return None if edges.takes else False
        ways = before.edges or _NO_EDGES
        # What is skipped with another one has a cause; what was ignored by itself called them.
        skipped = before.state == states.SKIPPED and bool(before.cause)
        failed = before.state in states.TERMINAL - {states.SUCCEEDED} and not skipped
        if edges.takes or node.id in ways.success:
            has_come = before.state == states.SUCCEEDED
        elif node.id in ways.failure:
            has_come = failed
        else:
            # Not called for what was cancelled with what was before it. A body that has a cause
            # failed by a member of its header, for which they are called.
            cancelled = bool(before.cause) and ways.gathers is None
            has_come = node.id not in ways.own or (failed and not cancelled)
        if has_come:
            return False
        lives = before.state not in states.TERMINAL
        return True if lives and node.id in (*ways.success, *ways.failure, *ways.own) else None

    def reopen(self, node: Node, waits: bool) -> None:
        state, due = (states.WAITING, None) if waits else _when(node, self.now)
        self._nodes[node.id] = msgspec.structs.replace(node, state=state, cause="")
        self._reopened.add(node.id)
        lasts = waits and node.edges is not None and bool(node.edges.lasts)
        self.effects.append(Reopen(node.id, state, due, lasts))

    def reopen_along(self, at: _Reopened) -> Iterator[_Reopened]:
        """Reopen what hangs on a reopened record; yield what to go on from."""
        node = self.node(at.id)
        edges = node.edges if node is not None else None
        if edges is None:
            return
        # Errbacks run once per generation, so one that has run, or was not needed, waits again.
        for each in (*edges.failure, *edges.own):
            yield from self._reopen_waiting(each, _Reopened(each, at.cause, whole=True))
        for each in edges.success:
            yield from self._reopen_waiting(each, _Reopened(each, at.cause, at.whole))
        for join, index in dict.fromkeys(filter(None, (edges.join, edges.within))):
            yield from self._reopen_join(join, index, at)

    def _reopen_waiting(self, id: str, on: _Reopened) -> Iterator[_Reopened]:
        node = self.node(id)
        if node is None or node.state not in states.TERMINAL:
            # What it hangs on has ended, so it was released: if it waits, it has been replaced.
            self.called |= on.whole and node is not None and id not in self._reopened
            return
        if on.whole or (node.state in states.REOPENABLE and node.cause == on.cause):
            self.reopen(node, waits=True)
            yield on

    def _reopen_join(self, join: str, index: int, at: _Reopened) -> Iterator[_Reopened]:
        found, noted = self.join(join), self.member(join, index)
        if found is None or noted not in _NOTED or (noted == "done" and not at.whole):
            return
        done = noted == "done"
        self._members[join, index] = "added" if index >= ADDED else ""
        found = msgspec.structs.replace(
            found, count=found.count - done, failures=found.failures - (not done)
        )
        self.put_join(found, Forget(join, index, done))
        # Another failed member keeps the join failed until that one is retried, too. A join that
        # was given up stays so: nobody will send the rest of its members.
        if found.failures or not found.decided or found.given_up:
            return
        body = self.node(found.body)
        lives = body is not None and body.state not in states.TERMINAL
        if lives and found.body not in self._reopened and not at.whole:
            return  # an errback that was replaced: it waits for what it is about, not for this
        self.put_join(msgspec.structs.replace(found, decided="", cause=""), Decide(join, ""))
        yield from self._reopen_waiting(
            found.body, _Reopened(found.body, found.cause or at.cause, at.whole)
        )


def _not_needed(by: Pending) -> str:
    """Why what waited for *by*, which it is skipped with, is not needed."""
    if by.state == states.SKIPPED:
        return f"not needed: {by.id} was not"
    if by.state == states.SUCCEEDED:
        return f"not needed: {by.cause} ended without failure"
    return f"not needed: {by.id} did not run, because of {by.cause}"


def _when(node: Node, now: float) -> tuple[str, float | None]:
    if node.eta is not None and node.eta > now:
        return states.SCHEDULED, node.eta
    return states.QUEUED, None


__all__ = [
    "EXPIRED_REASON",
    "LIMIT",
    "REVOKED_REASON",
    "abandon",
    "finish",
    "grow",
    "reopen",
    "resume",
    "seal",
]
