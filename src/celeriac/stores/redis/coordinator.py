"""Locks, limits and uniqueness of the Redis store; its clock decides when a place lapses."""

from __future__ import annotations

from typing import Final

from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.script import read

_ACQUIRE: Final = read("place_acquire")
_TAKE: Final = read("bucket_take")


class RedisCoordinator:
    """``stores.base.Coordinator``: each call one script, each key one that expires."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def acquire(self, key: str, holder: str, limit: int, seconds: float) -> bool:
        run, now = self._connection.run, self._connection.now()
        return bool(run(_ACQUIRE, key, holder, limit, max(1, round(seconds * 1000)), now))

    def release(self, key: str, holder: str) -> None:
        self._connection.call(b"ZREM", self._connection.prefix + b"place:" + key.encode(), holder)

    def take(self, key: str, amount: float, rate: float, burst: float) -> float:
        run, now = self._connection.run, self._connection.now()
        return float(run(_TAKE, key, repr(amount), repr(rate), repr(burst), now))
