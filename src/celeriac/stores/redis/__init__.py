"""The Redis store: the whole seam on a Redis or Valkey server.

Layer 2; imported by ``stores.connect`` when such a URL is first used. Reading order:
``location.py`` (what a URL says), ``tls.py``, ``wire.py`` (one round trip), ``link.py`` (one
connection), ``nodes.py`` (to which server), ``connection.py`` (calls within a budget),
``troubles.py`` (what can go wrong, in words).
"""

from __future__ import annotations

from typing import Final

from celeriac.stores.base import Capabilities, Options, Store
from celeriac.stores.redis import facts
from celeriac.stores.redis.bus import RedisBus
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.coordinator import RedisCoordinator
from celeriac.stores.redis.inspection import RedisInspection
from celeriac.stores.redis.location import locate
from celeriac.stores.redis.queue import RedisQueue
from celeriac.stores.redis.reading import Reader
from celeriac.stores.redis.results import RedisResults
from celeriac.stores.redis.schedules import RedisSchedules
from celeriac.stores.redis.steps import Steps

#: The server answers one exchange while the worker writes the next.
_LANES: Final = 2


def open_store(url: str, options: Options) -> Store:
    """Open the store on the server that *url* names (``location.py``).

    Raises :class:`~celeriac.exceptions.ImproperlyConfigured` for a URL that cannot be one, or a
    server that cannot be used; :class:`~celeriac.exceptions.StoreVersionError` for a place that a
    later version has written; :class:`~celeriac.exceptions.OperationalError` if the server is not
    reached, or does not let us in.
    """
    location = locate(url, options.transport, options.ssl)
    connection = Connection(location, options)
    readings = facts.read(connection)
    steps = Steps(connection, options)
    reader = Reader(steps)
    return Store(
        url=location.shown,
        capabilities=Capabilities(
            survives_kill=True,
            survives_power_loss=readings.config.get("appendfsync") == "always",
            shared=True,
            lanes=_LANES,
            durability=facts.durability_of(readings),
            leases_as_it_waits=True,
        ),
        options=options,
        queue=RedisQueue(steps, reader),
        results=RedisResults(steps, reader),
        coordinator=RedisCoordinator(connection),
        schedules=RedisSchedules(steps),
        inspection=RedisInspection(steps, reader),
        bus=RedisBus(connection),
    )


def place_of(url: str, options: Options) -> object:
    """What two URLs of one store have in common, whoever we are there; opens nothing."""
    found = locate(url, options.transport, options.ssl)
    return found.kind, frozenset(found.nodes), found.path, found.db, found.master


__all__ = ["open_store", "place_of"]
