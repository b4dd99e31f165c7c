"""The server as the faces of the store use it: scripts with the clock and the options, plain
commands with the prefix. Part of the Redis store."""

from __future__ import annotations

import os
import struct
from typing import Any, Final

from celeriac.clock import SYSTEM
from celeriac.exceptions import StoreError
from celeriac.stores.base import Options
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.link import FLAGS
from celeriac.stores.redis.script import Script
from celeriac.stores.redis.scripts import pack_options, script

_CLOCKS: Final = struct.Struct(">dd")


class Steps:
    """Runs what the faces ask for.

    Args:
        connection: where to.
        options: what the scripts are told.
    """

    def __init__(self, connection: Connection, options: Options) -> None:
        self.connection = connection
        self.options = options
        self.clock = options.clock
        self.prefix = connection.prefix.decode()
        self._own_clock = options.clock is not SYSTEM
        self._options = pack_options(options, connection.location.kind == "cluster")
        self._flags: bool | None = None
        self._scripts: dict[str, Script] = {}

    def run(self, name: str, *args: bytes | str) -> Any:
        """Run script *name* with the clock, the options and *args*."""
        found = self._scripts.get(name) or self.script(name)
        return self.connection.run(found, self.time(), self._options, *args)

    def run_once(self, name: str, *args: bytes | str) -> Any:
        """:meth:`run` for a script of ``scripts.ONCE``: if its answer is lost and it is sent again,
        it is applied once and answers the same."""
        return self.run(name, *args, os.urandom(12).hex())

    def run_bare(self, name: str, *args: bytes | str) -> Any:
        """Run a script that needs no options."""
        found = self._scripts.get(name) or self.script(name)
        return self.connection.run(found, self.time(), *args)

    def read(self, name: str, *args: bytes | str) -> Any:
        """Run a script that needs neither clock nor options."""
        found = self._scripts.get(name) or self.script(name)
        return self.connection.run(found, *args)

    def packed(self, name: str, *args: bytes | str) -> bytes:
        """What :meth:`run` would send, for a link of one's own."""
        found = self._scripts.get(name) or self.script(name)
        return self.connection.packed((found, self.time(), self._options, *args))

    def call(self, command: str, key: str, *args: bytes | str | float) -> Any:
        """Run one plain command on one of our keys."""
        return self.connection.call(command, self.prefix + key, *args)

    def time(self) -> bytes:
        """What tells the scripts the time: nothing, the server's counts, unless a test drives."""
        if not self._own_clock:
            return b""
        return _CLOCKS.pack(self.clock.wall(), self.clock.monotonic())

    def mono(self, server_time: float) -> float:
        """The time deadlines go by, where the server's clock reads *server_time*."""
        return self.clock.monotonic() if self._own_clock else server_time

    def wall(self, told: bytes) -> float:
        """A packed time a script answered."""
        found: float = struct.unpack(">d", told)[0]
        return found

    def script(self, name: str) -> Script:
        """The script in the form this server takes."""
        if self._flags is None:
            version = self.connection.server().version
            self._flags = version[:2] >= FLAGS if version else self._takes_flags()
        found = self._scripts[name] = script(name, self._flags)
        return found

    def _takes_flags(self) -> bool:
        """Whether a server that does not tell its version knows the flags of scripts."""
        try:
            self.connection.call("EVAL", "#!lua\nreturn 1", 0)
        except StoreError as error:
            if "compiling script" not in str(error):
                raise
            return False
        return True
