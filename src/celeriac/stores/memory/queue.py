"""The queue face of the memory store: enqueue, leases, exchanges. Private to ``stores/memory``."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence

from celeriac import states
from celeriac.crashpoints import crashpoint
from celeriac.exceptions import StoreError
from celeriac.message import Message, NewJoin
from celeriac.records import (
    INLINE_RESULT_MAX,
    Beat,
    Commit,
    Delivery,
    Exchanged,
    Fence,
    Manifest,
    Outgoing,
    Reaped,
    RevokedStamp,
    RevokeEffect,
    RevokeOrder,
    Stamp,
    Verdict,
    Want,
)
from celeriac.stores import fates, finish
from celeriac.stores.memory import reaper, storing
from celeriac.stores.memory.core import Core
from celeriac.stores.memory.rows import Lane, Owner, Row
from celeriac.stores.turns import Turns


class MemoryQueue:
    """``stores.base.Queue`` in this process."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._seen = threading.local()
        self._turns = Turns()

    # -- enqueue

    def enqueue(
        self,
        messages: Sequence[Message],
        join: str | None = None,
        joins: Sequence[NewJoin] = (),
    ) -> None:
        with self._core.step():
            storing.enqueue(self._core, messages, join, joins)
        crashpoint("enqueue.applied")

    def open_join(
        self,
        join: str,
        body: Message,
        behind: Sequence[Message] = (),
        joins: Sequence[NewJoin] = (),
    ) -> None:  # fmt: skip
        with self._core.step():
            storing.open_join(self._core, join, [body, *behind], joins)
        crashpoint("enqueue.applied")

    def seal(self, join: str, size: int) -> None:
        with self._core.step():
            storing.seal(self._core, join, size)
        crashpoint("enqueue.applied")

    # -- owners

    def register(self, owner: str, manifest: Manifest) -> None:
        core = self._core
        with core.step():
            now = core.clock.wall()
            until = core.clock.monotonic() + core.options.lease
            known = core.owners.get(owner)
            if known is None:
                core.owners[owner] = Owner(owner, manifest, now, now, until)
            else:
                known.manifest, known.beat_at, known.until = manifest, now, until
            self._turns.begin(reaper.turn(core))
            core.unpark(manifest.tasks)
            core.ring()

    def beat(self, owner: str, started: Sequence[Fence] = ()) -> Beat:
        core = self._core
        with core.step():
            self._note_started(started)
            found = core.owners.get(owner)
            if found is None:
                return Beat(lost=True)  # which is no turn: the next pass must see the gap
            found.beat_at = core.clock.wall()
            found.until = core.clock.monotonic() + core.options.lease
            reaped = reaper.reap(core, self._turns) if reaper.is_due(core) else None
            self._turns.had(reaper.turn(core))
            answer = Beat(
                revoked=tuple(
                    RevokeOrder(_fence(row), row.terminate)
                    for row in core.held_by(found)
                    if row.revoked
                ),
                reaped=reaped,
                stamps=max((each.number for each in core.stamps.values()), default=0),
            )
        crashpoint("beat.applied")
        return answer

    def leases(self, owner: str) -> list[Fence]:
        core = self._core
        with core.step():
            found = core.owners.get(owner)
            return [] if found is None else [_fence(row) for row in core.held_by(found)]

    def reap(self, dead: Collection[str] = ()) -> Reaped:
        with self._core.step():
            return reaper.reap(self._core, self._turns, dead)

    def close_owner(self, owner: str) -> int:
        core = self._core
        with core.step():
            found = core.owners.get(owner)
            held = core.held_by(found) if found is not None else []
            for row in held:
                self._hand_back(row, row.state == states.RUNNING, 0.0)
            core.owners.pop(owner, None)
        crashpoint("close.applied")
        return len(held)

    # -- fenced writes

    def _judge(self, fence: Fence) -> tuple[Verdict, Row | None]:
        row = self._core.rows.get(fence.id)
        if row is None:
            return Verdict.FENCED, None
        if row.state in states.HELD and (row.attempt, row.nonce) == (fence.attempt, fence.nonce):
            return Verdict.OK, row
        return (Verdict.ALREADY if row.applied == fence else Verdict.FENCED), row

    def _note_started(self, fences: Sequence[Fence]) -> None:
        for fence in fences:
            verdict, row = self._judge(fence)
            if verdict is Verdict.OK and row is not None and row.state == states.LEASED:
                self._core.move(row, states.RUNNING)
                row.started_at = self._core.clock.wall()

    def release(
        self, owner: str, fences: Sequence[Fence], started: bool = False, delay: float = 0.0
    ) -> tuple[Verdict, ...]:
        with self._core.step():
            verdicts = []
            for fence in fences:
                verdict, row = self._judge(fence)
                if verdict is Verdict.OK and row is not None:
                    row.applied = fence
                    self._hand_back(row, started, delay)
                verdicts.append(verdict)
        crashpoint("release.applied")
        return tuple(verdicts)

    def _hand_back(self, row: Row, started: bool, delay: float) -> None:
        core = self._core
        worker = str(core.owners.get(row.owner or "", f"worker {row.owner}"))
        fate = fates.handed_back(row.held(), started, delay, worker, now=core.clock.wall())
        if not started:
            row.attempt -= 1
        core.give(row, fate)

    def update(self, fence: Fence, state: str, meta: bytes | None) -> Verdict:
        with self._core.step():
            verdict, row = self._judge(fence)
            if verdict is Verdict.OK and row is not None:
                row.custom_state, row.meta = state, meta
            return verdict

    def _commit(self, commit: Commit) -> Verdict:
        core = self._core
        verdict, row = self._judge(commit.fence)
        if verdict is not Verdict.OK or row is None:
            return verdict
        given = storing.accepted(core, row.id, commit.outcome)
        outcome = given.outcome
        row.applied = commit.fence
        if outcome.terminal:
            storing.store(core, given.parts, outcome.joins, committed=row.id)
            row.body, row.keep = outcome.body, outcome.keep
            row.retries += outcome.charge == "retry"
            row.crashes += outcome.charge == "crash"  # the one that made it dead counts, too
            core.finish(row.id, outcome.state, outcome.reason)
            return verdict
        fate = fates.repeated(row.held(), outcome, now=core.clock.wall())
        if fate.state in states.TERMINAL:
            core.give(row, fate)
        else:
            storing.replace(core, row, fate, given)
        return verdict

    # -- exchange

    def exchange(
        self,
        owner: str,
        lane: int,
        seq: int,
        commits: Sequence[Commit],
        started: Sequence[Fence],
        queues: Sequence[str],
        want: Want,
    ) -> Exchanged:
        crashpoint("exchange.before")
        core = self._core
        with core.step():
            found = core.owners.get(owner)
            last = found.lanes.get(lane) if found is not None else None
            if last is not None and seq < last.seq:
                raise StoreError(
                    f"exchange {seq} of lane {lane} of owner {owner} comes after {last.seq}: "
                    "a reply that is no longer kept; register a new owner"
                )
            repeated = last is not None and seq == last.seq
            verdicts = [
                self._commit_again(each, last)
                if repeated and last is not None
                else self._commit(each)
                for each in commits
            ]
            self._note_started(started)
            core.promote()
            if found is None:
                answer = Exchanged(tuple(verdicts), lost=True)
            elif repeated and last is not None:
                answer = Exchanged(
                    tuple(verdicts), self._still_leased(found, last, lane), more=last.more
                )
            else:
                taken = _Taker(core, found, f"{owner}.{lane}.{seq}", want).take(queues)
                more = any(core.ready[queue] for queue in queues)
                found.lanes[lane] = Lane(
                    seq,
                    dict(zip((each.fence for each in commits), verdicts, strict=True)),
                    tuple(each.id for each in taken),
                    more,
                )
                if more:
                    core.ring()
                answer = Exchanged(tuple(verdicts), tuple(taken), more=more)
        crashpoint("exchange.applied")
        return answer

    def _commit_again(self, commit: Commit, last: Lane) -> Verdict:
        before = last.verdicts.get(commit.fence)
        if before is None:
            return self._commit(commit)
        return Verdict.ALREADY if before is Verdict.OK else before

    def _still_leased(self, owner: Owner, last: Lane, lane: int) -> tuple[Delivery, ...]:
        nonce = f"{owner.id}.{lane}.{last.seq}"
        rows = (self._core.rows.get(id) for id in last.leased)
        return tuple(
            _delivery(self._core, row)
            for row in rows
            if row is not None and row.state in states.HELD and row.nonce == nonce
        )

    # -- waiting

    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        core = self._core
        deadline = time.monotonic() + timeout
        with core.step():
            while True:
                # A ring since this thread last woke counts: what it rang for (a parked record,
                # say) may not be visible as ready work.
                if core.rings != getattr(self._seen, "rings", 0):
                    self._seen.rings = core.rings
                    return True
                if any(core.ready[queue] for queue in queues):
                    return True
                left = deadline - time.monotonic()
                if core.due:
                    until_due = core.due[0][0] - core.clock.wall()
                    if until_due <= 0:
                        return True
                    left = min(left, until_due)
                if left <= 0:
                    return False
                core.work.wait(left)

    def wake(self) -> None:
        with self._core.step():
            self._core.ring()

    # -- revoke, purge

    def revoke(self, ids: Sequence[str], terminate: str | None = None) -> dict[str, RevokeEffect]:
        with self._core.step():
            effects = {id: self._revoke(id, terminate) for id in ids}
        crashpoint("revoke.applied")
        return effects

    def _revoke(self, id: str, terminate: str | None) -> RevokeEffect:
        core = self._core
        row = core.rows.get(id)
        if row is None:
            core.tombstones[id] = (core.clock.wall() + core.options.revoke_expires, terminate)
            return RevokeEffect.UNKNOWN
        if row.state == states.CANCELLED:
            return RevokeEffect.REVOKED
        if row.state in states.TERMINAL:
            return RevokeEffect.ENDED
        row.terminate = terminate or row.terminate
        if row.state in states.HELD:
            row.revoked = True
            return RevokeEffect.PENDING
        core.finish(id, states.CANCELLED, finish.REVOKED_REASON)
        return RevokeEffect.REVOKED

    def revoke_stamps(self, stamps: Sequence[str], terminate: str | None = None) -> None:
        core = self._core
        with core.step():
            until = core.clock.wall() + core.options.revoke_expires
            for stamp in stamps:
                known = core.stamps.pop(stamp, None)
                how = terminate or (known.terminate if known is not None else None)
                core.stamps[stamp] = RevokedStamp(core.number(), stamp, until, how)

    def revoked_stamps(self, after: int = 0) -> list[RevokedStamp]:
        core = self._core
        with core.step():
            now = core.clock.wall()
            return [
                each for each in core.stamps.values() if each.number > after and each.until > now
            ]

    def purge(self, queues: Sequence[str]) -> int:
        core = self._core
        with core.step():
            purged = [
                row
                for row in core.rows.values()
                if row.queue in queues and row.state in (states.QUEUED, states.SCHEDULED)
            ]
            for row in purged:
                core.finish(row.id, states.CANCELLED, fates.PURGED_REASON)
        crashpoint("purge.applied")
        return len(purged)

    # -- mirroring

    def outbox(self, limit: int) -> list[Outgoing]:
        core = self._core
        with core.step():
            oldest = list(core.outbox.items())[:limit]
            return [Outgoing(number, id, core.rows[id].result()) for id, number in oldest]

    def mirrored(self, numbers: Sequence[int]) -> None:
        core, told = self._core, frozenset(numbers)
        with core.step():
            core.outbox = {id: n for id, n in core.outbox.items() if n not in told}

    def outgoing(self, ids: Sequence[str]) -> set[str]:
        with self._core.step():
            return {id for id in ids if id in self._core.outbox}


class _Taker:
    """Takes the next batch for one owner."""

    def __init__(self, core: Core, owner: Owner, nonce: str, want: Want) -> None:
        self.core = core
        self.owner = owner
        self.nonce = nonce
        self.free, self.ahead, self.brief = want.free, want.ahead, want.brief
        self.now = core.clock.wall()

    def take(self, queues: Sequence[str]) -> list[Delivery]:
        taken = [_delivery(self.core, row) for row in self._from_parked(queues)]
        taken.extend(_delivery(self.core, row) for row in self._round_robin(queues))
        return taken

    def _from_parked(self, queues: Sequence[str]) -> list[Row]:
        keys = [key for key in self.core.parked if key[0] in queues and key[1] in self._facts]
        rows = [self.core.rows[id] for key in keys for id in self.core.parked[key]]
        rows.sort(key=lambda row: (-row.priority, row.sequence))
        return [row for row in rows if self._usable(row) and self._fits(row) and self._lease(row)]

    @property
    def _facts(self) -> Collection[str]:
        return self.owner.manifest.tasks

    def _round_robin(self, queues: Sequence[str]) -> list[Row]:
        order = list(dict.fromkeys(queues))
        if self.owner.last_queue in order:
            behind = order.index(self.owner.last_queue) + 1
            order = order[behind:] + order[:behind]
        taken: list[Row] = []
        while order:
            row = self._next(order[0])
            if row is None or not (self._fits(row) and self._lease(row)):
                order.pop(0)
                continue
            taken.append(row)
            self.owner.last_queue = order[0]
            order.append(order.pop(0))
        return taken

    def _next(self, queue: str) -> Row | None:
        """The head of a queue once the ended and the unknown are out of the way."""
        while (row := self.core.head(queue)) is not None:
            if not self._usable(row):
                continue
            if row.task in self._facts:
                return row
            self.core.park(row)
        return None

    def _usable(self, row: Row) -> bool:
        """End a row that is revoked or expired instead of leasing it."""
        if row.revoked:
            self.core.finish(row.id, states.CANCELLED, finish.REVOKED_REASON)
        elif row.expires is not None and row.expires <= self.now:
            self.core.finish(row.id, states.EXPIRED, finish.EXPIRED_REASON)
        return row.state == states.QUEUED

    def _fits(self, row: Row) -> bool:
        if self.free > 0:
            return True
        return (
            self.ahead > 0
            and row.task in self.brief
            and not row.crashes
            and not row.losses
            and not self._stamp(row) & Stamp.AT_MOST_ONCE
        )

    def _stamp(self, row: Row) -> Stamp:
        return self.owner.manifest.tasks[row.task].stamp

    def _lease(self, row: Row) -> bool:
        if self.free > 0:
            self.free -= 1
        else:
            self.ahead -= 1
        stamp = self._stamp(row)
        # From the second loss on the lease counts as the start, so that nothing is prefetched.
        begun = bool(stamp & Stamp.AT_MOST_ONCE) or row.losses > 1
        self.core.move(row, states.RUNNING if begun else states.LEASED)
        row.attempt += 1
        row.owner, row.nonce = self.owner.id, self.nonce
        row.worker = self.owner.manifest.hostname or self.owner.id
        row.leased_at, row.started_at = self.now, self.now if begun else None
        row.stamp = int(stamp)
        row.custom_state = row.meta = None
        self.owner.held[row.id] = None
        return True


def _fence(row: Row) -> Fence:
    return Fence(row.id, row.attempt, row.nonce or "")


def _delivery(core: Core, row: Row) -> Delivery:
    inputs = None
    if row.edges is not None and row.edges.takes is not None:
        source = core.rows.get(row.edges.takes)
        if source is not None and len(source.body or b"") <= INLINE_RESULT_MAX:
            inputs = source.body
    return Delivery(
        row.id,
        row.attempt,
        row.nonce or "",
        row.wire or b"",
        row.queue,
        row.retries,
        row.crashes,
        row.losses,
        inputs,
    )


__all__ = ["MemoryQueue"]
