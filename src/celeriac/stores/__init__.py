"""Stores, and :func:`connect`: the only place that names a concrete one.

Layer 2. A store's driver is imported when its URL is first used, never before.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Final, cast

from celeriac.exceptions import ImproperlyConfigured, NotInThisVersion
from celeriac.stores.base import Options, Store

_REDIS: Final = "celeriac.stores.redis"
#: URL scheme → module with ``open_store(url, options)`` and ``place_of(url, options)``.
_MODULES: Final = {
    "memory": "celeriac.stores.memory",
    "sqlite": "celeriac.stores.sqlite",
    **dict.fromkeys(
        (
            *("redis", "rediss", "valkey", "valkeys"),
            *("redis+socket", "valkey+socket", "unix"),
            *("sentinel", "redis+sentinel", "valkey+sentinel"),
            *("rediss+sentinel", "valkeys+sentinel"),
            *("redis+cluster", "valkey+cluster", "rediss+cluster", "valkeys+cluster"),
        ),
        _REDIS,
    ),
}
#: Module → what it needs beyond the core: the packages, and the extra that installs them.
_EXTRAS: Final = {_REDIS: (("redis", "hiredis"), "redis")}
#: Schemes that are planned or have a replacement: refused with the line that helps.
_LATER: Final = {
    "amqp": 'RabbitMQ is not in this version. Use "sqlite:///path/to/file.db" on one machine.',
    "amqps": 'RabbitMQ is not in this version. Use "sqlite:///path/to/file.db" on one machine.',
    "pyamqp": 'RabbitMQ is not in this version. Use "sqlite:///path/to/file.db" on one machine.',
    "postgresql": 'PostgreSQL is not in this version. Use "sqlite:///path/to/file.db".',
    "postgres": 'PostgreSQL is not in this version. Use "sqlite:///path/to/file.db".',
    "sqs": "Amazon SQS cannot keep records and leases; it is not planned.",
    "filesystem": 'Use "sqlite:///path/to/file.db": one file, safe for many processes.',
}


def check_url(url: str) -> str:
    """Return the scheme of *url* if this version has a store for it.

    Raises :class:`~celeriac.exceptions.NotInThisVersion` for a scheme that is planned or
    replaced, :class:`~celeriac.exceptions.ImproperlyConfigured` for any other, each with the
    line that helps. Opens nothing.
    """
    from urllib.parse import urlsplit  # here: an app that is only imported opens nothing

    scheme = urlsplit(url).scheme if ":" in url else ""
    if url in _LATER:
        scheme = url
    if scheme in _MODULES:
        return scheme
    if scheme.startswith("db+"):
        raise NotInThisVersion(
            f"result stores through SQLAlchemy ({scheme}://) are replaced: leave the backend "
            'unset to keep results beside the tasks, or use "sqlite:///path/to/file.db".'
        )
    if scheme in _LATER:
        raise NotInThisVersion(f"{scheme}:// cannot be opened: {_LATER[scheme]}")
    if not scheme:
        raise ImproperlyConfigured(
            f"{url[:200]!r} is no URL; write {_as_url(url)}. "
            "Three slashes: beside the working directory; four: an absolute path."
        )
    from difflib import get_close_matches

    near = get_close_matches(scheme, [*_MODULES, *_LATER], n=1, cutoff=0.7)
    hint = f" Did you mean {near[0]}://?" if near else ""
    known = ", ".join(f"{name}://" for name in _MODULES if "+" not in name)
    raise ImproperlyConfigured(
        f"no store for URL scheme {scheme!r}.{hint} This version knows {known}."
    )


def _as_url(text: str) -> str:
    """What was probably meant by *text*, which has no scheme."""
    if text == "memory":
        return "memory://"
    # A path is taken for the file; a mere word says nothing about where it is.
    return f"sqlite:///{text[:200] if '/' in text or '.' in text else 'jobs.db'}"


def connect(url: str, options: Options | None = None) -> Store:
    """Open the store that *url* names (see :func:`check_url` for what is refused).

    Raises :class:`~celeriac.exceptions.ImproperlyConfigured`, with the line that installs it, if
    the store's driver is missing.
    """
    open_store = cast(Callable[[str, Options], Store], _module(url).open_store)
    return open_store(url, options or Options())


def same_place(one: str, other: str, options: Options, of_other: Options) -> bool:
    """Whether two URLs name one store, as far as the URLs and *options* tell. Opens nothing.

    Two names of one host count as two places. Raises what :func:`connect` raises for a URL.
    """
    if one == other:
        return True
    if _MODULES[check_url(one)] != _MODULES[check_url(other)]:
        return False
    place_of = cast(Callable[[str, Options], object], _module(one).place_of)
    return place_of(one, options) == place_of(other, of_other)


def _module(url: str) -> ModuleType:
    """The module of the store that *url* names, its driver imported."""
    scheme = check_url(url)
    name = _MODULES[scheme]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        packages, extra = _EXTRAS.get(name, ((), ""))
        if error.name not in packages:
            raise
        raise ImproperlyConfigured(
            f"{scheme}:// needs the package {error.name}, which is not installed: "
            f'pip install "celeriac[{extra}]"'
        ) from None


__all__ = ["check_url", "connect", "same_place"]
