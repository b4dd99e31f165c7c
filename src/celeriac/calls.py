"""Calls: what a task is called with, read from its message and from results it takes.

Layer 4; for the runner.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.bodies import unseal
from celeriac.exceptions import InvalidTaskError
from celeriac.failures import describe
from celeriac.logs import TASK
from celeriac.message import Header, Message, decode
from celeriac.records import Delivery
from celeriac.serialization import decode as decode_value

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.app.task import Task

__all__ = ["Calls"]

log: Final = logging.getLogger(TASK)


class Calls:
    """Reads calls as the settings of *app* allow."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app

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
        if header.edges is not None:
            args = [*self._inputs(delivery, header), *args]
        arguments = task.arguments
        arguments.check(args, kwargs)
        converted, named = arguments.convert(tuple(args), kwargs)
        return tuple(converted), named

    def _inputs(self, delivery: Delivery, header: Header) -> list[Any]:
        """The results that this call takes as its first argument, by reference."""
        edges = header.edges
        if edges is None:
            return []
        if edges.takes is not None:
            body = delivery.inputs
            if body is None:
                found = self._app.store.results.get_many([edges.takes])[0]
                body = None if found is None else found.body
            return [self._input(body, edges.takes)]
        if edges.gathers is not None and not edges.immutable:
            members = self._app.store.results.join_results(edges.gathers)
            return [[None if each is None else self._input(each.body, each.id) for each in members]]
        return []

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
