"""Commands and live events over the bells' sockets: at most once. Part of the SQLite store."""

from __future__ import annotations

import contextlib
import errno
import os
import select
from typing import Final

from celeriac.clock import SYSTEM
from celeriac.exceptions import OperationalError, PayloadTooLarge
from celeriac.stores.base import Subscription
from celeriac.stores.sqlite.bells import Bell, Bells, quoted

#: Bytes one publication may have: what a datagram holds under the kernel's default limits.
PUBLISH_MAX: Final = 128 * 1024


class SqliteBus:
    """``stores.base.Bus``: one socket for each subscription, in a folder for each channel."""

    def __init__(self, bells: Bells) -> None:
        self._bells = bells

    def publish(self, channel: str, data: bytes) -> None:
        if len(data) > PUBLISH_MAX:
            raise PayloadTooLarge(len(data), PUBLISH_MAX)
        folder = f"bus.{quoted(channel)}"
        for name in self._bells.names(folder):
            # A listener that is gone or far behind misses it: that is what a hint may do.
            problem = self._bells.send(f"{folder}/{name}", data)
            if problem == errno.EMSGSIZE:
                raise PayloadTooLarge(len(data), PUBLISH_MAX)

    def listen(self, channel: str) -> Subscription:
        folder = f"bus.{quoted(channel)}"
        try:
            self._bells.subfolder(folder)
            name = f"{folder}/{self._bells.fresh_name('')}"
            return _Listening(self._bells, name, self._bells.bind(name))
        except OSError as error:
            raise OperationalError(
                f"Cannot listen on {channel!r}: no socket can be made in {self._bells.folder} "
                f"({error.strerror}). Put the database on a local disk of this machine."
            ) from error


class _Listening:
    """One subscription."""

    _open = False

    def __init__(self, bells: Bells, name: str, bell: Bell) -> None:
        self._bells = bells
        self._name = name
        self._bell = bell
        self._pid = os.getpid()
        # Wakes a thread that waits in get() when another one closes.
        self._ended, self._end = os.pipe()
        self._open = True

    def get(self, timeout: float | None) -> bytes | None:
        until = None if timeout is None else SYSTEM.monotonic() + timeout
        while self._open:
            ears = select.poll()
            ears.register(self._bell, select.POLLIN)
            ears.register(self._ended, select.POLLIN)
            left = None if until is None else max(0.0, until - SYSTEM.monotonic())
            heard = ears.poll(None if left is None else left * 1000)
            if not heard:
                return None
            with contextlib.suppress(BlockingIOError, OSError):
                return self._bell.recv(PUBLISH_MAX)
        return None

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        os.write(self._end, b"e")
        if self._pid == os.getpid():
            self._bells.unlink(self._name)

    def __del__(self) -> None:
        if hasattr(self, "_end"):  # else it was interrupted as it was made
            self.close()
            os.close(self._ended)
            os.close(self._end)
