"""Upstream: what really failed where a part of a workflow has not run.

Layer 4; for ``ends`` (what ``get()`` raises) and ``calls`` (what errbacks are told). A part that
another one's end has ended carries that one's id as its ``cause``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from celeriac.exceptions import CeleryError, ChordError
from celeriac.failures import describe
from celeriac.message import ADDED, Edges, Message, decode
from celeriac.records import Record, StoredResult
from celeriac.sensitive import shown_args, shown_kwargs
from celeriac.serialization import decode as decode_value

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.stores.base import Results, Store

__all__ = ["Ended", "Reader", "Stored", "Told", "arguments_of", "error_of", "told_of"]

_UPSTREAM: Final = "UpstreamFailed: upstream "
_CHORD: Final = "ChordError: member "
_NO_EDGES: Final = Edges()


class Reader(Protocol):
    """Where records and results are read from: the app's stores, or a run without one."""

    def record(self, id: str) -> Record | None:
        """One record."""

    def records(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """Several records, in the order of *ids*."""

    def result(self, id: str) -> StoredResult | None:
        """One result."""

    def body(self, join: str) -> str | None:
        """The id of a join's body."""

    def taken(self, id: str) -> StoredResult | None:
        """The result that a successor takes: from where the records are."""

    def gathered(self, join: str) -> list[StoredResult | None]:
        """The results that a join's body gathers."""


class Stored:
    """Stores as a reader; by default the app's."""

    def __init__(
        self, app: Celeriac, store: Store | None = None, results: Results | None = None
    ) -> None:
        self._app = app
        self._own = store
        self._own_results = results

    @property
    def _store(self) -> Store:
        # Asked for anew each time: the app may be lent another one, and opens its own when needed.
        return self._own or self._app.store

    @property
    def _results(self) -> Results:
        return self._own_results or self._app.results

    def record(self, id: str) -> Record | None:
        """One record."""
        return self._store.inspection.get([id])[0]

    def records(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """Several records."""
        return self._store.inspection.get(ids)

    def result(self, id: str) -> StoredResult | None:
        """One result."""
        return self._results.get_many([id])[0]

    def body(self, join: str) -> str | None:
        """The id of a join's body."""
        found = self._store.inspection.join(join)
        return None if found is None else found.body

    def taken(self, id: str) -> StoredResult | None:
        """The result that a successor takes."""
        return self._store.results.get_many([id])[0]

    def gathered(self, join: str) -> list[StoredResult | None]:
        """The results that a join's body gathers."""
        return self._store.results.join_results(join)


class Ended(NamedTuple):
    """A record that has ended, and its message."""

    record: Record
    message: Message | None

    @property
    def edges(self) -> Edges:
        """Its edges."""
        return _NO_EDGES if self.message is None else self.message.header.edges or _NO_EDGES

    @property
    def joined(self) -> str | None:
        """The nearest join that it is a part of a branch of."""
        member = self.edges.join or self.edges.within
        return None if member is None else member[0]


class Told(NamedTuple):
    """What an errback is told: of which task, its header, what it raised and the traceback."""

    id: str
    record: Record | None
    error: BaseException
    traceback: str | None


def error_of(app: Celeriac, found: StoredResult, reader: Reader | None = None) -> Any:
    """Return the exception for a part that ended because of another one; None if it is no such.

    It is the other one's own, with a note, or, for the body of a chord, a ``ChordError`` that names
    the member, its arguments and its exception.
    """
    reason = found.reason
    if not reason.startswith((_UPSTREAM, _CHORD)):
        return None
    reader = reader or Stored(app)
    own = _read(reader, found.id)
    cause = _read(reader, own.record.cause) if own is not None and own.record.cause else None
    if own is None or cause is None:
        return None
    result = reader.result(cause.record.id)
    if result is None:
        return None
    from celeriac.ends import meaning_of

    error = meaning_of(app, result, reader)
    if not isinstance(error, BaseException):
        return None
    if _is_member(cause, own):
        return _chord_error(app, cause, own, error)
    joined = cause.joined
    if joined is not None and own.joined != joined:  # a chord is between them, and failed first
        body = reader.body(joined)
        ended = None if body is None or body == found.id else reader.result(body)
        if ended is not None:
            return error_of(app, ended, reader) or error
    error.add_note(f"Raised by task {_named(app, cause)}, without which {found.id} cannot run.")
    return error


def told_of(app: Celeriac, id: str, reader: Reader | None = None) -> Told:
    """Return what an errback about task *id* is told: of *id*, or of that which made it fail."""
    reader = reader or Stored(app)
    own = _read(reader, id)
    at = own
    if own is not None and own.record.cause:
        cause = _read(reader, own.record.cause)
        if cause is not None and not _is_member(cause, own):
            at = cause
    name = id if at is None else at.record.id
    result = reader.result(name)
    from celeriac.ends import body_of, meaning_of

    error = None if result is None else meaning_of(app, result, reader)
    if not isinstance(error, BaseException):
        reason = "" if result is None else result.reason
        error = CeleryError(f"task {name} ended without success{reason and f': {reason}'}")
    body = body_of(app, result)
    text = body.failure.traceback if body is not None and body.failure is not None else None
    return Told(name, None if at is None else at.record, error, text)


def _read(reader: Reader, id: str) -> Ended | None:
    record = reader.record(id)
    if record is None:
        return None
    message = None
    if record.wire is not None:
        try:
            message = decode(record.wire)
        except CeleryError:
            message = None  # a newer client's; what is known of it is the record
    return Ended(record, message)


def _is_member(cause: Ended, body: Ended) -> bool:
    """Whether *cause* is part of the header of the chord whose body is *body*."""
    return body.edges.gathers is not None and cause.joined == body.edges.gathers


def _chord_error(app: Celeriac, cause: Ended, body: Ended, error: BaseException) -> ChordError:
    member = cause.edges.join or cause.edges.within
    if member is None:
        which = "member "
    elif member[1] >= ADDED:
        which = "a member added to the header, "
    else:
        which = f"member {member[1]} of the header, "
    made = ChordError(f"{which}{_named(app, cause)}, ended without success: {describe(error)}")
    made.__cause__ = error
    return made


def _named(app: Celeriac, ended: Ended) -> str:
    """A call for people: task, arguments (without those it hides) and id."""
    record, message = ended
    return f"{record.task}{arguments_of(app, record.task, message)}[{record.id}]"


def arguments_of(app: Celeriac, name: str, message: Message | None) -> str:
    """The arguments of a call of the task *name*, for people: ``(1, 2)``, cut short and without
    those it hides; "" if they are not kept, or cannot be read. Of a part that takes a result they
    are those after it: ``(…, 2)``."""
    if message is None:
        return ""
    header = message.header
    args, kwargs = header.argsrepr, header.kwargsrepr
    edges = header.edges or _NO_EDGES
    if not (args or kwargs):
        # Who sent it hides nothing, or did not know what the task hides.
        task = app.tasks.get(name)
        mask = None if task is None or task.mask is None else task.mask.behind(edges.given)
        try:
            call = decode_value(header.serializer, message.content(), app.conf.accept_content)
            args = shown_args(call[0], mask and mask.hides_place)
            kwargs = shown_kwargs(call[1], mask and mask.hides)
        except (CeleryError, ValueError, TypeError, IndexError):
            return ""  # whoever reads this may not be able to read what was sent
    inner = [
        "" if edges.given == (0,) else "…",
        args.removeprefix("(").removesuffix(")").rstrip(","),
        kwargs.removeprefix("{").removesuffix("}"),
    ]
    return f"({', '.join(each for each in inner if each)})"
