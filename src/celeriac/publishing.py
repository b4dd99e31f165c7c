"""Publishing: the signals around the sending of a call.

Layer 4; for the client, which comes here only if somebody is connected to one of them. A message
is shown to receivers in the shapes of Celery's protocol 2. They may change ``headers`` (their own
ones, which the task reads in ``self.request.headers``), keyword arguments in ``body`` and the
``priority`` in ``properties``; everything else is there to be read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from celeriac import signals
from celeriac.checks import checked_headers, checked_priority
from celeriac.message import Header, Message
from celeriac.sensitive import shown_args, shown_kwargs
from celeriac.serialization import content_type, decode

if TYPE_CHECKING:
    from celeriac.client import Client

__all__ = ["Announced"]

log: Final = logging.getLogger("celeriac.signals")

_BEFORE: Final = signals.before_task_publish
_AFTER: Final = signals.after_task_publish
_SENT: Final = signals.task_sent


class Announced:
    """Messages that are about to be sent, as receivers saw and changed them."""

    def __init__(
        self, client: Client, messages: Sequence[Message], policy: Mapping[str, Any]
    ) -> None:
        rules = {**client.app.conf.task_publish_retry_policy, **policy}
        self._shown = [_Shown(client, each, rules) for each in messages]
        #: What is to be sent.
        self.messages = [each.message for each in self._shown]

    def sent(self) -> None:
        """The store has them."""
        for each in self._shown:
            each.sent()


class _Shown:
    """One message, before and after."""

    def __init__(self, client: Client, message: Message, policy: Mapping[str, Any]) -> None:
        header = message.header
        self.message = message
        args, kwargs = decode(header.serializer, message.content(), (header.serializer,))
        self._body: tuple[Any, Any, Any] = (tuple(args), kwargs, dict(_NO_EMBED))
        self._headers = _headers(header, args, kwargs)
        if not _BEFORE.has_listeners(header.task):
            return
        before = dict(self._headers)
        properties = _properties(header)
        _BEFORE.send(
            header.task, body=self._body, exchange="", routing_key=header.queue,
            headers=self._headers, properties=properties, declare=[], retry_policy=dict(policy),
        )  # fmt: skip
        self.message = self._changed(client, before, properties)

    def _changed(
        self, client: Client, before: Mapping[str, Any], properties: Mapping[str, Any]
    ) -> Message:
        """The message as receivers have left it."""
        message, header, shown = self.message, self.message.header, self._headers
        fixed = before.keys() - (header.headers or {}).keys()
        for name in fixed:
            if shown.get(name) != before[name]:
                log.error(
                    "A receiver of before_task_publish changed the header %r of task %s[%s], which "
                    "has no effect; headers of your own, body and priority may be changed",
                    name, header.task, header.id,
                )  # fmt: skip
        own = {name: value for name, value in shown.items() if name not in fixed}
        changes: dict[str, Any] = {}
        if own != (header.headers or {}):
            changes["headers"] = checked_headers(own) if own else None
        if properties.get("priority") != header.priority:
            changes["priority"] = checked_priority(properties.get("priority"))
        args, kwargs = self._body[0], self._body[1]
        payload = client.payload(
            header.task, args, kwargs, header.serializer, compression=header.compression
        )
        if not changes and payload == message.payload:
            return message
        return client.signed(msgspec.structs.replace(header, **changes), payload)

    def sent(self) -> None:
        header, (args, kwargs, _) = self.message.header, self._body
        _AFTER.send(
            header.task, body=self._body, headers=self._headers, exchange="",
            routing_key=header.queue,
        )  # fmt: skip
        _SENT.send(
            header.task, task_id=header.id, task=header.task, args=args, kwargs=kwargs,
            eta=self._headers["eta"], taskset=None,
        )  # fmt: skip


_NO_EMBED: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def _headers(header: Header, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """*header* as Celery's protocol 2 has it, the caller's own headers among the rest."""
    return {
        "lang": "py",
        "task": header.task,
        "id": header.id,
        "shadow": None,
        "eta": _iso(header.eta),
        "expires": _iso(header.expires),
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [header.time_limit, header.soft_time_limit],
        "root_id": header.root or header.id,
        "parent_id": header.parent or None,
        "argsrepr": header.argsrepr or shown_args(args),
        "kwargsrepr": header.kwargsrepr or shown_kwargs(kwargs),
        "origin": header.origin,
        "ignore_result": bool(header.ignore_result),
        "replaced_task_nesting": 0,
        "stamped_headers": None if header.stamps is None else list(header.stamps),
        "stamps": {} if header.stamps is None else dict(header.stamps),
        **(header.headers or {}),
    }


def _properties(header: Header) -> dict[str, Any]:
    return {
        "correlation_id": header.id,
        "reply_to": "",
        "priority": header.priority,
        "delivery_mode": 2,
        "content_type": content_type(header.serializer),
        "content_encoding": "utf-8" if header.serializer == "json" else "binary",
    }


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
