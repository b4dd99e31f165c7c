"""Reading a workflow: its parts, why each has not ended, and what they sent.

Layer 4. Through the seam only; nothing here changes anything.
:func:`celeriac.flowparts.grow` makes the tree of what is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from celeriac import states
from celeriac.control.destinations import NOWHERE, Destinations
from celeriac.control.phrases import clip
from celeriac.control.reading import header_of, hider_for, message_of, reason_of
from celeriac.control.why import Situation, in_brief
from celeriac.exceptions import CeleryError, ResultNotFound
from celeriac.flowparts import Part, Parts, grow
from celeriac.flowtree import Told, Tree
from celeriac.message import Message
from celeriac.outcome import ResultBody
from celeriac.progress import Progress
from celeriac.records import JoinView, Record, StoredResult, WorkerView
from celeriac.stores.base import Results, Store

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["Source", "flow_of", "read_tree", "source_of", "tree_of"]

#: Parts that are read in one call, and results, which may be large.
_PAGE: Final = 1000
_BODIES: Final = 200
#: Of so many parts it is looked up what they sent, and so many of those are shown.
LOOKED_AT: Final = 2000
#: How far what was sent is followed: a task that sends itself again goes on for ever.
_LEVELS: Final = 20
#: Joins whose numbers are asked of the store. One that is still being sent is the first; of the
#: others all parts are known.
_JOINS: Final = 16
#: A line of a traceback, if it is not of a module that is built into Python.
_PLACE: Final = re.compile(r'^\s*(File "(?!<frozen ).*", line \d+, in .*)$', re.MULTILINE)
#: The code that ``why`` has for that.
_WAITS: Final = "waiting_in_workflow"
_REASON: Final = 300
#: Of what a part waits for, so many are named.
_NAMED: Final = 3


@dataclass(frozen=True)
class Source:
    """Where a workflow is read.

    *results* are where its results are, *body* opens one of them, *progress* says how far a task
    says that it is, *arguments* with what the message of a task of that name calls it; *known* is
    where the application sends tasks.
    """

    store: Store
    results: Results
    body: Callable[[StoredResult], ResultBody | None]
    progress: Callable[[Record], Progress | None]
    arguments: Callable[[str, Message | None], str]
    known: Destinations = NOWHERE


def source_of(app: Celeriac) -> Source:
    """The stores of an application."""
    from celeriac.ends import body_of, progress_of
    from celeriac.upstream import arguments_of

    return Source(
        app.store,
        app.results,
        lambda found: body_of(app, found),
        lambda record: progress_of(app, record),
        partial(arguments_of, app),
        app.client.directions.known(),
    )


def flow_of(store: Store, id: str) -> tuple[str, Record | None] | None:
    """The workflow that a task, a group or a join with this id is a part of, and the record of that
    id, if it is a task's. A task that is a part of none is one by itself. None: nothing is known.
    """
    inspection = store.inspection
    record = inspection.get([id])[0]
    if record is not None:
        header = header_of(record)
        return (header.flow if header is not None and header.flow else id), record
    if inspection.flow(id, limit=1):
        return id, None
    join = inspection.join(id)
    body = None if join is None else inspection.get([join.body])[0]
    if body is None:
        return None
    header = header_of(body)
    return (header.flow if header is not None and header.flow else body.id), body


def read_tree(source: Source, id: str, now: float, *, every: bool = False) -> Tree | None:
    """Read the workflow that *id* is a part of; None if nothing of that id is known.

    *now* is the reader's wall clock. With *every* it is looked up of all parts what they sent, not
    of the first :data:`LOOKED_AT` alone.
    """
    found = flow_of(source.store, id)
    if found is None:
        return None
    flow, record = found
    parts = Parts(flow, _records(source.store, flow, record))
    return _Reading(source, parts, now, None if every else LOOKED_AT).tree()


def tree_of(app: Celeriac, id: str, member: str | None = None) -> Tree:
    """Read the workflow that *id* is a part of, or that *member* is, if nothing of *id* is known.

    Raises ``ResultNotFound`` if nothing is known.
    """
    source, now = source_of(app), app.client.wall()
    found = read_tree(source, id, now)
    if found is None and member is not None:
        found = read_tree(source, member, now)
    if found is None:
        raise ResultNotFound(id)
    return found


def _records(store: Store, flow: str, own: Record | None) -> Iterator[Record]:
    """The parts in their order, and *own* if it is not among them."""
    seen: set[str] = set()
    after: str | None = None
    while page := store.inspection.flow(flow, after, _PAGE):
        after = page[-1].id
        fresh = [each for each in page if each.id not in seen]
        if not fresh:
            break  # the last one is gone, and the store began anew
        seen.update(each.id for each in fresh)
        yield from fresh
    for each in (own, None if flow in seen else store.inspection.get([flow])[0]):
        if each is not None and each.id not in seen:
            seen.add(each.id)
            yield each


class _Reading:
    """One reading of a workflow whose parts are there."""

    def __init__(self, source: Source, parts: Parts, now: float, most: int | None) -> None:
        self._source = source
        self._parts = parts
        self._now = now
        self._most = most
        self._workers: Sequence[WorkerView] | None = None
        self._asked = 0
        self._where: dict[str, str] = {}
        self._sent: dict[str, tuple[str, ...]] = {}
        self._others: dict[str, Part] = {}

    def tree(self) -> Tree:
        """The tree."""
        self._look_inside([each.record for each in self._parts.of.values()])
        for _ in range(_LEVELS):
            fresh = self._follow()
            if not fresh:
                break
            self._look_inside(fresh)
        told = {
            each.id: self._told(each) for each in (*self._parts.of.values(), *self._others.values())
        }
        return grow(self._parts, self._now, told, self._sent, self._others)

    # -- results ---------------------------------------------------------------------------------

    def _look_inside(self, records: Sequence[Record]) -> None:
        """Read where what failed has failed, and what was sent by what has ended."""
        ended = [
            each for each in records
            if each.state in states.TERMINAL and each.state != states.SKIPPED and not _by(each)
        ]  # fmt: skip
        failed = [each.id for each in ended if each.state != states.SUCCEEDED]
        others = [each.id for each in ended if each.state == states.SUCCEEDED]
        for some in _some([*failed, *others[: self._most]], _BODIES):
            for found in self._source.results.get_many(some):
                body = None if found is None else self._body(found)
                if found is None or body is None:
                    continue
                if body.failure is not None:
                    places = _PLACE.findall(body.failure.traceback)
                    self._where[found.id] = clip(places[-1], _REASON) if places else ""
                # What its success released is a part of its own workflow.
                other = self._others.get(found.id)
                known = self._parts.of if other is None else other.edges.success
                sent = tuple(each for each in body.children if each not in known)
                if sent:
                    self._sent[found.id] = sent

    def _body(self, found: StoredResult) -> ResultBody | None:
        try:
            return self._source.body(found)
        except CeleryError:
            return None  # of another key, or a newer version: the record is shown without it

    def _follow(self) -> list[Record]:
        """Read those that were sent and are not known yet."""
        asked = [each for sent in self._sent.values() for each in sent if each not in self._others]
        room = LOOKED_AT - len(self._others)
        found = [
            each
            for some in _some(list(dict.fromkeys(asked))[: max(0, room)], _BODIES)
            for each in self._source.store.inspection.get(some)
            if each is not None
        ]
        for each in found:
            self._others[each.id] = Part(each)
        return found

    # -- reasons ---------------------------------------------------------------------------------

    def _told(self, part: Part) -> Told:
        record = part.record
        if record.state in states.TERMINAL:
            if record.state == states.SUCCEEDED or _by(record):
                return Told(self._ended_by(record), record.state)
            return self._failure(record)
        code, reason = self._why(part)
        return Told(clip(reason, _REASON), code, progress=self._progress(record))

    def _progress(self, record: Record) -> Progress | None:
        if record.meta is None:
            return None
        try:
            return self._source.progress(record)
        except CeleryError:
            return None

    def _ended_by(self, record: Record) -> str:
        """Of what another one's end has ended: which."""
        if not _by(record):
            return ""
        if record.state == states.SKIPPED:
            return "not needed"
        cause = self._parts.of.get(record.cause)
        who = record.cause if cause is None else f"{cause.record.task}[{record.cause}]"
        return f"did not run: {who} ended without success"

    def _failure(self, record: Record) -> Told:
        """Of what ended without success by itself: why, where, and with what it was called."""
        message = message_of(record)
        hide = hider_for(message)
        reason = reason_of(record, _REASON)
        return Told(
            reason if hide is None else hide(reason), record.state,
            self._where.get(record.id, ""), self._source.arguments(record.task, message),
        )  # fmt: skip

    def _why(self, part: Part) -> tuple[str, str]:
        """As ``celeriac why`` says it."""
        record = part.record
        if self._workers is None:
            self._workers = tuple(self._source.store.inspection.workers())
        guarded = self._parts.errbacks.get(part.id)
        if guarded is not None and record.state == states.WAITING:
            return _WAITS, f"Runs if {guarded.record.task} ends without success."
        join = None
        if record.state == states.WAITING:
            before = self._parts.before.get(part.id, ()) or self._parts.replacing.get(part.id, ())
            upstream = [each.record for each in before if not each.ended]
            if upstream:
                names = ", ".join(each.task for each in upstream[:_NAMED])
                more = f" and {len(upstream) - _NAMED} more" if len(upstream) > _NAMED else ""
                return _WAITS, f"Waits for {names}{more}."
            if part.edges.gathers is not None:
                join = self._join(part, part.edges.gathers)
        return in_brief(
            Situation(
                record,
                self._now,
                self._workers,
                join=join,
                silent=self._source.store.options.lease * 0.4,
                known=self._source.known,
            )
        )

    def _join(self, part: Part, join: str) -> JoinView | None:
        if self._asked < _JOINS:
            self._asked += 1
            return self._source.store.inspection.join(join)
        done, known = self._parts.done(join)
        return JoinView(join, part.id, known, tuple(range(done)))


def _by(record: Record) -> bool:
    """Whether another one's end has ended it."""
    return bool(record.cause) and record.cause != record.id


def _some(ids: Sequence[str], most: int) -> Iterable[Sequence[str]]:
    return (ids[at : at + most] for at in range(0, len(ids), most))
