"""The inspection face of the Redis store: what command line, dashboard and metrics read."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from celeriac import states as store_states
from celeriac.crashpoints import crashpoint
from celeriac.message import Message
from celeriac.records import Counts, JoinView, Manifest, Record, WorkerView
from celeriac.stores.base import Trap
from celeriac.stores.fates import DISCARDED_REASON
from celeriac.stores.redis import facts
from celeriac.stores.redis.packing import LETTERS, STATES, Beside, pack
from celeriac.stores.redis.reading import BATCH, CHUNK, Reader
from celeriac.stores.redis.reaper import Reaper
from celeriac.stores.redis.results import done_members
from celeriac.stores.redis.steps import Steps
from celeriac.stores.redis.troubles import ScriptError, not_reopened

_manifest: Final = msgspec.msgpack.Decoder(Manifest).decode
_ASIDE: Final = (store_states.FAILED, store_states.DEAD)
_WORKER: Final = ("man", "registered", "beat", "no")


class RedisInspection:
    """``stores.base.Inspection`` on a Redis server."""

    def __init__(self, steps: Steps, reader: Reader) -> None:
        self._steps = steps
        self._reader = reader
        self._reaper = Reaper(steps)

    # -- reading

    def counts(self, queues: Sequence[str] | None = None) -> Counts:
        numbers: dict[str, dict[str, int]] = {}
        for (queue, letter), number in self._hash("n").items():
            if number and (queues is None or queue in queues):
                state = STATES[letter[0]]
                of_queue = numbers.setdefault(queue, {})
                of_queue[state] = of_queue.get(state, 0) + number
        parked: dict[str, dict[str, int]] = {}
        for (queue, task), number in self._hash("kn").items():
            if number and (queues is None or queue in queues):
                parked.setdefault(queue, {})[task] = number
        outbox = self._steps.call("ZCARD", "outbox") if self._steps.options.mirror else 0
        return Counts(numbers, parked, int(outbox))

    def _hash(self, key: str) -> dict[tuple[str, str], int]:
        flat = self._steps.call("HGETALL", key)
        found = {}
        for field, number in zip(flat[::2], flat[1::2], strict=True):
            queue, _, rest = field.decode().partition("\0")
            found[queue, rest] = int(number)
        return found

    def list(
        self,
        states: Collection[str] = (),
        queue: str | None = None,
        task: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> builtins.list[Record]:
        below = self._reader.order(after) if after is not None else None
        found: builtins.list[Record] = []
        for chunk, ids in self._reader.created(below):
            for start in range(0, len(ids), BATCH):
                some = builtins.list(dict.fromkeys(ids[start : start + BATCH]))
                for order, record in self._reader.ordered(some):
                    if (
                        order // CHUNK == chunk
                        and (below is None or order < below)
                        and (not states or record.state in states)
                        and (queue is None or record.queue == queue)
                        and (task is None or record.task == task)
                    ):
                        found.append(record)
                        below = order
                    if len(found) == limit:
                        return found
        return found

    def get(self, ids: Sequence[str]) -> builtins.list[Record | None]:
        return self._reader.records(ids)

    def join(self, join: str) -> JoinView | None:
        body, size, grown, decided, cause = self._steps.call(
            "HMGET", f"j:{join}", "body", "size", "grown", "decided", "cause"
        )
        if body is None:
            return None
        return JoinView(
            join,
            body.decode(),
            None if size is None else int(size) + int(grown or 0),
            tuple(done_members(self._steps, join)),
            (decided or b"").decode(),
            (cause or b"").decode(),
        )

    def flow(self, id: str, after: str | None = None, limit: int = 1000) -> builtins.list[Record]:
        call, key = self._steps.call, f"fl:{id}"
        last = call("ZSCORE", key, after) if after is not None else None
        low = "-inf" if last is None else f"({float(last):.0f}"
        ids = [each.decode() for each in call("ZRANGEBYSCORE", key, low, "+inf", "LIMIT", 0, limit)]
        return [each for each in self._reader.parts(ids) if each is not None]

    def workers(self) -> builtins.list[WorkerView]:
        steps = self._steps
        prefix = steps.prefix
        flat = steps.call("ZRANGE", "owners", 0, -1, "WITHSCORES")
        pairs = zip(flat[::2], flat[1::2], strict=True)
        owners = {each.decode(): float(deadline) for each, deadline in pairs}
        asked: builtins.list[tuple[Any, ...]] = [("TIME",)]
        for owner in owners:
            asked.append(("HMGET", f"{prefix}w:{owner}", *_WORKER))
            asked.append(("SCARD", f"{prefix}h:{owner}"))
        (secs, micros), *told = steps.connection.pipeline(asked)
        now = steps.mono(int(secs) + int(micros) / 1e6)
        found = []
        for owner, values, held in zip(owners, told[::2], told[1::2], strict=True):
            manifest, registered, beat, number = values
            # One without a manifest is gone; one with a deadline below 0 is being reaped.
            if manifest is None or owners[owner] < 0:
                continue
            view = WorkerView(
                owner,
                _manifest(manifest),
                float(registered),
                float(beat),
                owners[owner] >= now,
                held,
            )
            found.append((int(number), view))
        return [view for _, view in sorted(found, key=lambda each: each[0])]

    def facts(self) -> dict[str, object]:
        steps = self._steps
        options = steps.options
        found = facts.facts_of(facts.read(steps.connection), options.keyprefix + options.namespace)
        aside = {state: steps.call("ZCARD", f"aside:{LETTERS[state]}") for state in _ASIDE}
        return {
            **found,
            "records": sum(sum(each.values()) for each in self.counts().states.values()),
            "workers": steps.call("ZCARD", "owners"),
            "limits reached": sorted(
                state for state, number in aside.items() if number >= options.dead_limit
            ),
        }

    def traps(self) -> builtins.list[Trap]:
        return facts.traps_of(facts.read(self._steps.connection))

    # -- acting

    def retry(
        self, ids: Sequence[str], messages: Mapping[str, Message] | None = None
    ) -> builtins.list[str]:
        beside = Beside(5)
        new = {id: beside.message(message) for id, message in (messages or {}).items()}
        packed = pack(new)
        # What a large step left must be followed before anything of it lives again or goes.
        self._reaper.work_off()
        reopened: dict[str, None] = {}
        for id in ids:
            if id not in reopened:
                try:
                    again = self._steps.run_once("retry", id, packed, *beside.values)
                except ScriptError as error:
                    raise not_reopened(error, id) from None
                reopened |= dict.fromkeys(each.decode() for each in again)
                crashpoint("retry.applied")
        return [*reopened]

    def discard(self, ids: Sequence[str]) -> builtins.list[str]:
        self._reaper.work_off()
        removed: builtins.list[str] = []
        for start in range(0, len(ids), BATCH):
            left, some = 1, builtins.list(ids[start : start + BATCH])
            while left:
                gone, left = self._steps.run_once("discard", DISCARDED_REASON, *some)
                removed += [each.decode() for each in gone]
                if left:
                    self._reaper.work_off(left=True)
                crashpoint("discard.applied")
        return removed
