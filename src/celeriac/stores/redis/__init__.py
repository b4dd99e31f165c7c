"""The Redis store: the whole seam on a Redis or Valkey server.

Layer 2; imported by ``stores.connect`` when such a URL is first used. Reading order:
``location.py`` (what a URL says), ``tls.py``, ``link.py`` (one connection), ``nodes.py`` (to which
server), ``connection.py`` (calls within a budget), ``troubles.py`` (what can go wrong, in words).
"""

from __future__ import annotations

from celeriac.stores.base import Capabilities, Options, Store
from celeriac.stores.redis.bus import RedisBus
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.coordinator import RedisCoordinator
from celeriac.stores.redis.inspection import RedisInspection
from celeriac.stores.redis.location import locate
from celeriac.stores.redis.queue import RedisQueue
from celeriac.stores.redis.reading import Reader
from celeriac.stores.redis.results import RedisResults
from celeriac.stores.redis.schedules import RedisSchedules
from celeriac.stores.redis.server import Server
