"""A socket with the reader of replies: bytes out, replies in, each by a deadline.

Part of the Redis store, and all of it that is done for each round trip; so it stands close to the
system: the parser is hiredis, and of redis-py's connection nothing is used, which costs more than
the round trip of a small script. Deadlines are moments of the monotonic clock; None: for ever.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
from collections.abc import Callable
from math import ceil
from typing import Any, Final, NoReturn

import hiredis
import redis

from celeriac.clock import SYSTEM

_READ: Final = 1 << 15
#: There is no reply yet.
NONE: Final = object()
_monotonic: Final = SYSTEM.monotonic


class Wire:
    """One socket, connected and secured, for one thread at a time.

    What it raises is an ``OSError`` (``TimeoutError`` among them), ``redis.ConnectionError`` or
    ``redis.InvalidResponse``. It waits by the timeout of the socket, as TLS needs it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pid = os.getpid()
        self._buffer = bytearray(_READ)
        self._reader: Any = hiredis.Reader(  # its types know no bytearray
            protocolError=redis.InvalidResponse,
            replyError=redis.ResponseError,
            notEnoughData=NONE,
        )

    def send(self, data: bytes, deadline: float | None) -> None:
        """Send all of *data*."""
        self._arm(deadline)
        try:
            self._sock.sendall(data)
        except ssl.SSLError:
            # A server that turned us down has hung up; why, it said before.
            self._sock.recv(1)
            raise

    def receive(self, deadline: float | None) -> Any:
        """The next reply; an error reply is returned, too."""
        reader = self._reader
        reply = reader.gets()
        while reply is NONE:
            count = self._receive(deadline)
            if not count:
                raise redis.ConnectionError("closed by the server")
            reader.feed(self._buffer, 0, count)
            reply = reader.gets()
        return reply

    def ahead(self) -> Any:
        """The next reply of those that have been read already; :data:`NONE` if there is none."""
        return self._reader.gets()

    def pending(self) -> bool:
        """Whether more has been read than was handed on, which ``poll`` does not see."""
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def fileno(self) -> int:
        return self._sock.fileno()

    def shutdown(self) -> None:
        """End what another thread waits for here."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close; in a forked child, the child's own descriptor only. Repeatable."""
        if self._pid == os.getpid():
            self.shutdown()
        with contextlib.suppress(OSError):
            self._sock.close()

    def _receive(self, deadline: float | None) -> int:
        self._arm(deadline)
        return self._sock.recv_into(self._buffer)

    def _arm(self, deadline: float | None) -> None:
        if deadline is None:
            self._sock.settimeout(None)
            return
        left = deadline - _monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        self._sock.settimeout(left)


class _PlainWire(Wire):
    """A wire in the clear. It never blocks but in ``poll``, so that a round trip is one send, one
    wait and one read: setting the socket's timeout for each would double the calls."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        sock.setblocking(False)
        self._readable = _poller(sock, select.POLLIN)

    def send(self, data: bytes, deadline: float | None) -> None:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._send_rest(data, sent, deadline)

    def close(self) -> None:
        # The descriptor's number may be another's by the next wait.
        self._readable = _closed
        super().close()

    def _send_rest(self, data: bytes, sent: int, deadline: float | None) -> None:
        writable = _poller(self._sock, select.POLLOUT)
        rest = memoryview(data)[sent:]
        while rest:
            _until(writable, deadline, "not sent in time")
            with contextlib.suppress(BlockingIOError):
                rest = rest[self._sock.send(rest) :]

    def _receive(self, deadline: float | None) -> int:
        while True:
            _until(self._readable, deadline, "no answer in time")
            try:
                return self._sock.recv_into(self._buffer)
            except BlockingIOError:
                continue  # a wake-up without cause


def wire(sock: socket.socket) -> Wire:
    """The wire of *sock*."""
    plain = hasattr(select, "poll") and not isinstance(sock, ssl.SSLSocket)
    return _PlainWire(sock) if plain else Wire(sock)


#: Waits for so many milliseconds, or for ever; whether something happened.
_Poll = Callable[[float | None], object]


def _poller(sock: socket.socket, event: int) -> _Poll:
    poller = select.poll()
    poller.register(sock, event)
    return poller.poll


def _until(happened: _Poll, deadline: float | None, late: str) -> None:
    if deadline is None:
        happened(None)
        return
    # Rounded up: poll() cuts to milliseconds, and 0 would spin.
    left = ceil((deadline - _monotonic()) * 1000)
    if left <= 0 or not happened(left):
        raise TimeoutError(late)


def _closed(_timeout: float | None) -> NoReturn:
    raise redis.ConnectionError("closed")


__all__ = ["NONE", "Wire", "wire"]
