"""What the server is like, and the traps its set-up holds. Part of the Redis store.

:func:`read` asks; :func:`facts_of`, :func:`traps_of` and :func:`durability_of` are pure. What a
user of the server may not ask is left out, and said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from celeriac.exceptions import OperationalError, StoreError
from celeriac.stores.base import Trap
from celeriac.stores.redis import schema
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.link import Server
from celeriac.stores.redis.location import Location

#: Above this part of the memory it may have, a server is about to refuse enqueues.
_FULL: Final = 0.8
#: Seconds by which the clocks of server and client may differ before etas are felt to be late.
_SKEW: Final = 5.0
_LOOPBACK: Final = ("localhost", "127.", "::1")
_ASKED: Final = ("appendfsync", "save", "min-replicas-to-write", "maxmemory-policy")


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: the lines of INFO, some of CONFIG, and how far the clocks differ."""

    location: Location
    server: Server
    info: Mapping[str, str]
    config: Mapping[str, str]
    #: The server's clock less ours, seconds.
    skew: float = 0.0
    #: What could not be read, and why.
    denied: tuple[str, ...] = ()
    #: Host and port of the server that answered, or the socket's path.
    where: str = ""

    def number(self, name: str) -> int:
        """A number of INFO; 0 if it is not there."""
        text = self.info.get(name, "0")
        return int(text) if text.lstrip("-").isdigit() else 0


def read(connection: Connection) -> Readings:
    """Ask the server. Raises ``OperationalError`` if it cannot be reached."""
    denied: list[str] = []
    wall = connection.options.clock.wall
    server = connection.server()
    before = wall()
    seconds, micros = connection.call(b"TIME")
    skew = int(seconds) + int(micros) / 1e6 - (before + wall()) / 2
    info = _asked(connection, denied, b"INFO", b"everything")
    # One by one: the form for several names is of version 7.
    config = [_asked(connection, denied, b"CONFIG", b"GET", name) for name in _ASKED]
    pairs: dict[str, str] = {}
    for found in config:
        if found:
            pairs |= _pairs(found)
    return Readings(
        location=connection.location,
        server=server,
        info=_lines(info),
        config=pairs,
        skew=skew,
        denied=tuple(dict.fromkeys(denied)),
        where=connection.where(),
    )


def _asked(connection: Connection, denied: list[str], *command: bytes | str) -> Any:
    """A reply, or None where the user may not ask or a hosted server does not answer."""
    try:
        return connection.call(*command)
    except (OperationalError, StoreError) as error:
        if "NOPERM" not in str(error) and "unknown" not in str(error):
            raise
        name = command[0]
        denied.append(name.decode() if isinstance(name, bytes) else name)
        return None


def _lines(info: Any) -> dict[str, str]:
    text = info.decode(errors="replace") if isinstance(info, bytes) else ""
    rows = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, colon, value in rows if colon}


def _pairs(found: list[bytes]) -> dict[str, str]:
    texts = [each.decode(errors="replace") for each in found]
    return dict(zip(texts[::2], texts[1::2], strict=False))


# -- facts ---------------------------------------------------------------------------------------


def facts_of(r: Readings, options_namespace: str) -> dict[str, object]:
    """Plain facts for ``doctor``."""
    return {
        "store": r.server.name,
        "place": f"{r.where}{f'/{r.location.db}' if r.location.db else ''}",
        "durability": durability_of(r),
        "server version": ".".join(map(str, r.server.version)) or "unknown",
        "mode": {"single": r.server.mode, "sentinel": "behind sentinels"}.get(
            r.location.kind, "cluster"
        ),
        "tls": "none" if r.location.tls is None else repr(r.location.tls).strip("<>"),
        "schema version": schema.VERSION,
        "namespace": options_namespace,
        "memory used": r.number("used_memory"),
        "maxmemory": r.number("maxmemory"),
        "eviction policy": _policy(r) or "unknown",
        "replicas": r.number("connected_slaves"),
        "clients": r.number("connected_clients"),
        "clock ahead of ours, s": round(r.skew, 3),
        "could not be read": list(r.denied),
    }


def durability_of(r: Readings) -> str:
    """One line for banner and ``doctor``: what survives what."""
    if not r.info:
        return "not known: INFO may not be read"
    if r.info.get("aof_enabled") != "1":
        if r.config.get("save") == "":
            return "nothing survives a restart of the server: neither AOF nor snapshots"
        return "no AOF: what came after the last snapshot is lost when the server restarts"
    match r.config.get("appendfsync"):
        case "always":
            return "AOF, synced before each reply: survives a power cut"
        case "everysec":
            return "AOF, synced every second: a power cut may take the last second or two"
        case "no":
            return "AOF, synced when the system likes: a power cut may take half a minute"
        case _:
            return "AOF: survives a restart of the server"


def _policy(r: Readings) -> str:
    return r.info.get("maxmemory_policy") or r.config.get("maxmemory-policy", "")


# -- traps ---------------------------------------------------------------------------------------


def traps_of(r: Readings) -> list[Trap]:
    """What is set up so that tasks get lost or stuck, the worst first; notes last."""
    found = [*_keeping(r), *_room(r), *_copies(r), *_clock(r), *_ways(r)]
    return sorted(found, key=lambda each: each.note)


def _keeping(r: Readings) -> Iterator[Trap]:
    if not r.info:
        return
    if r.info.get("aof_enabled") != "1":
        what = "appendonly is off: a restart of the server loses "
        if r.config.get("save") == "":
            what += "every task, as there are no snapshots either"
        else:
            what += "every task and result since its last snapshot"
        yield Trap(
            "no_aof",
            what,
            "CONFIG SET appendonly yes, then CONFIG REWRITE (or appendonly yes in its file; in a "
            "container: redis-server --appendonly yes and a volume on /data).",
        )
    elif r.config.get("appendfsync") == "no":
        yield Trap(
            "appendfsync",
            "appendfsync is no: a power cut may take half a minute of tasks",
            "CONFIG SET appendfsync everysec (or always).",
        )
    for name in ("aof_last_write_status", "rdb_last_bgsave_status", "aof_last_bgrewrite_status"):
        if r.info.get(name, "ok") != "ok":
            yield Trap(
                "disk",
                f"it could not write to its disk ({name}: {r.info[name]})",
                "Make room on its disk or mend the rights of its folder (CONFIG GET dir): it "
                "refuses writes until then.",
            )


def _room(r: Readings) -> Iterator[Trap]:
    policy, limit, used = _policy(r), r.number("maxmemory"), r.number("used_memory")
    if policy not in {"", "noeviction"}:
        yield Trap(
            "eviction",
            f"maxmemory-policy is {policy}: when memory is full the server throws tasks away"
            + ("" if limit else ", as soon as a maxmemory is set"),
            "CONFIG SET maxmemory-policy noeviction, then CONFIG REWRITE: enqueues are refused "
            "then and nothing is lost. Keep caches on a server of their own.",
            note=not limit,
        )
    room, name = (limit, "maxmemory") if limit else (r.number("total_system_memory"), "the machine")
    if room and used > _FULL * room:
        much = f"{_size(used)} of {_size(room)}"
        yield Trap(
            "memory",
            f"{used / room:.0%} of the memory of {name} are used ({much}): when it is full, "
            "enqueues are refused" + ("" if limit else ", or the kernel ends the server")
            if used < room
            else f"the memory of {name} is full ({much}): enqueues are refused",
            "Let workers drain the queues, shorten result_expires, or give it more memory.",
        )


def _copies(r: Readings) -> Iterator[Trap]:
    if r.info.get("role") == "slave":
        yield Trap(
            "replica",
            "it is a replica, which takes no tasks",
            "Name the primary, or the sentinels: sentinel://….",
        )
        return
    asked = r.config.get("min-replicas-to-write")
    if r.number("connected_slaves") and (asked == "0" or (asked is None and r.info)):
        known = "is 0" if asked == "0" else "could not be read"
        yield Trap(
            "replicas",
            f"it has replicas and min-replicas-to-write {known}: at a failover, tasks that were "
            "acknowledged and not yet copied are lost",
            "CONFIG SET min-replicas-to-write 1 and min-replicas-max-lag 10: a primary that is cut "
            "off takes no more tasks then. Nor does one without a replica: have two of them.",
            note=asked is None,
        )


def _clock(r: Readings) -> Iterator[Trap]:
    if abs(r.skew) > _SKEW:
        way = "ahead of" if r.skew > 0 else "behind"
        yield Trap(
            "clock",
            f"its clock is {abs(r.skew):.0f} s {way} this machine's",
            "Make both follow NTP: eta, countdown and expiry go by the server's clock.",
        )


def _ways(r: Readings) -> Iterator[Trap]:
    tls, here = r.location.tls, r.location
    if tls is not None and not (tls.verify and tls.check_hostname):
        yield Trap(
            "tls",
            "TLS does not verify "
            + ("who answers" if not tls.verify else "the host name of the certificate"),
            "Leave out ssl_cert_reqs and ssl_check_hostname, and name the CA as ssl_ca_certs.",
        )
    hosts = [host for host, _ in here.nodes if not host.startswith(_LOOPBACK)]
    if tls is None and hosts:
        yield Trap(
            "plain",
            f"the connection to {hosts[0]} is not encrypted: who is between reads arguments, "
            "results and the password",
            "rediss://, unless the network between is your own.",
            note=True,
        )
    if r.denied:
        names = " and ".join(r.denied)
        yield Trap(
            "unread",
            f"{names} may not be read, so its set-up could not be checked in full",
            "Grant +info and +config|get to this user if you want it checked; hosted servers often "
            "have no CONFIG.",
            note=True,
        )


def _size(count: int) -> str:
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
