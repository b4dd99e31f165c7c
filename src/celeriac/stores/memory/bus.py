"""The bus of the memory store. Private to ``stores/memory``."""

from __future__ import annotations

import threading
import time
from collections import deque

from celeriac.stores.base import Subscription
from celeriac.stores.memory.core import Core

#: A listener that falls this far behind loses the oldest: the bus is a hint, not a queue.
_BACKLOG = 10_000


class MemoryBus:
    """``stores.base.Bus`` in this process."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._listeners: dict[str, list[_Listener]] = {}

    def publish(self, channel: str, data: bytes) -> None:
        with self._core.step():
            listeners = list(self._listeners.get(channel, ()))
        for listener in listeners:
            listener.put(data)

    def listen(self, channel: str) -> Subscription:
        listener = _Listener(self, channel)
        with self._core.step():
            self._listeners.setdefault(channel, []).append(listener)
        return listener

    def leave(self, listener: _Listener) -> None:
        with self._core.step():
            others = self._listeners.get(listener.channel, [])
            if listener in others:
                others.remove(listener)
            if not others:
                self._listeners.pop(listener.channel, None)


class _Listener:
    def __init__(self, bus: MemoryBus, channel: str) -> None:
        self.channel = channel
        self._bus = bus
        self._arrived: deque[bytes] = deque(maxlen=_BACKLOG)
        self._changed = threading.Condition()
        self._closed = False

    def put(self, data: bytes) -> None:
        with self._changed:
            self._arrived.append(data)
            self._changed.notify()

    def get(self, timeout: float | None) -> bytes | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._arrived:
                left = None if deadline is None else deadline - time.monotonic()
                if self._closed or (left is not None and left <= 0):
                    return None
                self._changed.wait(left)
            return self._arrived.popleft()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._bus.leave(self)


__all__ = ["MemoryBus"]
