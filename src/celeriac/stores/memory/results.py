"""The results face of the memory store. Private to ``stores/memory``."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Sequence

from celeriac import states
from celeriac.records import StoredResult
from celeriac.stores.effects import gathered
from celeriac.stores.fates import comes_late
from celeriac.stores.memory.core import Core


class MemoryResults:
    """``stores.base.Results`` in this process."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def get_many(self, ids: Sequence[str]) -> list[StoredResult | None]:
        with self._core.step():
            return [self._get(id) for id in ids]

    def _get(self, id: str) -> StoredResult | None:
        row = self._core.rows.get(id)
        if row is not None:
            return row.result()
        kept = self._core.foreign.get(id)
        return kept[1] if kept is not None else None

    def wait(
        self, ids: Collection[str], timeout: float | None, patient: bool = False
    ) -> dict[str, StoredResult | None]:
        deadline = None if timeout is None else time.monotonic() + timeout
        bell = threading.Event()
        waiters = self._core.waiters
        with self._core.step():
            for id in ids:
                waiters[id].add(bell)
        try:
            while True:
                with self._core.step():
                    bell.clear()
                    found = {id: self._get(id) for id in ids}
                ended = {
                    id: result
                    for id, result in found.items()
                    if (not patient if result is None else result.state in states.TERMINAL)
                }
                left = None if deadline is None else deadline - time.monotonic()
                if ended or (left is not None and left <= 0) or not ids:
                    return ended
                bell.wait(left)
        finally:
            with self._core.step():
                for id in ids:
                    waiters[id].discard(bell)
                    if not waiters[id]:
                        del waiters[id]

    def forget(self, ids: Sequence[str]) -> None:
        core = self._core
        with core.step():
            for id in ids:
                core.foreign.pop(id, None)
                row = core.rows.get(id)
                if row is not None and row.state in states.TERMINAL:
                    row.keep = False
                    row.forgotten = True
                    core.tell_other(id)
                    core.shrink(row)
                    core.schedule_drop(row)

    def put_many(self, results: Iterable[StoredResult]) -> None:
        core = self._core
        with core.step():
            kept = core.options.result_expires
            until = None if kept is None else core.clock.wall() + kept
            for result in results:
                known = core.foreign.get(result.id)
                if known is not None and comes_late(result, known[1]):
                    continue
                core.foreign[result.id] = (until, result)
                for bell in core.waiters.get(result.id, ()):
                    bell.set()

    def join_results(self, join: str) -> list[StoredResult | None]:
        with self._core.step():
            found = self._core.joins.get(join)
            if found is None:
                return []
            ids = gathered(found.size, found.done)
            return [None if id is None else self._get(id) for id in ids]


__all__ = ["MemoryResults"]
