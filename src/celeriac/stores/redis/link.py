"""One connection: a socket, its greeting, and a moment at which patience ends.

Part of the Redis store. What is done for each round trip is in ``wire.py``. It neither retries nor
reconnects here; ``connection.py`` decides both.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
import weakref
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis
import msgspec
import redis

from celeriac.clock import SYSTEM
from celeriac.crashpoints import crashpoint
from celeriac.exceptions import ImproperlyConfigured
from celeriac.stores.redis import schema, troubles
from celeriac.stores.redis.location import Location, address_text
from celeriac.stores.redis.tls import context_of
from celeriac.stores.redis.wire import wire

OLDEST: Final = (6, 2)
#: From this version on a script says in its first line what it may do.
FLAGS: Final = (7, 0)
#: Longest time a second look at a port may take: whether it speaks TLS.
_PROBE: Final = 1.0
#: Part of the time left that a TLS handshake may take: a Redis without TLS waits in silence for the
#: end of the line that the handshake is to it, and there is to be time to find that out.
_HANDSHAKE: Final = 0.85

_log: Final = logging.getLogger(__name__)

Argument = bytes | str | int | float
#: A command as the bytes that are sent.
pack = cast("Callable[[tuple[Argument, ...]], bytes]", hiredis.pack_command)
#: What a round trip can end with when the connection is no longer good.
BROKEN: Final = (redis.ConnectionError, OSError, redis.InvalidResponse)


class Server(msgspec.Struct, frozen=True):
    """What a server says of itself. *mode* is standalone, cluster or sentinel."""

    name: str = "redis"
    version: tuple[int, ...] = ()
    mode: str = "standalone"
    role: str = "master"


class Moved(Exception):
    """Our keys are on another node of the cluster."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.host = host
        self.port = port


class Link:
    """One connection, for one thread at a time.

    Args:
        location: who we are.
        host: the server's name or address; not used with a unix socket.
        port: the server's port.
        deadline: by when, on the monotonic clock, it must be ready.
        prefix: of our keys; b"" if this is no place of keys (a sentinel).

    Raises:
        Unreachable: no connection; another attempt may succeed.
        OperationalError: the server does not let us in.
        ImproperlyConfigured: the server is not one we can use.
        StoreVersionError: a later version of Celeriac keeps its tasks there.
        NotNow: what is there has to be migrated, and cannot be at the moment.
        Moved: a node of a cluster that has not our keys.
    """

    def __init__(
        self, location: Location, host: str, port: int, deadline: float, prefix: bytes = b""
    ) -> None:
        self.location = location
        self.address = (host, port)
        self.where = location.path or address_text(host, port)
        self.pid = os.getpid()
        try:
            sock = _dial(location, host, port, deadline)
        except OSError as error:
            late = location.tls is not None and isinstance(error, TimeoutError)
            if late and _speaks_plainly(host, port, deadline):
                raise troubles.no_tls(self.where) from None
            raise troubles.unreachable(location, host, port, error) from None
        # Closed with this object at the latest. Not by __del__: of a cycle of garbage, the socket
        # might be found first, and complain that nobody had closed it.
        weakref.finalize(self, sock.close)
        self._wire = wire(sock)
        #: Sends, for replies to be taken by :meth:`receive`, by a moment (None: for ever).
        self.send = self._wire.send
        #: The next reply or message by a moment; an error reply is returned. Raises
        #: ``TimeoutError`` if there is none (the link is as good as before if nothing at all
        #: had come) and BROKEN if the link is not good any more.
        self.receive = self._wire.receive
        #: The next of the replies that have been read already, or ``wire.NONE``.
        self.ahead = self._wire.ahead
        try:
            self.server = self._greet(prefix, deadline)
        except BROKEN as error:
            self.close()
            raise self._greeting_failed(error, deadline) from None
        except BaseException:
            self.close()
            raise

    # -- talking

    def ask(self, packed: bytes, deadline: float | None) -> Any:
        """Send one packed command and return its reply; an error reply is raised.

        Raises:
            redis.ResponseError: the reply is an error; the link is as good as before.
            BROKEN: the link is not good any more.
        """
        self.send(packed, deadline)
        reply = self.receive(deadline)
        if isinstance(reply, redis.ResponseError):
            raise reply
        return reply

    def ask_all(self, packed: bytes, count: int, deadline: float | None) -> list[Any]:
        """Send *count* packed commands at once; the replies, errors among them as they are."""
        self.send(packed, deadline)
        return [self.receive(deadline) for _ in range(count)]

    def pending(self) -> bool:
        """Whether TLS has read more than it has handed on, which ``poll`` does not see."""
        return self._wire.pending()

    def fileno(self) -> int:
        """For ``poll``. Replies that have been read in part or ahead do not show there."""
        return self._wire.fileno()

    # -- ending

    def close(self) -> None:
        """Close; in a forked child, the child's own descriptor only."""
        self._wire.close()

    def hang_up(self) -> None:
        """End what another thread is waiting for on this link."""
        self._wire.shutdown()

    # -- greeting

    def _greet(self, prefix: bytes, deadline: float) -> Server:
        location = self.location
        commands: list[tuple[Argument, ...]] = []
        if location.password is not None:
            who = (location.username,) if location.username else ()
            commands.append(("AUTH", *who, location.password))
        # What a server or a proxy may lack or deny, we can do without.
        optional: list[tuple[Argument, ...]] = [
            ("HELLO", 2),
            ("CLIENT", "SETNAME", location.client_name),
        ]
        commands += optional
        if prefix:
            if location.db:
                commands.append(("SELECT", location.db))
            commands.append(("GET", prefix + b"schema"))
        replies = self.ask_all(b"".join(map(pack, commands)), len(commands), deadline)
        server = _server(replies[commands.index(optional[0])])
        if not server.version:
            server = self._by_info(deadline)
        self._check_server(server)
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, redis.ResponseError) and command not in optional:
                if location.kind == "cluster" and (to := moved(str(reply), self.address[0])):
                    raise to
                raise troubles.refused(str(reply), location, str(command[0]))
        if prefix:
            self._check_schema(prefix, replies[-1], server, deadline)
        return server

    def _by_info(self, deadline: float) -> Server:
        """What INFO tells, where HELLO is lacking (before version 6) or denied."""
        try:
            info = self.ask(pack((b"INFO", b"server")), deadline)
        except redis.ResponseError:  # denied as well, or we are not let in at all
            return Server()
        lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
        told = {name: value.strip() for name, _, value in lines}
        name = told.get("server_name", "redis")
        version = told.get(f"{name}_version", told.get("redis_version", ""))
        return Server(name, _numbers(version), told.get("redis_mode", "standalone"))

    def _check_server(self, server: Server) -> None:
        if server.version and server.version[:2] < OLDEST:
            raise ImproperlyConfigured(
                f"{self.where} is {server.name.capitalize()} "
                f"{'.'.join(map(str, server.version))}; Celeriac needs Redis 6.2 or later, or "
                "Valkey."
            )
        if server.mode == "sentinel" and self.location.kind != "sentinel":
            raise ImproperlyConfigured(
                f"{self.where} is a Sentinel: write sentinel://{self.where}/0?master_name=… in "
                f"place of {self.location.shown}."
            )

    def _check_schema(self, prefix: bytes, found: Any, server: Server, deadline: float) -> None:
        """Refuse a store that is newer than we are, migrate one that is older."""
        if found is None:
            # A full server or a replica may refuse it: the next greeting, or script, does it.
            with contextlib.suppress(redis.ResponseError):
                self.ask(pack((b"SET", prefix + b"schema", schema.VERSION, b"NX")), deadline)
            return
        if not found.isdigit():
            raise troubles.foreign(
                self.location, f"the key {prefix.decode()}schema holds {found[:40]!r}"
            )
        if int(found) > schema.VERSION:
            raise schema.newer(self.location.shown, int(found))
        if int(found) < schema.VERSION:
            self._migrate(prefix, int(found), server, deadline)

    def _migrate(self, prefix: bytes, found: int, server: Server, deadline: float) -> None:
        """Make the store's version ours, unless another process was first."""
        crashpoint("migrate.begun")
        text = schema.migration(found, server.version[:2] >= FLAGS)
        packed = pack((b"EVAL", text, b"1", prefix, found, schema.VERSION))
        try:
            mine, now = self.ask(packed, deadline)
        except redis.ResponseError as error:
            raise troubles.refused(str(error), self.location, "the migration") from None
        if mine:
            crashpoint("migrate.applied")
            _log.warning(
                "%s was migrated from schema %d to %d. Older versions of Celeriac refuse it now.",
                self.location.shown, found, schema.VERSION,
            )  # fmt: skip
        elif now is not None and int(now) > schema.VERSION:
            raise schema.newer(self.location.shown, int(now))

    def _greeting_failed(self, error: Exception, deadline: float) -> troubles.Unreachable:
        host, port = self.address
        location = self.location
        error = troubles.cause_of(error)
        if isinstance(error, redis.InvalidResponse):
            return troubles.no_redis(location, self.where, str(error)[:120])
        if isinstance(error, ssl.SSLError):
            return troubles.tls_failed(location, self.where, host, error)
        if isinstance(error, TimeoutError):
            return troubles.broken(location, self.where, error)
        if location.tls is None and not location.path:
            said = _said_unasked(host, port, deadline)
            if said.startswith("-"):
                told = troubles.refused(said[1:].strip(), location, "a connection")
                return troubles.NotNow(str(told))
            if _speaks_tls(host, port, deadline):
                return troubles.speaks_tls(location, self.where)
        return troubles.broken(location, self.where, error)


def moved(reply: str, host: str) -> Moved | None:
    """Where a reply of a cluster sends us; *host* is whose reply it is."""
    words = reply.split(" ")
    if words[0] not in {"MOVED", "ASK"} or len(words) < 3:
        return None
    name, _, port = words[2].rpartition(":")
    # A node that does not know its own address leaves the name out: the one we used.
    return Moved(name or host, int(port))


def _server(hello: Any) -> Server:
    """What HELLO answered; nothing is known where it is lacking or denied."""
    if not isinstance(hello, list):
        return Server()
    told = {
        bytes(key).decode(): value.decode() if isinstance(value, bytes) else value
        for key, value in zip(hello[::2], hello[1::2], strict=False)
    }
    return Server(
        name=str(told.get("server", "redis")),
        version=_numbers(str(told.get("version", ""))),
        mode=str(told.get("mode", "standalone")),
        role=str(told.get("role", "master")),
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in version.split(".") if each.isdigit())


def _dial(location: Location, host: str, port: int, deadline: float) -> socket.socket:
    """A connected socket, secured if asked for, by *deadline*."""
    if location.path:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        return _connected(sock, location.path, deadline)
    problem: OSError | None = None
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    for number, (family, kind, protocol, _, address) in enumerate(found, 1):
        # An address that swallows packets must leave time for the others.
        now = SYSTEM.monotonic()
        share = now + (deadline - now) / (len(found) + 1 - number)
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            _connected(sock, address, share)
        except OSError as error:
            problem = error
            continue
        return _secured(location, sock, host, deadline)
    raise problem or OSError("the name has no address")


def _connected(sock: socket.socket, address: Any, deadline: float) -> socket.socket:
    try:
        sock.settimeout(max(0.001, deadline - SYSTEM.monotonic()))
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _secured(location: Location, sock: socket.socket, host: str, deadline: float) -> socket.socket:
    if location.tls is None:
        return sock
    try:
        context = context_of(location.tls, location.shown)
        sock.settimeout(max(0.001, (deadline - SYSTEM.monotonic()) * _HANDSHAKE))
        return context.wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise


def _said_unasked(host: str, port: int, deadline: float) -> str:
    """What a server that hung up on us says by itself: why, if it has too many clients. What it
    said to us before may have been lost with the connection."""
    left = min(_PROBE / 4, deadline - SYSTEM.monotonic())
    if left <= 0:
        return ""
    try:
        with socket.create_connection((host, port), left) as sock:
            return sock.recv(200).decode(errors="replace")
    except OSError:
        return ""


def _speaks_plainly(host: str, port: int, deadline: float) -> bool:
    """Whether a server that does not answer a TLS handshake is a Redis in the clear."""
    left = min(_PROBE, deadline - SYSTEM.monotonic())
    if left <= 0:
        return False
    try:
        with socket.create_connection((host, port), left) as sock:
            sock.sendall(b"PING\r\n")
            return sock.recv(1) in {b"+", b"-"}
    except OSError:
        return False


def _speaks_tls(host: str, port: int, deadline: float) -> bool:
    """Whether a server that hung up on us in the clear answers a TLS greeting. For a message only:
    nothing is sent on what this opens."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    left = min(_PROBE, deadline - SYSTEM.monotonic())
    if left <= 0:
        return False
    try:
        with (
            socket.create_connection((host, port), left) as sock,
            context.wrap_socket(sock, server_hostname=host) as secured,
        ):
            return secured.version() is not None
    except OSError:
        return False
