"""One link that listens on channels, and what is said there.

Part of the Redis store. For one thread at a time. Nobody may notice that a server is cut off
without a word, so after a silence the server is asked for a sign of life; what was said while a
link was down is lost, so who listens is told of each new link and looks for itself.
"""

from __future__ import annotations

import select
from collections.abc import Iterable
from typing import Any, Final

import redis

from celeriac.clock import SYSTEM
from celeriac.stores.redis import troubles
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.link import BROKEN, Link, pack
from celeriac.stores.redis.wire import NONE

#: Channels one command names at most.
_BATCH: Final = 1000
#: What is read may have been sent long ago; the rest of it comes at once.
_SOON: Final = 5.0


class Ear:
    """A link for SUBSCRIBE. Opened by the constructor, which raises as ``Connection.link`` does.

    Args:
        connection: where to.
        patience: seconds of silence after which the server must give a sign of life.
    """

    def __init__(self, connection: Connection, patience: float) -> None:
        self._connection = connection
        self._patience = patience
        self._link: Link = connection.link()
        self._heard_at = SYSTEM.monotonic()
        self._asked_at: float | None = None

    def fileno(self) -> int:
        """The socket's descriptor, for ``poll``."""
        return self._link.fileno()

    def subscribe(self, channels: Iterable[bytes]) -> None:
        """Begin to hear *channels*; each is confirmed by :meth:`heard`."""
        self._command(b"SUBSCRIBE", channels)

    def unsubscribe(self, channels: Iterable[bytes]) -> None:
        """Hear *channels* no more."""
        self._command(b"UNSUBSCRIBE", channels)

    def heard(self, timeout: float, also: int = -1) -> list[tuple[bytes, bytes | None]]:
        """What was said: pairs of channel and data, None for data where it is confirmed.

        Waits until something was, for up to *timeout* seconds, or until the descriptor *also* can
        be read. Raises ``Unreachable`` if the link is dead.
        """
        found: list[tuple[bytes, bytes | None]] = []
        self._read_ahead(found)
        if found:
            return found
        ears = select.poll()
        ears.register(self._link.fileno(), select.POLLIN)
        if also >= 0:
            ears.register(also, select.POLLIN)
        # Rounded up: poll() cuts to milliseconds, and 0 would spin.
        ready = dict(ears.poll(min(timeout, self._until_asking()) * 1000 + 1))
        if self._link.fileno() in ready:
            now = self._heard_at = SYSTEM.monotonic()
            self._asked_at = None
            self._take(now + _SOON, found)
            self._read_ahead(found)
        elif not ready:
            self._ask()
        return found

    def close(self) -> None:
        """Close the link. Repeatable."""
        self._link.close()

    def hang_up(self) -> None:
        """End what another thread waits for in :meth:`heard`: it raises ``Unreachable``."""
        self._link.hang_up()

    # -- reading

    def _read_ahead(self, found: list[tuple[bytes, bytes | None]]) -> None:
        """Add what has come already, in full, beyond the last reply that was taken."""
        while True:
            try:
                said = self._link.ahead()
            except BROKEN as error:
                raise self._broken(error) from None
            if said is not NONE:
                self._add(said, found)
            elif not self._link.pending() or not self._take(SYSTEM.monotonic() + _SOON, found):
                return

    def _take(self, deadline: float, found: list[tuple[bytes, bytes | None]]) -> bool:
        """Add the next message to *found*; False if there is none by *deadline*."""
        try:
            said = self._link.receive(deadline)
        except TimeoutError:
            return False
        except BROKEN as error:
            raise self._broken(error) from None
        self._add(said, found)
        return True

    def _add(self, said: Any, found: list[tuple[bytes, bytes | None]]) -> None:
        if isinstance(said, redis.ResponseError):
            raise self._connection.refused(said, "SUBSCRIBE")
        message = _message(said)
        if message is not None:
            found.append(message)

    # -- being sure

    def _until_asking(self) -> float:
        since = self._heard_at if self._asked_at is None else self._asked_at
        return max(0.0, since + self._patience - SYSTEM.monotonic())

    def _ask(self) -> None:
        """After a silence: ask for a sign of life, or give up if the last asking had no answer."""
        if self._until_asking() > 0:
            return
        if self._asked_at is not None:
            raise self._broken(TimeoutError("silent"))
        self._asked_at = SYSTEM.monotonic()
        self._send(pack((b"PING",)))

    # -- writing

    def _command(self, name: bytes, channels: Iterable[bytes]) -> None:
        names = list(channels)
        for start in range(0, len(names), _BATCH):
            self._send(pack((name, *names[start : start + _BATCH])))

    def _send(self, packed: bytes) -> None:
        try:
            self._link.send(packed, SYSTEM.monotonic() + self._connection.options.timeout)
        except BROKEN as error:
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> troubles.Unreachable:
        return troubles.broken(self._connection.location, self._link.where, error)


def _message(said: Any) -> tuple[bytes, bytes | None] | None:
    kind = said[0] if isinstance(said, list) else b""
    if kind == b"message":
        return said[1], said[2]
    return (said[1], None) if kind == b"subscribe" else None
