"""The reaper of the memory store: lost owners, expiry, unsealed joins, retention.

Private to ``stores/memory``. The caller holds the lock.
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import heappop, heappush

from celeriac import states
from celeriac.crashpoints import crashpoint
from celeriac.records import Reaped
from celeriac.stores import fates, finish
from celeriac.stores.memory.core import Core
from celeriac.stores.memory.rows import Owner
from celeriac.stores.turns import Turn, Turns


def is_due(core: Core) -> bool:
    """Whether a pass may ride in a heartbeat now."""
    last = core.last_pass
    return last is None or abs(core.clock.monotonic() - last) >= core.options.reap_interval


def reap(core: Core, turns: Turns, dead: Collection[str] = ()) -> Reaped:
    """One pass. See ``stores.base.Queue.reap``. *turns*: those of whoever makes it."""
    now = core.clock.monotonic()
    grace = _time_is_suspect(core, turns)
    turns.had(turn(core))
    beyond = now + core.options.lease
    for owner in core.owners.values():
        owner.until = beyond if grace else min(owner.until, beyond)
    core.last_pass = now
    lost = [owner for owner in core.owners.values() if owner.until < now or owner.id in dead]
    ended: dict[str, int] = {}
    for owner in lost:
        _lose(core, owner, ended)
        crashpoint("reap.applied")
    expired = _expire(core)
    core.promote()
    joins = _give_up_joins(core)
    swept = 0 if grace else _sweep(core)
    if any(core.ready.values()):
        core.ring()
    if any(
        task in owner.manifest.tasks for owner in core.owners.values() for _, task in core.parked
    ):
        core.summon()
    crashpoint("reap.applied")
    return Reaped(
        owners=tuple(owner.id for owner in lost),
        requeued=ended.get(states.QUEUED, 0) + ended.get(states.SCHEDULED, 0),
        failed=ended.get(states.FAILED, 0),
        dead=ended.get(states.DEAD, 0),
        expired=expired + ended.get(states.EXPIRED, 0),
        swept=swept,
        joins=joins,
        workers=tuple(map(str, lost)),
    )


def _time_is_suspect(core: Core, turns: Turns) -> bool:
    return turns.stood_still(turn(core), core.last_pass, core.options.lease)


def turn(core: Core) -> Turn:
    """One now."""
    return Turn(core.clock.monotonic(), core.clock.wall())


def _lose(core: Core, owner: Owner, ended: dict[str, int]) -> None:
    for row in core.held_by(owner):
        fate = fates.lost(row.held(), str(owner), now=core.clock.wall(), options=core.options)
        ended[fate.state] = ended.get(fate.state, 0) + 1
        core.give(row, fate)
    del core.owners[owner.id]


def _expire(core: Core) -> int:
    now = core.clock.wall()
    count = 0
    while core.expiring and core.expiring[0][0] <= now:
        expires, id = heappop(core.expiring)
        row = core.rows.get(id)
        # A held row is looked at again when it comes back.
        if row is not None and row.expires == expires and row.state in states.PENDING_STORE_STATES:
            core.finish(id, states.EXPIRED, finish.EXPIRED_REASON)
            count += 1
    return count


def _give_up_joins(core: Core) -> int:
    limit = core.clock.monotonic() - core.options.join_seal_timeout
    stale = [
        join
        for join in core.joins.values()
        if join.size is None and not join.node().given_up and join.touched < limit
    ]
    for join in stale:
        core.apply(finish.abandon(core, join.id, join.arrived, now=core.clock.wall()))
    return len(stale)


def _sweep(core: Core) -> int:
    """Retention: remove what has been kept long enough, and the oldest above the limits."""
    now = core.clock.wall()
    swept = 0
    while core.dropping and core.dropping[0][0] <= now:
        drop_at, _, id = heappop(core.dropping)
        row = core.rows.get(id)
        if row is None or row.drop_at != drop_at:
            continue
        if core.referred(row):
            row.drop_at = now + core.options.lease
            heappush(core.dropping, (row.drop_at, row.order, id))
            continue
        core.drop(row)
        swept += 1
    for ended in core.set_aside.values():
        while len(ended) > core.options.dead_limit:
            core.drop(core.rows[next(iter(ended))])
            swept += 1
    for id in [id for id, (until, _) in core.tombstones.items() if until <= now]:
        del core.tombstones[id]
    for stamp in [each.stamp for each in core.stamps.values() if each.until <= now]:
        del core.stamps[stamp]
    for id in [id for id, (until, _) in core.foreign.items() if until is not None and until <= now]:
        del core.foreign[id]
    return swept


__all__ = ["is_due", "reap", "turn"]
