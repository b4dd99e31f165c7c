"""Where the server is and who we are there: a URL as a plain record. Opens nothing.

Part of the Redis store. What a URL cannot be is said here, before any socket is made, and never
with a password in the text.

======================================  ==========================================================
``redis://`` ``valkey://``              ``user:password@host:port/db``; all parts may be left out
``rediss://`` ``valkeys://``            the same through TLS
``redis+socket://`` ``unix://``         ``:password@/path/to/socket?db=1``
``sentinel://``                         ``host:port,host:port/db?master_name=…``, also as Celery
                                        writes it: ``sentinel://host:port;sentinel://host:port``
``redis+cluster://``                    ``host:port,host:port``
======================================  ==========================================================

Sentinels and clusters through TLS: ``rediss+sentinel://``, ``rediss+cluster://``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote

import msgspec

from celeriac.conf import without_password
from celeriac.exceptions import ImproperlyConfigured
from celeriac.stores.redis.tls import Tls, tls_of

PORT: Final = 6379
SENTINEL_PORT: Final = 26379

Kind = Literal["single", "sentinel", "cluster"]
#: Scheme → what it names, and whether it goes through TLS.
SCHEMES: Final[Mapping[str, tuple[Kind, bool]]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "valkey": ("single", False),
    "valkeys": ("single", True),
    "redis+socket": ("single", False),
    "valkey+socket": ("single", False),
    "unix": ("single", False),
    "sentinel": ("sentinel", False),
    "redis+sentinel": ("sentinel", False),
    "valkey+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "valkeys+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "valkey+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "valkeys+cluster": ("cluster", True),
}
_SOCKETS: Final = frozenset({"redis+socket", "valkey+socket", "unix"})

#: Options of other clients that tune what there is none of here.
MOOT: Final = frozenset(
    {
        "socket_timeout",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_keepalive_options",
        "health_check_interval",
        "retry_on_timeout",
        "max_connections",
        "protocol",
        "timeout",
    }
)
_KNOWN: Final = frozenset(
    {
        "db",
        "virtual_host",
        "username",
        "password",
        "client_name",
        "master_name",
        "sentinel_username",
        "sentinel_password",
    }
)
_TLS: Final = "ssl_"
_ENCODE: Final = (
    "Write characters such as / ? # % in a user name or password by their codes (%2F %3F %23 %25); "
    "urllib.parse.quote(password, safe='') does it."
)


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A server, or several that are one. Its texts never hold a password."""

    kind: Kind = "single"
    #: Host and port of the server, of each sentinel, or of some nodes of the cluster.
    nodes: tuple[tuple[str, int], ...] = ()
    #: Path of a unix socket, in place of nodes.
    path: str = ""
    db: int = 0
    username: str = ""
    password: str | None = None
    tls: Tls | None = None
    #: Name the sentinels know the primary by.
    master: str = ""
    sentinel_username: str = ""
    sentinel_password: str | None = None
    client_name: str = "celeriac"
    #: The URL with every password struck out.
    shown: str = ""
    #: Options that were given and change nothing.
    moot: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Location {self.shown}>"

    __str__ = __repr__


def locate(
    url: str,
    transport: Mapping[str, Any] | None = None,
    ssl: Mapping[str, Any] | bool | None = None,
) -> Location:
    """Take *url* apart.

    Args:
        url: see the module's table.
        transport: Celery's ``broker_transport_options``: `master_name` and `sentinel_kwargs` are
            read, and what a URL may say behind ``?``; the URL's own options win.
        ssl: Celery's ``broker_use_ssl``: True, or its mapping of options.

    Raises:
        ImproperlyConfigured: a part is missing, wrong, or not known; the text says which.
    """
    scheme, rest = _scheme(url)
    kind, secure = SCHEMES[scheme]
    shown = without_password(url)
    query = _query(url, shown)
    authority, path = _authority(rest, shown)
    given = {**_transport(transport or {}, kind), **query}
    userinfo, _, hosts = authority.rpartition("@")
    username, password = _user(userinfo, given)
    tls = _secured(secure, scheme, given, ssl, shown)
    _check_known(given, kind, shown)
    common = Location(
        kind=kind,
        username=username,
        password=password,
        tls=tls,
        client_name=str(given.get("client_name") or "celeriac"),
        moot=tuple(sorted({*MOOT.intersection(query), *_without_effect(transport or {})})),
        shown=shown,
    )
    if scheme in _SOCKETS:
        if hosts or not path.strip("/"):
            raise ImproperlyConfigured(
                f"{shown} names no socket: write {scheme}:///path/to/redis.sock (three slashes), "
                "with a database as ?db=1."
            )
        return msgspec.structs.replace(common, path=unquote(path), db=_db("", given, kind, shown))
    return msgspec.structs.replace(
        common,
        nodes=tuple(_nodes(hosts, SENTINEL_PORT if kind == "sentinel" else PORT, kind, shown)),
        db=_db(path.strip("/"), given, kind, shown),
        master=_master(given, kind, shown),
        sentinel_username=str(given.get("sentinel_username") or ""),
        sentinel_password=_text_or_none(given.get("sentinel_password")),
    )


# -- parts ---------------------------------------------------------------------------------------


def _scheme(url: str) -> tuple[str, str]:
    scheme, sep, rest = url.partition("://")
    if not sep or scheme.lower() not in SCHEMES:
        raise ImproperlyConfigured(
            # Of what cannot be taken apart, any part may be a password.
            f"{url.partition(':')[0]}:… is no URL of a Redis: write redis://host:6379/0; also "
            f"{', '.join(f'{name}://' for name in SCHEMES if name != 'redis')}."
        )
    return scheme.lower(), rest


def _query(url: str, shown: str) -> dict[str, Any]:
    text = url.partition("?")[2]
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))
    except ValueError:
        raise ImproperlyConfigured(
            f"What follows ? in {shown} is no list of options: write ?name=value&name=value. "
            f"{_ENCODE}"
        ) from None
    return dict(pairs)


def _authority(rest: str, shown: str) -> tuple[str, str]:
    """Who and where, and the path behind it. Celery's ``;sentinel://`` becomes a comma."""
    text = rest.partition("?")[0]
    if ";" in text:
        first, *others = text.split(";")
        if "/" in first:
            first, _, path = first.partition("/")
        else:
            path = ""
        hosts = [first]
        for other in others:
            where, _, its_path = other.rpartition("://")[2].partition("/")
            path = path or its_path
            hosts.append(where.rpartition("@")[2])
        return ",".join(hosts), f"/{path}"
    authority, slash, path = text.partition("/")
    if "@" in path or "#" in text:
        raise ImproperlyConfigured(f"{shown} cannot be taken apart. {_ENCODE}")
    return authority, slash + path


def _user(userinfo: str, given: Mapping[str, Any]) -> tuple[str, str | None]:
    name, colon, word = userinfo.partition(":")
    username = unquote(name) or str(given.get("username") or "")
    password = unquote(word) if colon and word else _text_or_none(given.get("password"))
    return username, password


def _text_or_none(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _nodes(hosts: str, port: int, kind: Kind, shown: str) -> Iterable[tuple[str, int]]:
    each = hosts.split(",")
    if kind == "single" and len(each) > 1:
        raise ImproperlyConfigured(
            f"{shown} names {len(each)} servers and is for one. For several that are one write "
            "sentinel://host:26379,host:26379/0?master_name=… or redis+cluster://host:6379,…"
        )
    if kind != "single" and not hosts:
        raise ImproperlyConfigured(f"{shown} names no host.")
    for text in each:
        yield _node(text, port, shown)


def _node(text: str, port: int, shown: str) -> tuple[str, int]:
    if text.startswith("["):
        host, closed, tail = text[1:].partition("]")
        number = tail.removeprefix(":")
        wrong = not closed or (tail and not tail.startswith(":"))
    else:
        host, _, number = text.partition(":")
        wrong = ":" in number
    if wrong or (number and not (number.isascii() and number.isdigit() and _below(65536, number))):
        raise ImproperlyConfigured(
            f"{shown}: a server is host:port with a port from 1 to 65535, an IPv6 address "
            f"[::1]:6379. {_ENCODE}"
        )
    return unquote(host) or "localhost", int(number or port) or port


def _below(most: int, digits: str) -> bool:
    """How many there are is looked at first: of thousands Python makes no number."""
    digits = digits.lstrip("0") or "0"
    return len(digits) <= len(str(most)) and int(digits) < most


def _db(path: str, given: Mapping[str, Any], kind: Kind, shown: str) -> int:
    text = path or str(given.get("db", "")) or str(given.get("virtual_host", "")).strip("/")
    if text and not (text.isascii() and text.isdigit() and _below(10**9, text)):
        raise ImproperlyConfigured(
            f"{shown}: {text[:64]!r} is no database; a Redis numbers them: redis://host:6379/0. "
            "To keep applications apart in one database, set namespace."
        )
    number = int(text or 0)
    if number and kind == "cluster":
        raise ImproperlyConfigured(
            f"{shown}: a cluster has database 0 only. To keep applications apart, set namespace."
        )
    return number


def _master(given: Mapping[str, Any], kind: Kind, shown: str) -> str:
    master = str(given.get("master_name") or "")
    if kind == "sentinel" and not master:
        raise ImproperlyConfigured(
            f"{shown} does not say which primary: add ?master_name=mymaster, the name in "
            '"sentinel monitor", or set broker_transport_options = {"master_name": …}.'
        )
    return master


def _transport(options: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """What Celery's transport options say that a URL can say, too."""
    found = {
        name: value for name, value in options.items() if name in _KNOWN or name.startswith(_TLS)
    }
    sentinel = options.get("sentinel_kwargs") or {}
    for name in ("username", "password"):
        if sentinel.get(name) is not None:
            found[f"sentinel_{name}"] = sentinel[name]
    if kind != "sentinel":
        # One configuration for several environments may name it where there are no sentinels.
        found = {name: value for name, value in found.items() if not name.startswith("sentinel_")}
        found.pop("master_name", None)
    return found


def _without_effect(options: Mapping[str, Any]) -> set[str]:
    return {
        name
        for name in options
        if name not in {*_KNOWN, "sentinel_kwargs"} and not name.startswith(_TLS)
    }


def _secured(
    secure: bool,
    scheme: str,
    given: dict[str, Any],
    ssl: Mapping[str, Any] | bool | None,
    shown: str,
) -> Tls | None:
    """What TLS needs, or None; takes the options about it out of *given*."""
    options = {name: given.pop(name) for name in list(given) if name.startswith(_TLS)}
    if isinstance(ssl, Mapping):
        named = {n if n.startswith(_TLS) else f"{_TLS}{n}": value for n, value in ssl.items()}
        options = {**named, **options}
    if not (secure or options or ssl):
        return None
    if scheme in _SOCKETS:
        raise ImproperlyConfigured(f"{shown} is a unix socket, which has no TLS.")
    if options and not (secure or ssl) and SCHEMES[scheme][0] == "single":
        raise ImproperlyConfigured(
            f"{shown} has options of TLS ({', '.join(sorted(options))}) and is not for TLS: write "
            f"{scheme}s://, or leave them out."
        )
    return tls_of(options, shown)


def _check_known(given: Mapping[str, Any], kind: Kind, shown: str) -> None:
    known = [*_KNOWN, *MOOT] if kind == "sentinel" else [*(_KNOWN - {"master_name"}), *MOOT]
    for name in given:
        if name not in known:
            near = get_close_matches(name, [*known, "ssl_cert_reqs", "ssl_ca_certs"], n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ImproperlyConfigured(
                f"{shown}: there is no option {name!r}.{hint} A URL may say "
                f"{', '.join(sorted(set(known) - MOOT))}, and ssl_… with TLS."
            )


def address_text(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
