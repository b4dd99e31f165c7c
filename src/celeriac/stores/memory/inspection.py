"""The inspection face of the memory store. Private to ``stores/memory``."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping, Sequence

from celeriac import states as store_states
from celeriac.crashpoints import crashpoint
from celeriac.message import Message
from celeriac.records import Counts, JoinView, Record, WorkerView
from celeriac.stores import fates, finish
from celeriac.stores.base import Trap
from celeriac.stores.effects import Reopen
from celeriac.stores.memory.core import Core


class MemoryInspection:
    """``stores.base.Inspection`` in this process."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def counts(self, queues: Sequence[str] | None = None) -> Counts:
        core = self._core
        with core.step():
            numbers: dict[str, dict[str, int]] = {}
            for (queue, state), number in core.counts.items():
                if number and (queues is None or queue in queues):
                    numbers.setdefault(queue, {})[state] = number
            parked: dict[str, dict[str, int]] = {}
            for (queue, task), ids in core.parked.items():
                if ids and (queues is None or queue in queues):
                    parked.setdefault(queue, {})[task] = len(ids)
            return Counts(numbers, parked, len(core.outbox))

    def list(
        self,
        states: Collection[str] = (),
        queue: str | None = None,
        task: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> builtins.list[Record]:
        core = self._core
        with core.step():
            last = core.rows.get(after) if after is not None else None
            found = [
                row
                for row in core.rows.values()
                if (not states or row.state in states)
                and (queue is None or row.queue == queue)
                and (task is None or row.task == task)
                and (last is None or row.order < last.order)
            ]
            found.sort(key=lambda row: -row.order)
            return [row.record(wire=False, body=False) for row in found[:limit]]

    def get(self, ids: Sequence[str]) -> builtins.list[Record | None]:
        with self._core.step():
            rows = [self._core.rows.get(id) for id in ids]
            return [row.record() if row is not None else None for row in rows]

    def join(self, join: str) -> JoinView | None:
        with self._core.step():
            found = self._core.joins.get(join)
            if found is None:
                return None
            members = tuple(sorted(found.done))
            return JoinView(
                found.id, found.body, found.total(), members, found.decided, found.cause
            )

    def flow(self, id: str, after: str | None = None, limit: int = 1000) -> builtins.list[Record]:
        core = self._core
        with core.step():
            last = core.rows.get(after) if after is not None else None
            rows = [core.rows[each] for each in core.flows.get(id, ())]
            rows.sort(key=lambda row: row.order)
            later = [row for row in rows if last is None or row.order > last.order]
            return [row.record(body=False) for row in later[:limit]]

    def retry(
        self, ids: Sequence[str], messages: Mapping[str, Message] | None = None
    ) -> builtins.list[str]:
        core = self._core
        with core.step():
            reopened: dict[str, None] = {}
            for id in ids:
                if id not in reopened:
                    reopened |= dict.fromkeys(self._retry(id, messages or {}))
            core.ring()
        crashpoint("retry.applied")
        return [*reopened]

    def _retry(self, id: str, messages: Mapping[str, Message]) -> builtins.list[str]:
        core = self._core
        effects = finish.reopen(core, id, now=core.clock.wall())
        order = [each.id for each in effects.effects if isinstance(each, Reopen)]
        found = set(order)
        # A record that was shrunk has no message left to run.
        if any(core.rows[each].wire is None and each not in messages for each in found):
            return []
        for each in found & messages.keys():
            core.take_message(core.rows[each], messages[each], messages[each].encode())
        core.apply(effects)
        return order

    def discard(self, ids: Sequence[str]) -> builtins.list[str]:
        core = self._core
        with core.step():
            removed = []
            for id in ids:
                row = core.rows.get(id)
                if row is None or row.state in store_states.HELD:
                    continue
                if row.state not in store_states.TERMINAL:
                    core.finish(id, store_states.CANCELLED, fates.DISCARDED_REASON)
                core.drop(row)
                removed.append(id)
        crashpoint("discard.applied")
        return removed

    def workers(self) -> builtins.list[WorkerView]:
        core = self._core
        with core.step():
            now = core.clock.monotonic()
            return [
                WorkerView(
                    owner.id,
                    owner.manifest,
                    owner.registered_at,
                    owner.beat_at,
                    owner.until >= now,
                    len(owner.held),
                )
                for owner in core.owners.values()
            ]

    def traps(self) -> builtins.list[Trap]:
        return []

    def facts(self) -> dict[str, object]:
        core = self._core
        with core.step():
            limit = core.options.dead_limit
            return {
                "store": "memory",
                "place": f"memory of process {core.pid}",
                "durability": "none: everything is gone when the process ends",
                "records": len(core.rows),
                "joins": len(core.joins),
                "workers": len(core.owners),
                "limits reached": sorted(
                    state for state, ended in core.set_aside.items() if len(ended) >= limit
                ),
            }


__all__ = ["MemoryInspection"]
