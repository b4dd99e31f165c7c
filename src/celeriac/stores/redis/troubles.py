"""What can go wrong with a server, as an error that says what to do about it.

Part of the Redis store. The first word of a reply tells its kind: the server has about twenty of
them, and scripts raise some of their own (:class:`ScriptError`).
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from pathlib import Path
from typing import Final

from celeriac.exceptions import (
    CeleriacError,
    DuplicateTask,
    HeaderIncomplete,
    ImproperlyConfigured,
    OperationalError,
    StoreError,
    StoreFull,
)
from celeriac.stores.redis.location import Location, address_text

_CGROUP: Final = Path("/proc/1/cgroup")
_MARKS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))
_CONTAINED: Final = ("docker", "kubepods", "containerd", "libpod", "lxc")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

#: A script's own error before Redis 7: "ERR Error running script …: -OOM command not allowed".
_INNER: Final = re.compile(r"-(OOM|MISCONF|READONLY|NOREPLICAS|NOPERM|WRONGTYPE)\b")
_WORD: Final = re.compile(r"[A-Z][A-Z0-9_]*\Z")
#: First words of replies that are the server's; any other is a script's.
_SERVER: Final = frozenset(
    {
        "ASK", "BUSY", "BUSYGROUP", "BUSYKEY", "CLUSTERDOWN", "CROSSSLOT", "DENIED", "ERR",
        "EXECABORT", "FAILOVER", "IOERR", "LOADING", "MASTERDOWN", "MISCONF", "MOVED", "NOAUTH",
        "NOGOODSLAVE", "NOMASTERLINK", "NOPERM", "NOPROTO", "NOREPLICAS", "NOSCRIPT", "NOTBUSY",
        "OOM", "READONLY", "TRYAGAIN", "UNBLOCKED", "UNKILLABLE", "WRONGPASS", "WRONGTYPE",
    }
)  # fmt: skip


class Unreachable(OperationalError):
    """No connection, or one that broke: another attempt may succeed."""

    passing = True


class NotNow(Unreachable):
    """The server answers, and cannot do it at the moment."""


class ScriptError(StoreError):
    """A script refused what it was asked.

    Attributes:
        kind: the first word, such as ``DUPLICATE``.
        text: what follows it.
    """

    def __init__(self, kind: str = "", text: str = "") -> None:
        super().__init__(f"{kind} {text}".rstrip())
        self.kind = kind
        self.text = text


def refusal(error: ScriptError, join: str | None) -> CeleriacError:
    """What a script refused, as the seam's error."""
    if error.kind == "DUPLICATE":
        return DuplicateTask(error.text)
    if error.kind == "INCOMPLETE":
        return HeaderIncomplete(join or "", int(error.text))
    if error.kind == "NOJOIN":
        return StoreError(f"join {join} is not known: open it before its members are sent")
    return error


def not_reopened(error: ScriptError, id: str) -> CeleriacError:
    """The same for a retry by an operator."""
    if error.kind == "TOOMANY":
        return StoreError(
            f"Task {id} was not reopened: more than {int(error.text):,} tasks ended because of it, "
            "and they are reopened in one step or not at all. Send its work anew"
        )
    return error


def kind_of(reply: str) -> str:
    """The kind of an error reply: its first word, or the one a script wrapped."""
    first = reply.partition(" ")[0]
    if first == "ERR" and (inner := _INNER.search(reply)):
        return inner[1]
    return first if _WORD.match(first) else "ERR"


def refused(reply: str, location: Location, asked: str) -> CeleriacError:
    """The error for an error *reply* to *asked*, a command's or script's name."""
    kind = kind_of(reply)
    shown = location.shown
    if kind not in _SERVER:
        return ScriptError(kind, reply.partition(" ")[2])
    told = _FULL.get(kind)
    if told is not None:
        return StoreFull(f"{shown} has no room: nothing was stored. {told}")
    told = _AWAY.get(kind)
    if told is not None:
        return NotNow(f"{shown} {told} ({reply})")
    if kind in {"MOVED", "ASK"}:
        return ImproperlyConfigured(
            f"{shown} is a node of a cluster: write redis+cluster://… in place of redis://…"
        )
    if kind in {"NOAUTH", "WRONGPASS"} or _about_auth(reply):
        return unauthorised(reply, location)
    if kind == "NOPERM":
        return OperationalError(
            f"{shown}: {_user(location)} may not do what Celeriac needs: {reply}. Grant it with "
            f"ACL SETUSER: the commands it names, and the keys {{namespace}}:*, the channels too."
        )
    if kind == "WRONGTYPE":
        return foreign(location, f"{asked} met a key of another kind")
    if "DB index" in reply:
        return ImproperlyConfigured(
            f"{shown}: the server has no database {location.db} (its setting databases says how "
            "many there are, 16 by default, numbered from 0)."
        )
    if "max number of clients" in reply:
        return NotNow(
            f"{shown} has as many clients as its setting maxclients allows. Raise it, or find who "
            "holds so many connections: CLIENT LIST."
        )
    if "unknown command" in reply:
        return OperationalError(
            f"{shown} does not know a command that Celeriac needs: {reply}. It needs Redis 6.2 or "
            "later, or Valkey; a proxy or a compatible service must pass scripts and BLPOP."
        )
    return StoreError(f"{shown} refused {asked}: {reply}")


_FULL: Final = {
    "OOM": "Its memory is at maxmemory: raise it, or let workers drain the queues; they go on.",
    "MISCONF": "It cannot write to its disk (MISCONF): make room there or mend its rights; what "
    "workers have finished they keep and store then.",
}
_AWAY: Final = {
    "LOADING": "is starting: it still loads its data",
    "BUSY": "is busy: a script, not one of Celeriac's, has been running for seconds; SCRIPT KILL "
    "ends it",
    "READONLY": "is a replica and cannot be written to: name the primary, or the sentinels "
    "(sentinel://…), who know which it is",
    "NOREPLICAS": "has fewer good replicas than min-replicas-to-write asks for: nothing is stored "
    "until they are back",
    "MASTERDOWN": "is a replica that has lost its primary",
    "CLUSTERDOWN": "is a cluster that is down: some of its hash slots have no node",
    "TRYAGAIN": "is a cluster that is moving its hash slots",
    "FAILOVER": "is failing over",
}


def foreign(location: Location, what: str) -> StoreError:
    """Keys that are not ours lie under our names."""
    return StoreError(
        f"{location.shown}: {what}, so another program writes under the names of Celeriac. Use "
        "another database (redis://…/1), or set namespace or global_keyprefix to a name of "
        "your own."
    )


def _about_auth(reply: str) -> bool:
    text = reply.lower()
    return "invalid password" in text or "without any password" in text or "'auth'" in text


def _user(location: Location) -> str:
    return f"user {location.username!r}" if location.username else "the default user"


def unauthorised(reply: str, location: Location) -> OperationalError:
    """Who we are is refused."""
    shown = location.shown
    if "without any password" in reply:
        return OperationalError(
            f"{shown}: a password is given and the server has none set. Leave it out of the URL, "
            "or set requirepass (or an ACL user) on the server."
        )
    if reply.startswith("NOAUTH") and location.password is None:
        return OperationalError(
            f"{shown}: the server wants a password and none is given. Write "
            "redis://:password@host:port/0, or redis://user:password@host:port/0."
        )
    return OperationalError(
        f"{shown}: the server refuses the password of {_user(location)} ({reply}). Characters "
        "such as @ / ? # % must be written by their codes (%40 %2F %3F %23 %25)."
    )


# -- no connection -------------------------------------------------------------------------------


def unreachable(location: Location, host: str, port: int, error: Exception) -> Unreachable:
    """No connection to *host*: *error* is the system's."""
    if location.path:
        return Unreachable(
            f"Nobody answers at the socket {location.path}: {_reason(error)}. Is the server "
            "running, with `unixsocket` set to this path, and may this user write to it?"
        )
    where = address_text(host, port)
    if isinstance(error, ssl.SSLError):
        return tls_failed(location, where, host, error)
    if isinstance(error, socket.gaierror):
        return Unreachable(
            f"{location.shown}: the host name {host!r} is not known here ({error.strerror}). "
            f"Check its spelling and the DNS of this machine.{_container(host)}"
        )
    return Unreachable(
        f"Cannot connect to {where}: {_reason(error)}. Check that the server runs, that host and "
        f"port are right, that it listens on that address (its setting bind) and that no firewall "
        f"is between.{_container(host)}"
    )


def cause_of(error: BaseException) -> Exception:
    """The system's error behind the driver's, whose texts name the wrong address; else itself."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError):
            return found
        found = found.__cause__ or found.__context__
    return error if isinstance(error, Exception) else Exception(str(error))


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    number = getattr(error, "errno", None)
    if number == errno.ECONNREFUSED:
        return "connection refused"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).lower().rstrip(".")


def _container(host: str) -> str:
    if host not in _LOOPBACK or not inside_container():
        return ""
    return (
        f" This process runs inside a container, where {host} is the container itself: name the "
        "server's service or host instead, such as redis://redis:6379/0 in Compose, the Service's "
        "name in Kubernetes, host.docker.internal for the machine outside."
    )


def inside_container() -> bool:
    """Whether this process runs inside a container, as far as it can tell."""
    if "KUBERNETES_SERVICE_HOST" in os.environ or any(mark.exists() for mark in _MARKS):
        return True
    try:
        groups = _CGROUP.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux, or hidden
        return False
    return any(name in groups for name in _CONTAINED)


def tls_failed(location: Location, where: str, host: str, error: ssl.SSLError) -> Unreachable:
    """The TLS handshake failed."""
    text = f"{error.reason or ''} {error}".lower().replace("_", " ")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unreachable(_certificate(where, host, error))
    if "wrong version number" in text or "record layer failure" in text:
        return no_tls(where)
    if "certificate required" in text or "alert handshake failure" in text:
        told = (
            f"{where} wants a certificate from us: set ssl_certfile and ssl_keyfile, signed by a "
            "CA that the server trusts."
        )
    elif "alert unknown ca" in text or "alert bad certificate" in text or "alert cert" in text:
        told = (
            f"{where} does not accept our certificate ({_alert(text)}): ssl_certfile must be "
            "signed by a CA that the server trusts (its setting tls-ca-cert-file) and be in date."
        )
    else:
        reason = (error.reason or str(error)).lower().replace("_", " ")
        told = f"No TLS connection to {where}: {reason}."
    return Unreachable(told)


def no_tls(where: str) -> Unreachable:
    """TLS was spoken to a port in the clear."""
    return Unreachable(
        f"{where} does not speak TLS: write redis:// in place of rediss:// (broker_use_ssl off), "
        "or name the server's TLS port (its setting tls-port)."
    )


def _alert(text: str) -> str:
    found = re.search(r"alert ([a-z ]+)", text)
    return found[1].strip() if found else "refused"


def _certificate(where: str, host: str, error: ssl.SSLCertVerificationError) -> str:
    why = (error.verify_message or str(error)).rstrip(".")
    if error.verify_code == 10 or "expired" in why:
        return f"The certificate of {where} has expired. Renew it on the server."
    if error.verify_code == 9 or "not yet valid" in why:
        return (
            f"The certificate of {where} is not valid yet: is the clock of this machine, or of "
            "the one that made the certificate, set right?"
        )
    if "match" in why.lower() or error.verify_code in {62, 64}:
        return (
            f"The certificate of {where} is not for {host!r}: {why}. Connect by a name that the "
            "certificate holds, or give the server one that holds this name. "
            "(ssl_check_hostname=false switches the check off.)"
        )
    return (
        f"The certificate of {where} is not signed by a CA that is trusted here: {why}. Name the "
        "file of its CA as ssl_ca_certs=/path/ca.pem."
    )


def broken(location: Location, where: str, error: Exception) -> Unreachable:
    """A connection that was there broke off, or nothing came on it in time."""
    error = cause_of(error)
    if isinstance(error, TimeoutError):
        return Unreachable(
            f"{where} took the connection and does not answer in time: the server, or what is "
            "between, is overloaded, paused or cut off."
        )
    return Unreachable(f"The connection to {where} broke off: {_reason(error)}.")


def no_redis(location: Location, where: str, said: str) -> Unreachable:
    """Something answers there, and it is no Redis."""
    return Unreachable(
        f"What answers at {where} is no Redis: {said}. Check host and port ({location.shown})."
    )


def speaks_tls(location: Location, where: str) -> Unreachable:
    """A port for TLS was spoken to in the clear."""
    return Unreachable(
        f"{where} speaks TLS only: write rediss:// in place of redis:// ({location.shown}), with "
        "ssl_ca_certs=/path/ca.pem if its CA is your own."
    )
