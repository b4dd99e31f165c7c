"""Celery's module of events: doors to :mod:`celeriac.control.events`, under the names known there.

Layer 4. ``app.events`` is the shorter way to the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from celeriac.app.current import app_or_default
from celeriac.clock import SYSTEM
from celeriac.control.connection import Connection, check_connection
from celeriac.control.events import Dispatcher, Handler, Receiver
from celeriac.later import absent

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["Event", "EventDispatcher", "EventReceiver", "group_from"]

_BUS: Final = "Events are published on the store's bus; there are no exchanges."
_LATER: Final = {
    **dict.fromkeys(("event_exchange", "get_exchange", "EVENT_EXCHANGE_NAME"), _BUS),
    **dict.fromkeys(
        ("snapshot", "dumper", "cursesmon"), "Read `celeriac events`, or write a receiver."
    ),
}


class EventReceiver(Receiver):
    """:class:`~celeriac.control.events.Receiver`, made as in Celery: of a connection."""

    def __init__(
        self,
        channel: object = None,
        handlers: Mapping[str, Handler] | None = None,
        routing_key: str = "#",
        node_id: str | None = None,
        app: Celeriac | None = None,
    ) -> None:
        super().__init__(_app_of(channel, app, "EventReceiver()"), handlers, routing_key)


class EventDispatcher(Dispatcher):
    """:class:`~celeriac.control.events.Dispatcher`, made as in Celery: of a connection."""

    def __init__(
        self,
        connection: object = None,
        hostname: str | None = None,
        enabled: bool = True,
        app: Celeriac | None = None,
    ) -> None:
        super().__init__(_app_of(connection, app, "EventDispatcher()"), hostname, enabled)


def _app_of(connection: object, app: Celeriac | None, what: str) -> Celeriac:
    check_connection(connection, what)
    if app is None and isinstance(connection, Connection):
        return connection.app
    return app_or_default(app)


def Event(type: str, _fields: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:  # noqa: N802
    """An event as data: its type, its fields, and now as its time unless they say another."""
    return {"timestamp": SYSTEM.wall(), **(_fields or {}), **fields, "type": type}


def group_from(type: str) -> str:
    """``task`` for ``task-sent``."""
    return type.partition("-")[0]


def __getattr__(name: str) -> Any:
    raise absent(__name__, name, _LATER)
