"""The planner: from a canvas to what is stored of it. Pure: no IO, no store, no app.

Layer 3. A plan is *parts*, each one call with its static edges, and *joins*, the barriers under
chords (protocol section 1). The client makes messages of the parts and stores the whole in one
step; from then on the store follows the edges and nobody plans again.

- A step of a chain is released by the success of the one before, whose result it takes.
- A group has no record of its own. What follows a group is the body of a join whose members are the
  last parts of its branches.
- Where a list of results is needed by something that is not one task (a group behind a group, a
  group as a member of a chord's header), the built-in task ``celeriac.collect`` is that body; it
  returns the list, and its id is the group's.
- Callbacks are successors like others. Errbacks are records that wait, and are about one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from celeriac.canvas import Signature
from celeriac.canvas.flow import Flow, member_of
from celeriac.canvas.lines import Call, Fork, Given, Line, line_of
from celeriac.ids import new_task_id
from celeriac.message import Edges, NewJoin

__all__ = ["COLLECT", "Member", "Part", "Plan", "Planner", "Shown", "Source", "freeze", "plan"]

#: The built-in task that returns the list it is given.
COLLECT: Final = "celeriac.collect"


class Shown(msgspec.Struct):
    """The shape of a result object: of one task, or (with *members*) of a group."""

    id: str
    parent: Shown | None = None
    members: list[Shown] | None = None
    #: Of a group: the id of the last part of its first member.
    first: str = ""


class Member(msgspec.Struct, frozen=True):
    """Where a line stands: the join it is a branch of, and the group it is a member of."""

    join: tuple[str, int] | None = None
    group: str = ""
    index: int | None = None


class Source(msgspec.Struct, frozen=True):
    """What releases a part.

    ``after``: the success of *id*. ``body``: the join *id*, whose first member ends with *first*.
    ``own`` and ``failure``: *id* ends without success; see the edges of these names.
    """

    how: str
    id: str
    first: str = ""


class Part:
    """One call of a plan. What is not said in the call is filled in while it is planned."""

    __slots__ = (
        "after", "call", "failure", "gathers", "group", "id", "immutable", "index", "join", "own",
        "parent", "root", "success", "takes", "told", "values", "waits", "within",
    )  # fmt: skip

    def __init__(self, id: str, call: Call | None, member: Member) -> None:
        self.id = id
        #: None: the built-in task that collects.
        self.call = call
        #: Arguments that go before those of the call.
        self.values: tuple[Any, ...] = ()
        self.group, self.index = member.group, member.index
        self.root = self.parent = ""
        self.within = member.join
        self.join: tuple[str, int] | None = None
        self.waits = self.immutable = False
        self.success: list[str] = []
        self.failure: list[str] = []
        self.own: list[str] = []
        self.takes: str | None = None
        self.gathers: str | None = None
        self.told: str | None = None
        self.after: str | None = None

    @property
    def task(self) -> str:
        """The name of its task."""
        return COLLECT if self.call is None else self.call.sig.task

    @property
    def edges(self) -> Edges | None:
        """Its edges; None if it has none."""
        made = Edges(
            waits=self.waits,
            success=tuple(self.success),
            failure=tuple(self.failure),
            join=self.join,
            within=self.within,
            takes=self.takes,
            gathers=self.gathers,
            own=tuple(self.own),
            told=self.told,
            immutable=self.immutable,
            after=self.after,
        )
        return None if made == _NO_EDGES else made

    def __repr__(self) -> str:
        return f"<Part: {self.task}[{self.id}]>"


_NO_EDGES: Final = Edges()
_NOWHERE: Final = Member()


class Plan(msgspec.Struct):
    """What is stored of a canvas: parts in an order in which each comes after what releases it,
    unless that is a join, and the joins."""

    parts: dict[str, Part]
    joins: list[NewJoin]
    #: The shape of the result object; None: there is nothing to run.
    shown: Shown | None

    @property
    def flow(self) -> str:
        """The id of the workflow: that of its result object."""
        return "" if self.shown is None else self.shown.id

    def starting(self) -> Iterator[Part]:
        """Yield the parts that nothing must release."""
        return (each for each in self.parts.values() if not each.waits)


def plan(
    signature: Signature[Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    root: str = "",
    parent: str = "",
    new_id: Callable[[], str] = new_task_id,
) -> Plan:
    """Plan *signature*, sent with these arguments and options.

    Args:
        signature: any canvas.
        args: arguments for what begins.
        kwargs: keyword arguments for what begins.
        options: options of ``apply_async``, of the whole.
        root: id of the first task of the tree that it is sent in.
        parent: id of the task that sends it.
        new_id: makes ids for what has none.

    Raises:
        ValueError: the canvas contains itself, a chord has no body, or two parts have one id.
        TypeError: something in it is no signature.
    """
    planner = Planner(root, parent, new_id)
    _, shown = planner.line(line_of(signature, Given(args, kwargs, options)))
    return Plan(planner.parts, list(planner.joins.values()), shown)


def freeze(canvas: Flow, id: str | None = None) -> Shown | None:
    """Fix the ids of all parts of *canvas*, in place; return the shape of its result.

    *id* is that of the result. Its parts become copies, since one signature may be in it twice.
    """
    canvas["kwargs"] = canvas.settled().kwargs
    planner = Planner()
    _, shown = planner.line(line_of(canvas, Given()))
    if id is not None and shown is not None and shown.id not in _fixed(planner):
        planner = Planner()
        _, shown = planner.line(line_of(canvas, Given(id=id)))
    for signature, name in planner.named:
        signature.options["task_id"] = name
    return shown


def _fixed(planner: Planner) -> set[Any]:
    return {signature.options.get("task_id") for signature, _ in planner.named}


class Planner:
    """Plans lines into one set of parts and joins."""

    def __init__(
        self, root: str = "", parent: str = "", new_id: Callable[[], str] = new_task_id
    ) -> None:
        self.parts: dict[str, Part] = {}
        #: Size and body of each join, by id.
        self.joins: dict[str, NewJoin] = {}
        #: What has which id: signatures and groups, without callbacks and errbacks.
        self.named: list[tuple[Signature[Any], str]] = []
        self._root = root
        self._parent = parent
        self._new_id = new_id
        #: More than 0 while callbacks and errbacks are planned.
        self._aside = 0

    def line(
        self,
        line: Line,
        source: Source | None = None,
        member: Member = _NOWHERE,
        parent: Shown | None = None,
        depth: int = 0,
        *,
        single: bool = False,
        values: tuple[Any, ...] = (),
    ) -> tuple[Part | None, Shown | None]:
        """Plan *line* to begin at *source*; return its last part and the shape of its result.

        The last part is None if the line ends side by side or is empty. A line that is a member of
        a join, or *single*, ends with one part; that is made that member. *parent* is what its
        result shows as its parent, *depth* how deep it is in groups and callbacks, *values* are
        arguments for what begins.
        """
        last: Part | None = None
        shown = parent
        guards = _guards(line, source)
        for at, step in enumerate(line.steps):
            ends = at == len(line.steps) - 1
            if isinstance(step, Call):
                last = self._part(step, source, member, values, depth, guards.own[at])
                shown, values = Shown(last.id, shown), ()
                source = Source("after", last.id)
                continue
            group_id = step.id or self._new_id()
            if not self._aside:
                self.named.append((step.of, group_id))
            if values or (source is not None and source.how == "body"):
                # A list for tasks side by side: one record holds it.
                held = self._part(None, source, member, values, depth, guards.own[at])
                source, values = Source("after", held.id), ()
            if ends and member.join is None and not single:
                return None, self._apart(step, group_id, source, shown, depth)
            size, shown = self._header(step, group_id, source, shown, depth)
            if size:
                source = Source("body", group_id, shown.first)
            else:
                values = ([],)
            if ends:
                last = self._part(None, source, member, values, depth, (), group_id)
        if last is not None:
            last.join = member.join
            for each in guards.last:
                self._branch(each, Source("failure", last.id), depth)
        return last, shown if last is not None else None

    def new_id(self) -> str:
        """Return an id for what has none."""
        return self._new_id()

    def forget(self) -> None:
        """Forget what was planned and has been sent."""
        self.parts.clear()
        self.joins.clear()
        self.named.clear()

    # -- steps -----------------------------------------------------------------------------------

    def _apart(
        self, fork: Fork, id: str, source: Source | None, parent: Shown | None, depth: int
    ) -> Shown:
        """Plan a group that nothing follows."""
        members = []
        for index, each in enumerate(fork.lines(depth)):
            _, shown = self.line(each, source, Member(None, id, index), depth=depth + 1)
            members.append(shown)
        return Shown(id, parent, [each for each in members if each is not None])

    def _header(
        self, fork: Fork, id: str, source: Source | None, parent: Shown | None, depth: int
    ) -> tuple[int, Shown]:
        """Plan the header of a chord; return how many members it has, and its shape."""
        shown = Shown(id, parent, [])
        for index, each in enumerate(fork.lines(depth)):
            self.branch(each, id, index, shown, source, depth + 1)
        size = len(shown.members or ())
        if size:
            self.joins[id] = NewJoin(id, "", size)
        return size, shown

    def branch(
        self, line: Line, join: str, index: int, shown: Shown, source: Source | None = None,
        depth: int = 0,
    ) -> None:  # fmt: skip
        """Plan one branch of a header, and note it in the header's shape."""
        last, result = self.line(line, source, Member((join, index), join, index), depth=depth)
        assert last is not None, "a branch of a join ends with one part"
        assert result is not None, "and has a result"
        shown.first = shown.first or last.id
        if shown.members is not None:
            shown.members.append(result)

    def _part(
        self, call: Call | None, source: Source | None, member: Member, values: tuple[Any, ...],
        depth: int, guards: Sequence[Any], id: str = "",
    ) -> Part:  # fmt: skip
        """Make a part and hang it on what releases it; plan what is linked to it."""
        name = id or (call.id if call is not None else None) or self._new_id()
        if name in self.parts and self._aside:
            name = self._new_id()  # one errback of several steps: it is a record for each
        if name in self.parts:
            raise ValueError(
                f"two parts of this workflow have the id {name}: a signature whose id is fixed (by "
                "freeze(), or task_id) can be in it once"
            )
        part = self.parts[name] = Part(name, call, member)
        mutable = call is None or not call.immutable
        part.values = values if mutable else ()
        self._release(part, source, mutable and not values)
        if call is not None:
            if not self._aside:
                self.named.append((call.sig, name))
            _place(part, call.place)
            for each in call.links:
                self._branch(each, Source("after", name), depth)
            for each in call.errbacks:
                self._branch(each, Source("own", name), depth)
        for each in guards:
            self._branch(each, Source("own", name), depth)
        return part

    def _release(self, part: Part, source: Source | None, takes: bool) -> None:
        """Write the edges between *part* and what releases it, and its place in the tree."""
        if source is None:
            part.root, part.parent = self._root, self._parent
            return
        part.waits = True
        before = self.parts[source.first or source.id]
        part.root, part.parent = before.root or before.id, before.id
        if source.how == "after":
            before.success.append(part.id)
            part.takes = source.id if takes else None
        elif source.how == "body":
            if source.id in self.joins:
                self.joins[source.id] = NewJoin(source.id, part.id, self.joins[source.id].size)
            part.gathers, part.immutable = source.id, not takes
        else:
            (before.own if source.how == "own" else before.failure).append(part.id)
            part.told = source.id if takes else None
        if source.how != "body" and before.id not in (part.takes, part.told):
            part.after = before.id

    def _branch(self, callback: Any, source: Source, depth: int) -> None:
        """Plan a callback or errback: a line of its own, which no join waits for."""
        signature = member_of(callback, None, "link")
        self._aside += 1
        self.line(line_of(signature, Given(), depth + 1), source, depth=depth + 1)
        self._aside -= 1


class _Guards(msgspec.Struct):
    """Errbacks that hold for several steps: those about each step by itself, and those of the last
    part, which hold for all before it, too."""

    own: list[list[Any]]
    last: list[Any]


def _guards(line: Line, source: Source | None) -> _Guards:
    """Say which errbacks of chains, and of wholes, are hung where: each runs once, whichever fails.

    If nothing is before the line, one record behind its last part will do for the whole line: that
    part ends without success whichever fails. Else each step has one about itself. A group that is
    followed by a body within the same chain needs none: the body ends without success, too.
    """
    steps = line.steps
    made = _Guards([[] for _ in steps], [])
    for first, end, errbacks in line.spans:
        whole = (first, end) == (0, len(steps)) and source is None
        if whole and end > 1 and isinstance(steps[-1], Call):
            made.last += errbacks
            continue
        for at in range(first, end):
            step = steps[at]
            follows_fork = isinstance(steps[at - 1], Fork) if at else _is_body(source)
            if isinstance(step, Call) or follows_fork:
                made.own[at] += errbacks
            if isinstance(step, Fork) and at == end - 1:
                step.guards += errbacks
    return made


def _is_body(source: Source | None) -> bool:
    return source is not None and source.how == "body"


def _place(part: Part, place: Mapping[str, Any]) -> None:
    """Let options of a call say where it stands."""
    part.root = place.get("root_id", part.root)
    part.parent = place.get("parent_id", part.parent)
    if not part.group:
        part.group = place.get("group_id", "")
        part.index = place.get("group_index")
