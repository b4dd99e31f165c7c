"""Parts of a workflow: from the flat list that the store has to a tree. Pure.

Layer 3. :class:`Parts` reads what the messages say, :func:`grow` makes a
:class:`~celeriac.flowtree.Tree` of it. Reading the parts, and saying why one has not ended, is
``control``'s.

Steps of a chain stand side by side in their order, members under their group, what follows a group
behind it. Callbacks, errbacks, what was put in a task's place and what it sent stand under the
task. Each part stands in one place, whatever the messages say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from celeriac import states
from celeriac.exceptions import DecodeError
from celeriac.flowtree import (
    Told,
    Tree,
    as_one,
    gone,
    progress_of,
    state_of,
    sum_of,
    times_of,
)
from celeriac.message import ADDED, Edges, Header, decode
from celeriac.records import Record

__all__ = ["Part", "Parts", "grow", "line_from"]

#: Levels below which nothing is set in any more; a planner nests a hundred groups at most.
_DEEPEST: Final = 150
_NO_EDGES: Final = Edges()
#: Errbacks in these states have not been called.
_UNCALLED: Final = frozenset({states.WAITING, states.SKIPPED})


class Part:
    """A record, and what its message says of its place; nothing where that is gone."""

    __slots__ = ("edges", "group", "header", "id", "parent", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        #: The task's id.
        self.id = record.id
        header: Header | None = None
        if record.wire is not None:
            try:
                header = decode(record.wire).header
            except DecodeError:
                header = None  # a newer client's: shown without its place
        self.header = header
        self.edges = _NO_EDGES if header is None else header.edges or _NO_EDGES
        #: The group it is a member of; what made it, or what releases it.
        self.group = "" if header is None else header.group
        self.parent = "" if header is None else header.parent

    @property
    def place(self) -> int:
        """Its place in the group."""
        if self.header is None:
            return 0
        if self.header.index is not None:
            return self.header.index
        around = self.edges.join or self.edges.within
        return around[1] if around is not None else 0

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.record.state in states.TERMINAL


class Parts:
    """The parts of one workflow, and how they hang together.

    Args:
        flow: the workflow's id.
        records: its parts, with messages, in the order in which they were stored.
    """

    def __init__(self, flow: str, records: Iterable[Record]) -> None:
        self.flow = flow
        self.of: dict[str, Part] = {}
        for each in records:
            self.of.setdefault(each.id, Part(each))
        #: The body of each join, and the members of each group, by place.
        self.bodies: dict[str, Part] = {}
        self.members: dict[str, dict[int, list[Part]]] = {}
        #: What releases a part by its success, and which part an errback hangs on.
        self.before: dict[str, list[Part]] = {}
        self.errbacks: dict[str, Part] = {}
        #: What a run of this part has put in its place; what waits, by who is before it.
        self.replacing: dict[str, list[Part]] = {}
        self.after: dict[str, list[Part]] = {}
        for part in self.of.values():
            self._note(part)
        #: Members of the whole that are groups without a body: nobody says what they are in.
        self.inner = self._inner()

    def _note(self, part: Part) -> None:
        edges = part.edges
        if edges.gathers is not None:
            self.bodies.setdefault(edges.gathers, part)
        if part.group:
            places = self.members.setdefault(part.group, {})
            places.setdefault(part.place, []).append(part)
        for id in edges.success:
            self.before.setdefault(id, []).append(part)
        for id in (*edges.own, *edges.failure):
            self.errbacks.setdefault(id, part)
        if part.parent in self.of and part.parent != part.id:
            if edges.waits:
                self.after.setdefault(part.parent, []).append(part)
            elif not _added(part):
                self.replacing.setdefault(part.parent, []).append(part)

    def _inner(self) -> list[str]:
        if self.flow in self.of or self.flow not in self.members:
            return []
        return [each for each in self.members if each != self.flow and each not in self.bodies]

    def home(self, group: str) -> str:
        """The group that *group* is a member of, "" for none."""
        body = self.bodies.get(group)
        if body is not None:
            return body.group
        return self.flow if group in self.inner else ""

    def done(self, join: str) -> tuple[int, int]:
        """How many branches of a join have succeeded, and how many are known."""
        ends = [
            each
            for place in self.members.get(join, {}).values()
            for each in place
            if each.edges.join is not None and each.edges.join[0] == join
        ]
        return sum(each.record.state == states.SUCCEEDED for each in ends), len(ends)


def _added(part: Part) -> bool:
    around = part.edges.join or part.edges.within
    return around is not None and around[1] >= ADDED


def grow(
    parts: Parts,
    now: float,
    told: Mapping[str, Told] | None = None,
    sent: Mapping[str, Sequence[str]] | None = None,
    others: Mapping[str, Part] | None = None,
) -> Tree:
    """Make a tree of *parts*.

    Args:
        parts: those of one workflow; at least one.
        now: seconds since the epoch, for how long has run what runs.
        told: by id, what is known of a task besides.
        sent: by id, what a task has sent.
        others: by id, tasks that were sent so and are not parts of this workflow.
    """
    return _Growth(parts, now, told or {}, sent or {}, others or {}).whole()


def line_from(parts: Parts, id: str) -> list[Tree]:
    """Return the part *id* and the steps that follow it in its line."""
    found = _Growth(parts, 0.0, {}, {}, {}).line(parts.of[id])
    # Before it may stand the header that it gathers, and what stands for a part that is gone.
    first = next(at for at, each in enumerate(found) if each.id == id and each.kind == "task")
    return found[first:]


class _Growth:
    """One tree while it grows."""

    def __init__(
        self, parts: Parts, now: float, told: Mapping[str, Told],
        sent: Mapping[str, Sequence[str]], others: Mapping[str, Part],
    ) -> None:  # fmt: skip
        self._parts = parts
        self._now = now
        self._told = told
        self._sent = sent
        self._others = others
        #: Ids of tasks and groups that have their place.
        self._placed: set[str] = set()
        self._groups: set[str] = set()

    def whole(self) -> Tree:
        """Place everything."""
        found: list[Tree] = []
        for part in self._parts.of.values():
            if part.id not in self._placed:
                found += self._line(self._unit(part, ""), 0)
        made = as_one(found, "workflow", self._now)
        return made if made.id else msgspec.structs.replace(made, id=self._parts.flow)

    def line(self, part: Part) -> list[Tree]:
        """Place the line that begins with *part*."""
        return self._line(part, 0)

    # -- lines -----------------------------------------------------------------------------------

    def _unit(self, part: Part, around: str) -> Part | str:
        """What a line within the group *around* begins with, if *part* is in it: the part itself,
        or the group that it is in there."""
        group = part.group
        if group in ("", around) or group in self._groups:
            return part
        for _ in range(_DEEPEST):
            up = self._parts.home(group)
            if up in ("", around) or up in self._groups:
                break
            group = up
        return group

    def _line(self, at: Part | str | None, depth: int) -> list[Tree]:
        """The steps of a line that begins with a part, or with a group."""
        made: list[Tree] = []
        role = "step"
        while at is not None:
            if isinstance(at, str):
                made.append(self._group(at, depth))
                body = self._parts.bodies.get(at)
                at = None if body is None or body.id in self._placed else body
                role = "body"
                continue
            header = at.edges.gathers
            if header is not None and header not in self._groups and not self._put_by(at, header):
                at = header
                continue
            if not made and at.edges.takes is not None and at.edges.takes not in self._parts.of:
                made.append(gone(at.edges.takes))
            if at.id in self._placed:
                break
            step, at = self._step(at, role, depth)
            made += step
            role = "step"
        return made

    def _put_by(self, part: Part, header: str) -> bool:
        """Whether the members of the group *header* are what *part* was replaced by."""
        members = self._parts.members.get(header, {})
        return any(each.parent == part.id for place in members.values() for each in place)

    def _step(self, part: Part, role: str, depth: int) -> tuple[list[Tree], Part | str | None]:
        """The tree of one task, what has gone behind it, and what follows."""
        self._placed.add(part.id)
        following = self._successors(part)
        then = self._next(part, following)
        made = [self._task(part, role, self._below(part, following, then, depth))]
        if part.ended and then is None:
            made += [
                gone(id) for id in part.edges.success
                if id not in self._parts.of and part.record.state == states.SUCCEEDED
            ]  # fmt: skip
        return made, then

    def _successors(self, part: Part) -> list[Part]:
        """What its success releases and has no place yet."""
        of = self._parts.of
        if part.header is None:
            found = [
                each for each in self._parts.after.get(part.id, ())
                if each.edges.takes in (None, part.id) and each.id not in self._parts.errbacks
                and each.edges.gathers is None
            ]  # fmt: skip
        else:
            found = [of[id] for id in part.edges.success if id in of]
        return [each for each in found if each.id not in self._placed]

    def _next(self, part: Part, following: Sequence[Part]) -> Part | str | None:
        """The next step; what else follows are callbacks. A planner writes the next step last."""
        if not following or part.edges.join is not None or part.id == self._parts.flow:
            return None
        last = following[-1]
        unit = self._unit(last, part.group)
        if isinstance(unit, Part) and part.header is not None and unit.group != part.group:
            return None
        return unit

    def _below(
        self, part: Part, following: Sequence[Part], then: Part | str | None, depth: int
    ) -> list[Tree]:
        """What stands under a task."""
        if depth > _DEEPEST:
            return []
        found: list[Tree] = []

        def add(each: Part, role: str) -> None:
            unit = self._unit(each, part.group)
            if each.id not in self._placed and unit != then:
                found.append(as_one(self._line(unit, depth + 1), role, self._now))

        for each in self._parts.replacing.get(part.id, ()):
            add(each, "replacement")
        for each in following:
            add(each, "callback")
        for id in (*part.edges.own, *part.edges.failure):
            if id in self._parts.of:
                add(self._parts.of[id], "errback")
                if found and self._parts.of[id].record.state in _UNCALLED:
                    found[-1] = msgspec.structs.replace(found[-1], counts={})
        found += self._sent_by(part.id, depth + 1)
        return found

    def _sent_by(self, id: str, depth: int) -> list[Tree]:
        """Tasks that this one sent as calls of their own."""
        if depth > _DEEPEST:
            return []
        found = []
        for each in self._sent.get(id, ()):
            other = self._others.get(each)
            if other is None or each in self._placed or each in self._parts.of:
                continue
            self._placed.add(each)
            made = self._task(other, "sent", self._sent_by(each, depth + 1))
            flow = "" if other.header is None else other.header.flow
            found.append(msgspec.structs.replace(made, flow=flow, counts={}))
        return found

    # -- nodes -----------------------------------------------------------------------------------

    def _group(self, id: str, depth: int) -> Tree:
        self._groups.add(id)
        members: list[Tree] = []
        places = self._parts.members.get(id, {})
        for place in sorted(places) if depth <= _DEEPEST else ():
            found: list[Tree] = []
            for each in places[place]:
                if each.id not in self._placed:
                    found += self._line(self._unit(each, id), depth + 1)
            if found:
                role, index = ("added", None) if place >= ADDED else ("member", place)
                members.append(as_one(found, role, self._now, index))
        if id == self._parts.flow:
            inner = (each for each in self._parts.inner if each not in self._groups)
            members += (as_one(self._line(each, depth + 1), "member", self._now) for each in inner)
        counts = sum_of(members)
        return Tree(
            kind="group", id=id, state=state_of(counts), counts=counts, children=tuple(members),
            progress=progress_of(members, self._now), **times_of(members, self._now),
        )  # fmt: skip

    def _task(self, part: Part, role: str, below: list[Tree]) -> Tree:
        record = part.record
        told = self._told.get(part.id) or Told()
        state = states.visible(record.state, record.retries, record.custom_state)
        started = record.started_at or record.leased_at
        if record.state in states.PENDING_STORE_STATES:
            started = None
        end = record.ended_at if part.ended else self._now
        seconds = None if started is None or end is None else max(0.0, end - started)
        return Tree(
            kind="task", id=record.id, role=role, state=state, reason=told.reason, code=told.code,
            task=record.task, worker=record.worker, retries=record.retries, started_at=started,
            ended_at=record.ended_at, seconds=seconds, progress=told.progress, cause=_cause(record),
            where=told.where, arguments=told.arguments, counts=sum_of(below, {state: 1}),
            children=tuple(below),
        )  # fmt: skip


def _cause(record: Record) -> str:
    return "" if record.cause == record.id else record.cause
