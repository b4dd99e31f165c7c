"""Commands and live events through PUBLISH: at most once. Part of the Redis store."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Final

from celeriac.backoff import reconnect
from celeriac.clock import SYSTEM
from celeriac.stores.base import Subscription
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.ear import Ear
from celeriac.stores.redis.troubles import Unreachable

#: Seconds of silence after which a listener makes sure that the server is still there.
PATIENCE: Final = 15.0
#: A listener that falls this far behind loses the oldest: the bus is a hint, not a queue.
_BACKLOG: Final = 10_000


class RedisBus:
    """``stores.base.Bus``: a connection for each subscription."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def publish(self, channel: str, data: bytes) -> None:
        self._connection.call(b"PUBLISH", self._name(channel), data)

    def listen(self, channel: str) -> Subscription:
        return _Listening(self._connection, self._name(channel))

    def _name(self, channel: str) -> bytes:
        return self._connection.prefix + b"bus:" + channel.encode()


class _Listening:
    """One subscription. It outlives an outage: what was said meanwhile is missed."""

    def __init__(self, connection: Connection, channel: bytes) -> None:
        self._connection = connection
        self._channel = channel
        self._arrived: deque[bytes] = deque(maxlen=_BACKLOG)
        self._ended, self._end = os.pipe()
        self._open = True
        self._pid = os.getpid()
        self._closing = threading.Lock()
        self._ear: Ear | None = self._begin(connection.options.timeout)

    def get(self, timeout: float | None) -> bytes | None:
        until = None if timeout is None else SYSTEM.monotonic() + timeout
        attempt = 0
        while self._open:
            if self._arrived:
                return self._arrived.popleft()
            left = PATIENCE if until is None else until - SYSTEM.monotonic()
            if left <= 0:
                return None
            try:
                if self._ear is None:
                    self._ear = self._begin(left)
                heard = self._ear.heard(left, self._ended)
                self._arrived.extend(data for _, data in heard if data is not None)
                attempt = 0
            except Unreachable:
                self._drop()
                pause = reconnect(min(attempt, 5))
                attempt += 1
                if until is not None and SYSTEM.monotonic() + pause >= until:
                    raise
                self._pause(pause)
        return None

    def close(self) -> None:
        with self._closing:
            if not self._open:
                return
            self._open = False
            # Stays readable: whoever waits, now or later, sees it.
            os.write(self._end, b"e")

    def _begin(self, patience: float) -> Ear:
        """A new link, on which the channel is confirmed: what is published from now on is heard."""
        ear = Ear(self._connection, PATIENCE)
        try:
            ear.subscribe([self._channel])
            until = SYSTEM.monotonic() + self._connection.options.timeout
            confirmed = False
            while not confirmed:
                heard = ear.heard(max(0.0, until - SYSTEM.monotonic()))
                confirmed = any(data is None for _, data in heard)
                self._arrived.extend(data for _, data in heard if data is not None)
                if not confirmed and SYSTEM.monotonic() > until:
                    raise Unreachable(
                        f"{self._connection.location.shown} does not confirm a subscription."
                    )
        except BaseException:
            ear.close()
            raise
        return ear

    def _pause(self, seconds: float) -> None:
        """Sleep, but for :meth:`close`."""
        import select

        ended = select.poll()
        ended.register(self._ended, select.POLLIN)
        ended.poll(seconds * 1000)

    def _drop(self) -> None:
        ear, self._ear = self._ear, None
        if ear is not None:
            ear.close()

    def __del__(self) -> None:
        ear = getattr(self, "_ear", None)
        if ear is not None:
            ear.close()
        os.close(self._ended)
        os.close(self._end)
