"""The results face of the Redis store. Part of the Redis store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from celeriac import states
from celeriac.records import StoredResult
from celeriac.stores.effects import gathered
from celeriac.stores.redis.listener import Listener
from celeriac.stores.redis.packing import pack_other, said
from celeriac.stores.redis.reading import BATCH, Reader
from celeriac.stores.redis.steps import Steps
from celeriac.stores.redis.troubles import Unreachable


class RedisResults:
    """``stores.base.Results`` on a Redis server."""

    def __init__(self, steps: Steps, reader: Reader) -> None:
        self._steps = steps
        self._reader = reader
        self._listener = Listener(steps.connection, said)

    def get_many(self, ids: Sequence[str]) -> list[StoredResult | None]:
        return self._reader.results(ids)

    def wait(
        self, ids: Collection[str], timeout: float | None, patient: bool = False
    ) -> dict[str, StoredResult | None]:
        wanted = tuple(dict.fromkeys(ids))
        if not wanted:
            return {}
        look = self._mirrored if patient else self._ended
        try:
            return self._listener.wait(wanted, timeout, look)
        except Unreachable as error:
            error.outage = self._steps.connection.met
            raise

    def _mirrored(self, ids: Sequence[str]) -> dict[str, StoredResult | None]:
        """Those of *ids* that have ended."""
        return {id: each for id, each in self._ended(ids).items() if each is not None}

    def _ended(self, ids: Sequence[str]) -> dict[str, StoredResult | None]:
        """Those of *ids* that have ended or have no record."""
        return {
            id: result
            for id, result in zip(ids, self._reader.results(ids), strict=True)
            if result is None or result.state in states.TERMINAL
        }

    def forget(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), BATCH):
            self._steps.run("forget", *ids[start : start + BATCH])

    def put_many(self, results: Iterable[StoredResult]) -> None:
        args: list[bytes | str] = []
        for result in results:
            args += (result.id, *pack_other(result))
        for start in range(0, len(args), 3 * BATCH):
            self._steps.run("put", *args[start : start + 3 * BATCH])

    def join_results(self, join: str) -> list[StoredResult | None]:
        size = self._steps.call("HMGET", f"j:{join}", "body", "size")
        if size[0] is None:
            return []
        ids = gathered(None if size[1] is None else int(size[1]), done_members(self._steps, join))
        known = [id for id in ids if id is not None]
        found = dict(zip(known, self._reader.results(known), strict=True))
        return [None if id is None else found[id] for id in ids]


def done_members(steps: Steps, join: str) -> dict[int, str]:
    """The members of a join that succeeded: index → id, in order of index."""
    flat = steps.call("HGETALL", f"j:{join}:m")
    noted = {int(index): what.decode() for index, what in zip(flat[::2], flat[1::2], strict=True)}
    return {index: noted[index][1:] for index in sorted(noted) if noted[index].startswith("+")}
