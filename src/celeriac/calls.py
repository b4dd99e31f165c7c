"""Calls: what a task is called with, read from its message and from results it takes.

Layer 4; for the runner.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.bodies import unseal
from celeriac.context import Context, placed, stamped
from celeriac.ends import arguments_of
from celeriac.exceptions import CeleryError, InvalidTaskError, OperationalError
from celeriac.failures import describe
from celeriac.logs import TASK
from celeriac.malformed import MALFORMED
from celeriac.message import Header, Message, decode
from celeriac.records import Delivery
from celeriac.serialization import decode as decode_value
from celeriac.upstream import Reader, Stored, told_of

if TYPE_CHECKING:
    from celeriac.ahead import Ahead
    from celeriac.app.base import Celeriac
    from celeriac.app.task import Task

__all__ = ["Calls", "is_taken"]

log: Final = logging.getLogger(TASK)


class Calls:
    """Reads calls as the settings of *app* allow, what they take from *reader*."""

    def __init__(self, app: Celeriac, reader: Reader | None = None) -> None:
        self._app = app
        self._reader: Reader = reader or Stored(app)

    def arguments(
        self, task: Task[..., Any], delivery: Delivery, message: Message
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what *task* is called with, checked and converted.

        Raises whatever a class that arguments become raises, ``TypeError`` for arguments that do
        not fit, and ``CeleryError`` for a message that cannot be read.
        """
        header = message.header
        accept = self._app.conf.accept_content
        content = message.content() if header.compression else message.payload
        call = decode_value(header.serializer, content, accept)
        if not (
            isinstance(call, list)
            and len(call) == 2
            and isinstance(call[0], list)
            and isinstance(call[1], dict)
        ):
            raise InvalidTaskError(
                "the payload of this message is not [arguments, keyword arguments]: whoever sent "
                "it does not speak this protocol"
            )
        args, kwargs = call
        arguments = task.arguments
        if header.edges is not None:
            if header.edges.told is not None and not header.edges.immutable:
                args = [*self._told(task, header.edges.told, args, kwargs), *args]
            else:
                args = [*self._inputs(header, delivery.inputs), *args]
        arguments.check(args, kwargs)
        converted, named = arguments.convert(tuple(args), kwargs)
        return tuple(converted), named

    def _inputs(self, header: Header, body: bytes | None = None) -> list[Any]:
        """The results that this call takes as its first argument, by reference; *body* is one that
        came along."""
        edges = header.edges
        if edges is None or edges.immutable:
            return []
        if edges.takes is not None:
            if body is None:
                found = self._reader.taken(edges.takes)
                body = None if found is None else found.body
            return [self._input(body, edges.takes)]
        if edges.gathers is not None:
            members = self._reader.gathered(edges.gathers)
            return [[None if each is None else self._input(each.body, each.id) for each in members]]
        return []

    def _told(
        self, task: Task[..., Any], id: str, args: list[Any], kwargs: dict[str, Any]
    ) -> list[Any]:
        """What an errback is called with before its own arguments: request, exception and traceback
        if it takes that many, else the id of the task that failed."""
        told = told_of(self._app, id, self._reader)
        try:
            task.arguments.check((None, None, None, *args), kwargs)
        except TypeError:
            return [told.id]
        record = told.record
        sent, named = arguments_of(self._app, record)
        header = None if record is None or record.wire is None else decode(record.wire).header
        taken: list[Any] = []
        # Only what has run took any.
        ran = record is not None and record.attempt > 0 and record.cause in ("", record.id)
        if header is not None and ran:
            try:
                taken = self._inputs(header)
            except OperationalError:
                raise  # it is read later
            except (CeleryError, *MALFORMED) as error:
                # Most likely what it failed for: that is told all the same.
                log.warning("Errback of %s: what it took cannot be read: %s", id, error)
        request = Context(
            id=told.id,
            task=None if record is None else record.task,
            args=(*taken, *(sent or ())),
            kwargs=named or {},
            retries=0 if record is None else record.retries,
            called_directly=False,
            hostname=None if record is None else record.worker,
        )
        if header is not None:
            request.update(placed(header), stamped(header), headers=header.headers, header=header)
            request.ahead = self.ahead(header)
        return [request, told.error, told.traceback]

    def ahead(self, header: Header) -> Ahead | None:
        """Return what reads what comes after a call with this header; None in no workflow."""
        if header.edges is None:
            return None
        from celeriac.ahead import Ahead

        return Ahead(self._app, header, self._reader)

    def _input(self, data: bytes | None, id: str) -> Any:
        body = None if data is None else unseal(data, id, self._app.signer)
        if body is None or body.value is None:
            return None
        conf = self._app.conf
        accept = conf.result_accept_content or conf.accept_content
        return decode_value(body.serializer, body.content() or b"", accept)

    def as_sent(self, delivery: Delivery) -> tuple[Sequence[Any], dict[str, Any]]:
        """The arguments of a call as they can be read, unchecked; none if they cannot."""
        try:
            message = decode(delivery.wire)
            accept = self._app.conf.accept_content
            args, kwargs = decode_value(message.header.serializer, message.content(), accept)
            return tuple(args), dict(kwargs)
        except Exception as error:  # noqa: BLE001 - the payload may be anything
            log.debug("Task %s: its arguments cannot be read: %s", delivery.id, describe(error))
            return (), {}


def is_taken(header: Header | None) -> bool:
    """Whether another part of the workflow takes the result, so that it is stored until then."""
    edges = None if header is None else header.edges
    return edges is not None and bool(edges.success or edges.join)
