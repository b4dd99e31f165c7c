"""Streaming: headers that are sent in many steps, because they are large or still being made.

Layer 4; for ``flows``. The join is opened with the body first, and sealed with its size last;
between, members are sent as they come and begin at once. Only a chunk of them is held here. If the
sender dies, or the generator raises, half-way, the members that were sent run on, and the body
fails with "header incomplete" after ``join_seal_timeout``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.canvas.lines import Fork, Line
from celeriac.context import note_child, running
from celeriac.crowd import Crowd
from celeriac.exceptions import StoreError
from celeriac.flows import TOGETHER, Sender, planner_of, result_of
from celeriac.groupresult import GroupResult
from celeriac.message import Message, NewJoin, decode
from celeriac.result import AsyncResult
from celeriac.workflow import Member, Part, Plan, Shown, Source

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["StreamedResult", "stream"]

#: Bytes of arguments after which a step is sent, however few its members.
HEAVY: Final = 16 * 1024 * 1024


def stream(app: Celeriac, line: Line, head: Fork, options: Mapping[str, Any]) -> Any:
    """Send a line that begins with a group, whose members come from a generator or are many.

    Returns its result object. Raises as ``flows.send``; what the generator raises comes through.
    """
    return _Stream(app, line, head, options).send()


class _Stream:
    """One workflow on its way into the store."""

    def __init__(self, app: Celeriac, line: Line, head: Fork, options: Mapping[str, Any]) -> None:
        self._app = app
        self._head = head
        self._rest = _rest_of(line, head)
        self._options = options
        self._planner = planner_of(options)
        self._id = head.id or self._planner.new_id()
        self._shown = Shown(self._id, None, [])
        self._size = 0
        self._sealed = False
        self._crowd = Crowd(app, self._id, bool(self._rest.steps))

    def send(self) -> Any:
        """Send it all; return the result object."""
        coming = self._head.coming()
        whole = self._plan_some(coming)
        branches = list(self._planner.parts.values())
        joins = dict(self._planner.joins)
        body: list[Part] = []
        last: Shown | None = self._shown
        if self._rest.steps:
            last = self._plan_rest()
            body = list(self._planner.parts.values())[len(branches) :]
        assert last is not None, "a group has a result, and so has what follows it"
        sender = self._sender(last)
        if whole:
            return self._send_whole(sender, branches, body, last)
        self._send_in_parts(sender, coming, branches, body, joins, last.id)
        return result_of(self._app, last, sender.dropped, self._streamed(last))

    # -- planning --------------------------------------------------------------------------------

    def _plan_some(self, coming: Iterator[Any]) -> bool:
        """Plan the next members, a chunk of them; True if these were the last."""
        bare, crowd, parts = self._head.bare, self._crowd, self._planner.parts
        most, ended = len(parts) + TOGETHER, True
        for each in coming:
            # Where the body stands is worked out from the first member, so that one is planned.
            if not (bare and self._size and self._take(each)):
                line = self._head.line(each)
                if not line.steps:
                    continue
                before = len(parts)
                self._plan_member(line)
                crowd.planned(len(parts) - before)
            self._size += 1
            if len(parts) + crowd.size >= most or crowd.bytes >= HEAVY:
                ended = False
                break
        shown = self._shown.members
        for index, id in crowd.draw():
            if shown is not None:
                shown.insert(index, Shown(id))
        return ended

    def _take(self, member: Any) -> bool:
        """Keep the next member if it is a plain call."""
        try:
            return self._crowd.take(member, self._size)
        except Exception as error:
            error.add_note(f"It is member {self._size} of a group, counted from 0.")
            raise

    def _plan_member(self, line: Line) -> None:
        if self._rest.steps:
            self._planner.branch(line, self._id, self._size, self._shown)
            return
        _, made = self._planner.line(line, None, Member(None, self._id, self._size))
        if self._shown.members is not None and made is not None:
            self._shown.members.append(made)

    def _plan_rest(self) -> Shown | None:
        """Plan the body, and what follows it."""
        if self._size:
            self._planner.joins[self._id] = NewJoin(self._id, "", self._size)
            source = Source("body", self._id, self._shown.first)
            return self._planner.line(self._rest, source, parent=self._shown)[1]
        return self._planner.line(self._rest, None, parent=self._shown, values=([],))[1]

    def _sender(self, last: Shown) -> Sender:
        return Sender(self._app, Plan(self._planner.parts, [], last))

    # -- sending ---------------------------------------------------------------------------------

    def _send_whole(
        self, sender: Sender, branches: list[Part], body: list[Part], last: Shown
    ) -> Any:
        """Send all in one step: there is no more than a chunk."""
        joins = self._planner.joins
        if self._id in joins:
            of = joins[self._id].body
            joins[self._id] = NewJoin(self._id, of, self._size)
        messages = self._crowd.messages(sender, iter(branches), last.id)
        messages += [sender.message(each) for each in body]
        self._store(messages, list(joins.values()))
        self._note(sender, messages)
        return result_of(self._app, last, sender.dropped)

    def _send_in_parts(
        self, sender: Sender, coming: Iterator[Any], branches: list[Part], body: list[Part],
        joins: dict[str, NewJoin], flow: str,
    ) -> None:  # fmt: skip
        """Open the join, send chunk after chunk, seal it."""
        self._shown.members = None  # they are not held here
        join = self._id if body else None
        queue, ended = self._app.store.queue, False
        messages = self._crowd.messages(sender, iter(branches), flow)
        if join is not None:
            later = [sender.message(each) for each in body]
            held = [each for id, each in self._planner.joins.items()
                    if id != join and id not in joins]  # fmt: skip
            self._step(later, lambda sent: queue.open_join(self._id, sent[0], sent[1:], held))
        while True:
            self._store(messages, list(joins.values()), join)
            self._note(sender, messages)
            if ended:
                break
            self._planner.forget()
            self._crowd.forget()
            sender.forget()
            ended = self._plan_some(coming)
            joins = dict(self._planner.joins)
            messages = self._crowd.messages(sender, iter(self._planner.parts.values()), flow)
        if join is not None:
            self._step([], self._seal)

    def _seal(self, _messages: Sequence[Message]) -> None:
        """Tell the store how many members there are.

        Once it knows, the body may have run and been replaced by other tasks, and its join is gone
        with it. So a repeat that finds none comes after a first one that was applied.
        """
        again, self._sealed = self._sealed, True
        try:
            self._app.store.queue.seal(self._id, self._size)
        except StoreError:
            if not again:
                raise

    def _store(
        self, messages: Sequence[Message], joins: Sequence[NewJoin], join: str | None = None
    ) -> None:
        if messages:
            self._app.client.send(
                messages, self._options.get("retry"), self._options.get("retry_policy"), joins, join
            )

    def _step(self, messages: Sequence[Message], enqueue: Any) -> None:
        retry, policy = self._options.get("retry"), self._options.get("retry_policy")
        self._app.client.step(messages, enqueue, retry, policy)

    def _note(self, sender: Sender, messages: Sequence[Message]) -> None:
        """Count what begins at once among the children of the run we are in."""
        if running.get() is None or not self._options.get("add_to_parent", True):
            return
        for each in messages:
            edges = each.header.edges
            if edges is None or not edges.waits:
                note_child(AsyncResult(each.id, self._app, each.id in sender.dropped))

    def _streamed(self, last: Shown) -> Any:
        """The result of the group, whose members are read when they are asked for."""
        flow = last.id
        return {self._id: lambda: StreamedResult(self._id, flow, self._app)}


def _rest_of(line: Line, head: Fork) -> Line:
    """What follows the first step, with the errbacks that hold for it."""
    rest = Line()
    rest.steps = line.steps[1:]
    for first, end, errbacks in line.spans:
        if end == 1:
            head.guards += errbacks
        else:
            rest.spans.append((max(first - 1, 0), end - 1, errbacks))
    return rest


class StreamedResult(GroupResult):
    """The result of a group that was sent in many steps: its members are read from the store when
    they are asked for, so that the sender need not hold them.

    Args:
        id: the group's id.
        flow: the id of the workflow that it is a part of.
        app: whose store knows it.
    """

    def __init__(self, id: str, flow: str, app: Celeriac | None = None) -> None:
        super().__init__(id, (), app=app)
        self._flow = flow
        self._loaded: list[Any] | None = None

    @property
    def results(self) -> list[Any]:
        """The results of the members, in their order."""
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    @results.setter
    def results(self, given: list[Any]) -> None:
        """Take nothing: they are read."""

    def _load(self) -> list[Any]:
        store = self.app.store
        found: dict[int, str] = {}
        after: str | None = None
        while page := store.inspection.flow(self._flow, after, TOGETHER):
            for record in page:
                if record.wire is None:
                    continue
                header = decode(record.wire).header
                if header.group == self.id and header.index is not None:
                    found[header.index] = header.id  # of a branch, the last part
            after = page[-1].id
        return [AsyncResult(found[index], self.app) for index in sorted(found)]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, self._flow)
