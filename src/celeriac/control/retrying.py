"""An operator's retry: what failed runs again, and its workflow goes on from there.

Layer 4; for ``app.control.retry`` and ``celeriac retry``. The store reopens a part and what ended
only because of it in one step; here is what a person needs besides: from which part a workflow is
to go on, arguments that are mended, all failures of a workflow at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from celeriac import states
from celeriac.client import checked_call, verify
from celeriac.control.flowreading import flow_of
from celeriac.control.inspect import revoked_stamps
from celeriac.control.phrases import UNKNOWN
from celeriac.control.reading import message_of
from celeriac.control.why import by_stamp
from celeriac.exceptions import CeleriacError
from celeriac.message import Edges, Message, decode
from celeriac.records import Record
from celeriac.serialization import decode as decode_value

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.app.task import Task

__all__ = ["Left", "Retried", "retry", "retry_failed"]

_NO_EDGES: Final = Edges()
_PAGE: Final = 1000


class Left(msgspec.Struct, frozen=True):
    """Why an id was left as it is.

    *code* is one of ``unknown``, ``group``, ``succeeded``, ``unfinished``, ``revoked`` (of all that
    failed, what somebody called off is left), ``stamped`` (a stamp of its own is revoked),
    ``upstream`` (its turn has not come and will not), ``errback`` (one has not ended),
    ``not kept``, ``gone`` and ``incomplete``.
    """

    code: str
    text: str

    @property
    def harmless(self) -> bool:
        """Whether that is as it should be: it runs, has run well, or is not to run."""
        return self.code in {"succeeded", "unfinished", "revoked"}


_UNKNOWN: Final = Left("unknown", UNKNOWN)
_GROUP: Final = Left(
    "group",
    "it is a group, and runs nothing itself; name members of it, or ask for all that failed "
    "(--all-failed, all_failed=True)",
)


class Retried(msgspec.Struct):
    """What a retry did. The ids are in the order in which they were reopened."""

    #: Parts that run again: they had failed by themselves.
    runs: list[str] = msgspec.field(default_factory=list)
    #: All parts that were reopened, those included.
    reopened: list[str] = msgspec.field(default_factory=list)
    #: Of what was asked for, that which was not reopened, and why.
    left: dict[str, Left] = msgspec.field(default_factory=dict)
    #: Other parts that failed by themselves, for want of which a chord among what would follow
    #: stays as it is.
    missing: list[str] = msgspec.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.reopened)


def retry(
    app: Celeriac,
    ids: Sequence[str],
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Retried:
    """Reopen *ids* and what ended only because of them; see ``Control.retry``."""
    done = Retried()
    mends = args is not None or kwargs is not None
    if mends and len(ids) != 1:
        raise ValueError("retry(): arguments are those of one task; name one")
    for id in dict.fromkeys(ids):
        stamped = _stamped(app, id)
        if stamped is not None:
            done.left[id] = stamped
            continue
        messages = {id: _mended(app, id, args, kwargs)} if mends and _may_run(app, id) else None
        *before, _ = _in_order(app, id)
        held_up = _held_up(app, id) if before else None
        if held_up is not None:  # what is refused has no effect on what is before it
            done.left[id] = held_up
            continue
        for each in before:
            _reopen(app, done, each)
        if not _reopen(app, done, id, messages):
            done.left[id] = _why_not(app, id)
    done.missing = _still_missing(app, done)
    return done


def retry_failed(app: Celeriac, id: str) -> Retried:
    """Reopen all that failed by itself in the workflow that *id* is the id of, or of a part."""
    done = Retried()
    found = app.store.inspection.get([id])[0]
    if found is None:
        known = flow_of(app.store, id)  # a group within a workflow names it, too
        flow = id if known is None else known[0]
    else:
        flow = _header_flow(found)
    parts = _failures(app, flow) if flow else ([] if found is None else [found])
    # In the order in which they failed, so that an errback is looked at after what it is about:
    # it waits again once that is reopened, and must not be set off by itself.
    for part in sorted(parts, key=lambda each: each.ended_at or 0.0):
        if part.state == states.CANCELLED:
            text = "it was revoked; name it by its own id to run it after all"
            done.left[part.id] = Left("revoked", text)
        elif part.state in states.REOPENABLE and part.id not in done.reopened:
            now = app.store.inspection.get([part.id])[0]
            ended = now is not None and now.state in states.REOPENABLE
            stamped = _stamped(app, part.id) if ended else None
            if stamped is not None:
                done.left[part.id] = stamped
            elif ended and not _reopen(app, done, part.id):
                done.left[part.id] = _why_not(app, part.id)
    if found is None and not (flow and app.store.inspection.flow(flow, limit=1)):
        done.left[id] = _UNKNOWN
    return done


def _reopen(
    app: Celeriac, done: Retried, id: str, messages: Mapping[str, Message] | None = None
) -> bool:
    """Reopen *id*, through whatever it ended because of; return whether it is."""
    if id in done.reopened:
        return True
    inspection = app.store.inspection
    asked = inspection.get([id])[0]
    cause = None if asked is None or not asked.cause else inspection.get([asked.cause])[0]
    _note(done, inspection.retry([id], messages))
    # Each failed member of a chord keeps its body from running, so each must be run again.
    at = cause
    while id not in done.reopened and at is not None:
        joined = _joined(at)
        join = None if joined is None else inspection.join(joined)
        if join is None:
            break
        if join.decided == "failed":
            for member in _failed_members(app, _header_flow(at), join.id):
                _reopen(app, done, member)
        at = inspection.get([join.body])[0]
    return id in done.reopened


def _in_order(app: Celeriac, id: str) -> list[str]:
    """*id*, and before it what must be reopened first: whose results it, and that, would take."""
    order: list[str] = []
    seen = {id}
    path = [(id, iter(_wanting(app, id)))]
    while path:
        at, wanting = path[-1]
        each = next(wanting, None)
        if each is None:
            order.append(at)
            path.pop()
        elif each not in seen:
            seen.add(each)
            path.append((each, iter(_wanting(app, each))))
    return order


def _wanting(app: Celeriac, id: str) -> list[str]:
    """Parts that ended without success, and must succeed before the turn of *id* comes, or of what
    that ended because of: it was revoked, or expired, while it waited for them."""
    at = _origin(app, app.store.inspection.get([id])[0])
    if at is None or at.state not in states.REOPENABLE:
        return []
    edges = _edges(at)
    if edges.gathers is not None:
        join = app.store.inspection.join(edges.gathers)
        if join is None or join.decided != "failed" or not join.cause:
            return []
        return _failed_members(app, _header_flow(at), join.id)
    before = app.store.inspection.get([edges.behind])[0] if edges.behind else None
    if before is None or before.state not in states.REOPENABLE:
        return []
    return [before.id] if edges.takes or at.id in _edges(before).success else []


def _origin(app: Celeriac, record: Record | None) -> Record | None:
    """What *record* ended because of, or itself; None if that is not kept."""
    if record is None or not record.cause:
        return record
    return app.store.inspection.get([record.cause])[0]


def _note(done: Retried, reopened: Sequence[str]) -> None:
    if reopened:
        done.runs.append(reopened[0])
    done.reopened += reopened


def _failures(app: Celeriac, flow: str) -> list[Record]:
    """What ended without success by itself."""
    return [
        each
        for each in _parts(app, flow)
        if not each.cause and each.state in states.REOPENABLE - {states.SKIPPED}
    ]


def _failed_members(app: Celeriac, flow: str, join: str) -> list[str]:
    """Parts of the header of *join* that failed by themselves or as bodies of failed chords."""
    return [
        each.id
        for each in _parts(app, flow)
        if each.state in states.REOPENABLE - {states.SKIPPED}
        and _joined(each) == join
        and (not each.cause or _edges(each).gathers is not None)
    ]


def _still_missing(app: Celeriac, done: Retried) -> list[str]:
    """Other failed members of the chords that what runs again is a member of."""
    missing: dict[str, None] = {}
    for id in done.runs:
        record = app.store.inspection.get([id])[0]
        joined = None if record is None else _joined(record)
        join = None if joined is None else app.store.inspection.join(joined)
        if record is not None and join is not None and join.decided == "failed":
            missing |= dict.fromkeys(_failed_members(app, _header_flow(record), join.id))
    return [each for each in missing if each not in done.reopened]


def _parts(app: Celeriac, flow: str) -> Iterator[Record]:
    after = None
    while flow:
        page = app.store.inspection.flow(flow, after, _PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].id


# -- reading records ---------------------------------------------------------------------------


def _edges(record: Record) -> Edges:
    message = message_of(record)
    return _NO_EDGES if message is None else message.header.edges or _NO_EDGES


def _joined(record: Record) -> str | None:
    edges = _edges(record)
    member = edges.join or edges.within
    return None if member is None else member[0]


def _header_flow(record: Record) -> str:
    message = message_of(record)
    return "" if message is None else message.header.flow


def _why_not(app: Celeriac, id: str) -> Left:
    record = app.store.inspection.get([id])[0]
    if record is None:
        return _UNKNOWN if flow_of(app.store, id) is None else _GROUP
    if record.state == states.SUCCEEDED:
        return Left("succeeded", "it has succeeded; there is nothing to retry")
    if record.state not in states.TERMINAL:
        return Left("unfinished", f"it has not ended (it is {record.state}); nothing to retry")
    if record.cause and app.store.inspection.get([record.cause])[0] is None:
        return Left("gone", f"what it ended because of, {record.cause}, is no longer kept")
    if record.wire is None:
        return Left("not kept", "its arguments are no longer kept; send it anew")
    wanting = _wanting(app, id)
    if wanting:
        more = f" and {len(wanting) - 1:,} more" if len(wanting) > 1 else ""
        return Left(
            "upstream",
            f"its turn comes once {wanting[0]}{more} has succeeded, which ended without success. "
            "Retry that first",
        )
    of = "of it, of what it ended because of or of what waits for it"
    lost = Left("not kept", f"{of}, something is no longer kept")
    return _held_up(app, id) or _no_turn(app, record) or lost


def _stamped(app: Celeriac, id: str) -> Left | None:
    """Why a worker would only revoke *id* again; None if it would not."""
    record = app.store.inspection.get([id])[0]
    if record is None or record.state not in states.REOPENABLE:
        return None
    revoked = revoked_stamps(app.store, record)
    if not revoked:
        return None
    return Left(
        "stamped",
        f"it would be revoked again: whatever {by_stamp(revoked)}. Send it anew, without that "
        "stamp",
    )


def _held_up(app: Celeriac, id: str) -> Left | None:
    """Why *id* is not reopened as long as an errback runs, or is due; None if none does."""
    record = app.store.inspection.get([id])[0]
    called = None if record is None else _errback_called(app, record)
    if called is None:
        return None
    return Left(
        "errback",
        f"its errback {called.task}[{called.id}] has not ended (it is {called.state}): it is "
        "called for this failure, and until it has ended it could not be called for the next "
        f"one. Retry it then, or call that off: celeriac revoke {called.id}",
    )


def _no_turn(app: Celeriac, record: Record) -> Left | None:
    """Why the turn of *record*, or of what it ended because of, has not come and will not."""
    at = _origin(app, record)
    edges = _NO_EDGES if at is None else _edges(at)
    if at is None or not edges.waits:
        return None
    if edges.gathers is not None:
        join = app.store.inspection.join(edges.gathers)
        if join is not None and join.decided == "failed" and not join.cause:
            return Left("incomplete", "its header was never sent whole; send the workflow anew")
        return None
    before = app.store.inspection.get([edges.behind])[0] if edges.behind else None
    ways = _NO_EDGES if before is None else _edges(before)
    if before is None or at.id not in (*ways.failure, *ways.own):
        return None
    return Left("upstream", f"it is for when {before.id} has failed, which is {before.state}")


def _errback_called(app: Celeriac, record: Record) -> Record | None:
    """An errback, or what follows one, that would be reopened with *record* and has not ended."""
    cause = record.cause or record.id
    seen = {cause}
    todo = deque([(cause, False)])
    while todo:
        id, whole = todo.popleft()
        found = app.store.inspection.get([id])[0]
        if found is None or not (whole or cause in (id, found.cause)):
            continue
        if found.state not in states.TERMINAL:
            return found
        edges = _edges(found)
        after = [(each, True) for each in (*edges.failure, *edges.own)]
        after += [(each, whole) for each in edges.success]
        member = edges.join or edges.within
        join = None if member is None else app.store.inspection.join(member[0])
        after += [] if join is None else [(join.body, whole)]
        todo += [each for each in after if each[0] not in seen]
        seen |= {each for each, _ in after}
    return None


# -- arguments ---------------------------------------------------------------------------------


def _may_run(app: Celeriac, id: str) -> bool:
    """Whether *id* is there, has ended without success and is what would run again.

    Raises ``ValueError`` if another part would: whose arguments these are is a guess then.
    """
    record = app.store.inspection.get([id])[0]
    if record is None or record.state not in states.REOPENABLE:
        return False
    if record.cause:
        raise ValueError(
            f"task {id} has not run: it ended because of {record.cause}, which is what runs again. "
            "Mend the arguments of that one, by its id"
        )
    return True


def _mended(
    app: Celeriac, id: str, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> Message:
    """Return the message of *id* with new arguments, signed anew.

    Raises ``TypeError`` for arguments that its task does not take, or not of these types.
    """
    record = app.store.inspection.get([id])[0]
    if record is None or record.wire is None:
        raise CeleriacError(f"the message of task {id} is not kept; send it anew")
    old = decode(record.wire)
    verify(old, app.signer)
    header = old.header
    if args is None or kwargs is None:
        accepted = app.conf.accept_content
        kept = decode_value(header.serializer, old.content(), accepted)
        args = kept[0] if args is None else args
        kwargs = kept[1] if kwargs is None else kwargs
    args, kwargs = checked_call(args, kwargs)
    task = app.tasks.get(header.task)
    mask = None
    if task is not None:
        mask = task.mask
        edges = header.edges or _NO_EDGES
        if len(edges.given) == 1:  # an errback may be called in two ways, and says so itself
            _check(task, edges.given[0], args, kwargs)
    if header.expires is not None and header.expires <= app.client.wall():
        header = msgspec.structs.replace(header, expires=None)
    return decode(app.client.reissue(header, args, kwargs, {}, mask))


def _check(
    task: Task[..., Any], given: int, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    if not given:
        task.arguments.check(args, dict(kwargs))
        task.arguments.convert(args, dict(kwargs))
        return
    try:
        task.arguments.check((None, *args), dict(kwargs))
    except TypeError as error:
        raise TypeError(
            f"{error}. The first is the result of what is before it; give those after that"
        ) from None
