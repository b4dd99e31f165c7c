"""Live events: receiving and sending them, ``app.events``.

Layer 4. Events are published on the store's bus, at most once, to whoever listens then. Workers
publish those of tasks only while somebody listens, so a receiver says again and again that it
does.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from celeriac.clock import SYSTEM
from celeriac.control import notes
from celeriac.control.connection import check_connection
from celeriac.control.eventstate import State
from celeriac.control.mailbox import Mailbox
from celeriac.control.wire import EVENTS, open_events, seal_events
from celeriac.exceptions import (
    DecodeError,
    OperationalError,
    PayloadTooLarge,
    SecurityError,
)
from celeriac.later import missing
from celeriac.message import Message

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["Dispatcher", "Events", "Receiver", "publish"]

logger = logging.getLogger("celeriac.events")

#: How often a receiver says that it listens, and for how long that holds, seconds.
ANNOUNCE: Final = 5.0
HOLDS: Final = 15.0
_LONGEST_TYPE: Final = 128
_LATER: Final = dict.fromkeys(("dispatcher_cls", "receiver_cls", "state_cls"), "")

Handler = Callable[[dict[str, Any]], object]
_clock = itertools.count(1)


class Receiver:
    """Hears events and calls a handler for each: that of its type, else that of ``"*"``.

    Args:
        app: whose namespace is listened to.
        handlers: type of event to callable, which gets the event as a dictionary.
        routing_key: which types are heard: ``#`` for all, ``task.#``, ``worker.*``.
    """

    def __init__(
        self, app: Celeriac, handlers: Mapping[str, Handler] | None = None, routing_key: str = "#"
    ) -> None:
        self.app = app
        self.handlers = dict(handlers or {})
        self.routing_key = routing_key
        self.should_stop = False
        self._group = routing_key.partition(".")[0].rstrip("#*")
        self._refused = False

    def capture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> None:
        """Hear events and hand them on, until *limit* of them came or ``should_stop`` is set.

        With *wakeup* workers are asked to tell at once that they live. Raises ``TimeoutError`` if
        nothing comes for *timeout* seconds.
        """
        for event in self.events(limit, timeout, wakeup=wakeup):
            self.process(event["type"], event)

    def process(self, type: str, event: dict[str, Any]) -> None:
        """Call the handler of *event*."""
        handler = self.handlers.get(type) or self.handlers.get("*")
        if handler is not None:
            handler(event)

    def events(
        self, limit: int | None = None, timeout: float | None = None, *, wakeup: bool = True
    ) -> Iterator[dict[str, Any]]:
        """The events themselves, as they come; see :meth:`capture`."""
        store = self.app.store
        ears = store.bus.listen(EVENTS)
        seen, announce_at, heard_at = 0, 0.0, SYSTEM.monotonic()
        try:
            while not self.should_stop and (limit is None or seen < limit):
                now = SYSTEM.monotonic()
                if now >= announce_at:
                    self._announce()
                    if wakeup and not announce_at:
                        self.wakeup_workers()
                    announce_at = now + ANNOUNCE
                until = announce_at if timeout is None else min(announce_at, heard_at + timeout)
                data = ears.get(max(0.0, until - now))
                if data is None and timeout is not None:
                    self._check(heard_at, timeout)
                for event in self._read(data):
                    heard_at = SYSTEM.monotonic()
                    if event["type"] == "worker-online":
                        announce_at = min(announce_at, heard_at)  # it does not know that we listen
                    if self._group and not event["type"].startswith(f"{self._group}-"):
                        continue
                    seen += 1
                    yield event
                    if limit is not None and seen >= limit:
                        return
        finally:
            ears.close()

    itercapture = events

    @staticmethod
    def _check(heard_at: float, timeout: float) -> None:
        if SYSTEM.monotonic() - heard_at >= timeout:
            raise TimeoutError(f"no event came within {timeout:g} s")

    def _announce(self) -> None:
        Mailbox(self.app.store, self.app.signer).tell("listening", {"seconds": HOLDS})

    def wakeup_workers(self, channel: object = None) -> None:
        """Ask workers for a ``worker-heartbeat`` now."""
        Mailbox(self.app.store, self.app.signer).tell("heartbeat")

    def _read(self, data: bytes | None) -> Iterable[dict[str, Any]]:
        if data is None:
            return []
        try:
            events = open_events(self.app.signer, data)
        except (DecodeError, SecurityError) as error:
            if not self._refused:
                self._refused = True
                logger.error("Events were refused: %s", error)
            return []
        now = SYSTEM.wall()
        return [{**each, "local_received": now} for each in events if "type" in each]


class Dispatcher:
    """Sends events of your own: ``app.events.default_dispatcher().send("task-mine", uuid=…)``."""

    def __init__(self, app: Celeriac, hostname: str | None = None, enabled: bool = True) -> None:
        from celeriac.client import origin

        self.app = app
        self.hostname = hostname or origin()
        self.enabled = enabled

    def send(self, type: str, **fields: Any) -> None:
        """Publish one event to whoever listens now.

        Raises ``TypeError`` or ``ValueError`` for a *type* that is no text of 1 to 128 characters.
        """
        if not isinstance(type, str):
            raise TypeError(f"the type of an event is {type!r}; it must be text, as task-halfway")
        if not 1 <= len(type) <= _LONGEST_TYPE:
            raise ValueError(
                f"the type of an event has {len(type)} characters; it must have 1 to "
                f"{_LONGEST_TYPE}. What is to be told goes into its fields"
            )
        if self.enabled:
            publish(
                self.app, {**notes.base(type, self.hostname, next(_clock), SYSTEM.wall()), **fields}
            )

    def enable(self) -> None:
        """Send from now on."""
        self.enabled = True

    def disable(self) -> None:
        """Send nothing from now on."""
        self.enabled = False

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def publish(app: Celeriac, *events: dict[str, Any]) -> None:
    """Publish *events* at once. Raises ``OperationalError`` and ``PayloadTooLarge``."""
    app.store.bus.publish(EVENTS, seal_events(app.signer, list(events)))


class Events:
    """``app.events``."""

    State = State

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    @property
    def Receiver(self) -> Any:  # noqa: N802 - Celery's name
        """``Receiver(connection, handlers={…}, routing_key="#")``, of this app."""
        return partial(_receiver, self._app)

    @property
    def Dispatcher(self) -> Any:  # noqa: N802 - Celery's name
        """``Dispatcher(connection, hostname=None, enabled=True)``, of this app."""
        return partial(_dispatcher, self._app)

    def default_dispatcher(self, hostname: str | None = None, enabled: bool = True) -> Any:
        """What sends events of this app: a :class:`~celeriac.control.events.Dispatcher`."""
        return self.Dispatcher(None, hostname, enabled)

    def sent(self, messages: Sequence[Message]) -> None:
        """Tell that calls were stored. They are, so an event that is lost is no error."""
        for message in messages:
            self._tell("task-sent", **notes.sent(message))

    def revoked(self, ids: Iterable[str]) -> None:
        """Tell that tasks were revoked before a worker had them: no worker tells of those."""
        for id in ids:
            self._tell("task-revoked", uuid=id, terminated=False, signum=None, expired=False)

    def _tell(self, kind: str, **fields: Any) -> None:
        try:
            self.default_dispatcher().send(kind, **fields)
        except (OperationalError, PayloadTooLarge) as error:
            logger.debug("An event %s was lost: %s", kind, error)

    def __getattr__(self, name: str) -> Any:
        raise missing("app.events", name, _LATER)


def _receiver(
    app: Celeriac,
    channel: object = None,
    handlers: Mapping[str, Handler] | None = None,
    routing_key: str = "#",
    node_id: str | None = None,
) -> Receiver:
    check_connection(channel, "Receiver()")
    return Receiver(app, handlers, routing_key)


def _dispatcher(
    app: Celeriac,
    connection: object = None,
    hostname: str | None = None,
    enabled: bool = True,
) -> Dispatcher:
    check_connection(connection, "Dispatcher()")
    return Dispatcher(app, hostname, enabled)
