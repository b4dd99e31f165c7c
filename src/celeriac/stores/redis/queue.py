"""The queue face of the Redis store: each method is one script, or a few bounded ones.

Part of the Redis store. What a step does stands in ``lua/``; here is what it is asked and told.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from typing import Any, Final
from zlib import crc32

from celeriac import message as wire
from celeriac import states
from celeriac.crashpoints import crashpoint
from celeriac.exceptions import DecodeError, PayloadTooLarge, StoreError
from celeriac.message import Alike, Message, NewJoin, check_joins
from celeriac.outcome import Outcome
from celeriac.records import (
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
    Verdict,
    Want,
)
from celeriac.stores.effects import outsiders
from celeriac.stores.fates import PURGED_REASON
from celeriac.stores.redis.packing import (
    LETTERS,
    VERDICTS,
    Beside,
    pack,
    queue_in,
    unpack,
    wire_of,
)
from celeriac.stores.redis.plainly import enqueue_plain
from celeriac.stores.redis.reading import Reader
from celeriac.stores.redis.reaper import Reaper
from celeriac.stores.redis.steps import Steps
from celeriac.stores.redis.troubles import ScriptError, refusal
from celeriac.stores.redis.waiter import Waiters
from celeriac.stores.turns import Turn

#: Records one script touches at most where a call may concern any number of them.
BATCH: Final = 500
#: Most messages, and bytes of their arguments, that one call of `enqueue` stores: it is one step,
#: and the server does nothing else meanwhile. Ten thousand take it 0.2 s, with options that differ
#: a second; of a request beyond 512 MiB it would hang up.
ENQUEUE_MOST: Final = 10_000
ENQUEUE_BYTES: Final = 128 * 1024 * 1024
_EFFECTS: Final = {
    "R": RevokeEffect.REVOKED,
    "P": RevokeEffect.PENDING,
    "E": RevokeEffect.ENDED,
    "U": RevokeEffect.UNKNOWN,
}
_DOUBLE: Final = struct.Struct(">d")


class RedisQueue:
    """``stores.base.Queue`` on a Redis server."""

    def __init__(self, steps: Steps, reader: Reader) -> None:
        self._steps = steps
        self._reader = reader
        self._reaper = Reaper(steps)
        self._waiters = Waiters(steps)

    # -- enqueue

    def enqueue(
        self,
        messages: Sequence[Message],
        join: str | None = None,
        joins: Sequence[NewJoin] = (),
    ) -> None:
        if len(messages) > 1:
            _check_size(messages)
        if joins:
            check_joins(messages, joins)
        if not (messages and not joins and enqueue_plain(self._steps, messages, join)):
            beside = Beside(4)
            rows = [beside.message(each) for each in messages]
            waiting = outsiders(messages, joins) if join is not None else ()
            request = pack((rows, join or False, joins, waiting))
            self._sending("enqueue", join, request, *beside.values)
        crashpoint("enqueue.applied")

    def open_join(
        self,
        join: str,
        body: Message,
        behind: Sequence[Message] = (),
        joins: Sequence[NewJoin] = (),
    ) -> None:  # fmt: skip
        messages = (body, *behind)
        _check_size(messages)
        if joins:
            check_joins(behind, joins)
        beside = Beside(4)
        rows = [beside.message(each) for each in messages]
        self._sending("open_join", join, pack((join, joins, *rows)), *beside.values)
        crashpoint("enqueue.applied")

    def seal(self, join: str, size: int) -> None:
        self._sending("seal", join, join, str(size))
        crashpoint("enqueue.applied")

    def _sending(self, script: str, join: str | None, *args: bytes | str) -> None:
        try:
            self._steps.run(script, *args)
        except ScriptError as error:
            raise refusal(error, join) from None

    # -- owners

    def register(self, owner: str, manifest: Manifest) -> None:
        names: list[str] = []
        for name, facts in manifest.tasks.items():
            names += (name, str(int(facts.stamp)))
        mono = self._steps.clock.monotonic()
        wall = self._steps.run(
            "register", owner, pack(manifest), manifest.hostname, str(manifest.pid), *names
        )
        self._reaper.turns.begin(Turn(mono, self._steps.wall(wall)))
        while self._steps.run("unpark", owner):
            pass

    def beat(self, owner: str, started: Sequence[Fence] = ()) -> Beat:
        starts = pack(_flat(started))
        mono = self._steps.clock.monotonic()
        answered = self._steps.run("beat", owner, starts, "0")
        lost, revoked, due, stamps, wall, run = answered
        reaped = self._reaper.run(ride=True) if due and not lost else None
        if reaped is not None:
            # The pass may have ended leases of this owner, too.
            answered = self._steps.run("beat", owner, pack(()), "1")
            lost, revoked, _, stamps, _, run = answered
        elif not lost:
            # Not before: were there a pass due and it failed, the next must still see the gap. Nor
            # by a beat for an owner that is lost, with which no pass rides.
            self._reaper.turns.had(Turn(mono, self._steps.wall(wall)))
        answer = Beat(
            lost=bool(lost),
            revoked=tuple(_orders(revoked)),
            reaped=reaped,
            stamps=stamps,
            run=run.decode(),
        )
        crashpoint("beat.applied")
        return answer

    def leases(self, owner: str) -> list[Fence]:
        return _fences(self._steps.run("leases", owner))

    def reap(self, dead: Collection[str] = ()) -> Reaped:
        reaped = self._reaper.run(dead)
        assert reaped is not None
        return reaped

    def close_owner(self, owner: str) -> int:
        count, gone = 0, 0
        while not gone:
            some, gone, left = self._steps.run("close", owner)
            count += some
            if left:
                self._reaper.work_off(left=True)
        crashpoint("close.applied")
        return count

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
        beside = Beside(4)
        ids, which, kinds = self._kinds(commits, beside)
        request = _request(owner, lane, seq, (ids, which, kinds), started, queues, want)
        try:
            answer = self._steps.run("exchange", request, *beside.values)
        except ScriptError as error:
            if error.kind != "SEQ":
                raise
            raise StoreError(
                f"exchange {seq} of lane {lane} of owner {owner} comes after {error.text}: "
                "a reply that is no longer kept; register a new owner"
            ) from None
        return self._exchanged(answer, f"{owner}.{lane}.{seq}")

    def _exchanged(self, answer: list[Any], nonce: str) -> Exchanged:
        """What the script answered; *nonce* is that of what it leased."""
        lost, more, left, verdicts, deliveries = answer[:5]
        if left:
            self._reaper.work_off(left=True)
        answered = Exchanged(
            tuple([VERDICTS[letter] for letter in verdicts.decode()]),
            _deliveries(deliveries, nonce),
            bool(lost),
            bool(more),
        )
        crashpoint("exchange.applied")
        return answered

    def wait_and_lease(
        self, owner: str, lane: int, seq: int, queues: Sequence[str], want: Want, timeout: float
    ) -> Exchanged | None:
        def request(away: str) -> bytes:
            return _request(owner, lane, seq, ((), (), ()), (), queues, want, away)

        crashpoint("exchange.before")
        answer = self._waiters.lease(queues, timeout, request)
        if isinstance(answer, list):
            return self._exchanged(answer, f"{owner}.{lane}.{seq}")
        return self.exchange(owner, lane, seq, (), (), queues, want) if answer else None

    def _kinds(
        self, commits: Sequence[Commit], beside: Beside
    ) -> tuple[list[str], list[int], list[Any]]:
        """Ids, the number of each one's kind, the kinds; the bodies come first beside."""
        ids, which = [], []
        kinds: list[Any] = []
        known: dict[tuple[object, ...], int] = {}
        outcomes = [self._checked(each.outcome) for each in commits]
        beside.values = [each[0].body or b"" for each in outcomes]
        for commit, (outcome, new, parts) in zip(commits, outcomes, strict=True):
            fence = commit.fence
            ids.append(fence.id)
            plain = (
                fence.attempt,
                fence.nonce,
                LETTERS[outcome.state],
                outcome.reason,
                0 if outcome.keep else 1,
                0 if outcome.body is None else 1,
                outcome.charge,
                False if outcome.eta is None else outcome.eta,
                outcome.delay,
            )
            if new is None and not parts:
                number = known.get(plain)
                if number is None:
                    kinds.append((*plain, False, (), ()))
                    number = known[plain] = len(kinds)
            else:
                message = False if new is None else beside.message(new, outcome.message)
                made = [beside.message(each) for each in parts]
                kinds.append((*plain, message, made, outcome.joins))
                number = len(kinds)
            which.append(number)
        return ids, which, kinds

    def _checked(self, outcome: Outcome) -> tuple[Outcome, Message | None, list[Message]]:
        """The outcome, or the failure it becomes if its content cannot be stored."""
        limit = self._steps.options.result_max
        if outcome.body is not None and len(outcome.body) > limit:
            reason = (
                f"ResultTooLarge: the result takes {len(outcome.body)} bytes and {limit} are "
                "allowed"
            )
            return Outcome(states.FAILED, reason=reason), None, []
        if outcome.message is None and not outcome.parts and not outcome.joins:
            return outcome, None, []
        try:
            new = wire.decode(outcome.message) if outcome.message is not None else None
            parts = [wire.decode(part) for part in outcome.parts]
            if outcome.joins:
                check_joins([*parts, *([new] if new is not None else [])], outcome.joins)
        except (DecodeError, StoreError) as error:
            reason = f"{type(error).__name__}: {error}"
            return Outcome(states.FAILED, reason=reason), None, []
        return outcome, new, parts

    def release(
        self, owner: str, fences: Sequence[Fence], started: bool = False, delay: float = 0.0
    ) -> tuple[Verdict, ...]:
        letters, left = self._steps.run(
            "release", pack(_flat(fences)), "1" if started else "0", _DOUBLE.pack(delay)
        )
        if left:
            self._reaper.work_off(left=True)
        crashpoint("release.applied")
        return tuple(VERDICTS[letter] for letter in letters.decode())

    def update(self, fence: Fence, state: str, meta: bytes | None) -> Verdict:
        kept = b"-" if meta is None else b"+" + meta
        letter = self._steps.run("update", fence.id, str(fence.attempt), fence.nonce, state, kept)
        return VERDICTS[letter.decode()]

    # -- waiting

    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        return self._waiters.wait(queues, timeout)

    def wake(self) -> None:
        self._waiters.wake()

    # -- revoke, purge

    def revoke(self, ids: Sequence[str], terminate: str | None = None) -> dict[str, RevokeEffect]:
        effects: dict[str, RevokeEffect] = {}
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            letters, left = self._steps.run("revoke", terminate or "", *some)
            if left:
                self._reaper.work_off(left=True)
            effects.update(
                (id, _EFFECTS[letter]) for id, letter in zip(some, letters.decode(), strict=True)
            )
            crashpoint("revoke.applied")
        return effects

    def revoke_stamps(self, stamps: Sequence[str], terminate: str | None = None) -> None:
        self._steps.run("revoke_stamps", terminate or "", *stamps)

    def revoked_stamps(self, after: int = 0) -> list[RevokedStamp]:
        flat = self._steps.run("stamps", str(after))
        found = []
        for at in range(0, len(flat), 3):
            until, terminate = unpack(flat[at + 2])
            found.append(
                RevokedStamp(flat[at + 1], flat[at].decode(), float(until), terminate or None)
            )
        return found

    def purge(self, queues: Sequence[str]) -> int:
        count = 0
        for queue in dict.fromkeys(queues):
            # What the ends of others release meanwhile is not concerned.
            last, others = self._reader.last_number(), self._reader.come_back(queue)
            for priority in range(10):
                more = 1
                while more:
                    ended, more = self._end("purge", queue, str(priority), str(last))
                    count += ended
            for start in range(0, len(others), BATCH):
                (ended,) = self._end("end_all", queue, *others[start : start + BATCH])
                count += ended
        return count

    def _end(self, script: str, *args: str) -> list[int]:
        """Run a script that ends records; work off what it left. Its other answers."""
        answers: list[int] = self._steps.run_once(script, PURGED_REASON, *args)
        if answers.pop():
            self._reaper.work_off(left=True)
        crashpoint("purge.applied")
        return answers

    # -- mirroring

    def outbox(self, limit: int) -> list[Outgoing]:
        # The numbers first: what changes after they were read has a higher one by then.
        flat = self._steps.call("ZRANGE", "outbox", 0, limit - 1, "WITHSCORES")
        ids = [each.decode() for each in flat[::2]]
        rows = zip(ids, flat[1::2], self._reader.results(ids, own=True), strict=True)
        return [Outgoing(int(float(number)), id, result) for id, number, result in rows]

    def mirrored(self, numbers: Sequence[int]) -> None:
        connection, key = self._steps.connection, self._steps.prefix + "outbox"
        for start in range(0, len(numbers), BATCH):
            connection.pipeline(
                [
                    ("ZREMRANGEBYSCORE", key, number, number)
                    for number in numbers[start : start + BATCH]
                ]
            )

    def outgoing(self, ids: Sequence[str]) -> set[str]:
        if not ids:
            return set()
        scores = self._steps.call("ZMSCORE", "outbox", *ids)
        return {id for id, score in zip(ids, scores, strict=True) if score is not None}


def _check_size(messages: Sequence[Message]) -> None:
    """Refuse more than one step may store."""
    if isinstance(messages, Alike):
        size = sum(map(len, messages.payloads))
    else:
        size = sum(len(each.payload) for each in messages)
    if len(messages) > ENQUEUE_MOST:
        what, most = f"{len(messages):,} messages", f"{ENQUEUE_MOST:,} messages"
    elif size > ENQUEUE_BYTES:
        what, most = f"messages with {size:,} bytes of arguments", f"{ENQUEUE_BYTES:,} bytes"
    else:
        return
    raise PayloadTooLarge(
        f"{what} in one call are more than a Redis server can store in one step without keeping "
        f"everybody waiting; nothing was stored. Send them in parts of at most {most}: of each "
        "part all is stored or nothing."
    )


def _request(
    owner: str,
    lane: int,
    seq: int,
    commits: tuple[Sequence[str], Sequence[int], Sequence[Any]],
    started: Sequence[Fence],
    queues: Sequence[str],
    want: Want,
    away: str = "",
) -> bytes:
    """What ``exchange.lua`` is asked: *commits* as ids, the kind of each, the kinds."""
    ids, which, kinds = commits
    return pack(
        (
            owner,
            lane,
            seq,
            crc32("\n".join(ids).encode()) if ids else 0,
            ids,
            which,
            kinds,
            _flat(started),
            list(dict.fromkeys(queues)),
            want.free,
            want.ahead,
            "\0".join(("", *want.brief, "")) if want.ahead else "",
            away,
        )
    )


def _flat(fences: Sequence[Fence]) -> list[Any]:
    flat: list[Any] = []
    for each in fences:
        flat += (each.id, each.attempt, each.nonce)
    return flat


def _fences(flat: list[Any]) -> list[Fence]:
    rows = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return [Fence(id.decode(), attempt, nonce.decode()) for id, attempt, nonce in rows]


def _orders(revoked: list[Any]) -> list[RevokeOrder]:
    return [
        RevokeOrder(
            Fence(revoked[at].decode(), revoked[at + 1], revoked[at + 2].decode()),
            revoked[at + 3].decode() or None,
        )
        for at in range(0, len(revoked), 4)
    ]


def _deliveries(flat: list[Any], nonce: str) -> tuple[Delivery, ...]:
    found = []
    for at in range(0, len(flat), 4):
        id, data, extra, inputs = flat[at : at + 4]
        if not (extra or inputs or data is None):  # a first run, as nearly all are
            found.append(Delivery(id.decode(), 1, nonce, wire_of(data), queue_in(data)))
            continue
        attempt, retries, crashes, losses = map(int, extra.split()) if extra else (1, 0, 0, 0)
        found.append(
            Delivery(
                id.decode(),
                attempt,
                nonce,
                b"" if data is None else wire_of(data),
                "" if data is None else queue_in(data),
                retries,
                crashes,
                losses,
                inputs[1:] if inputs else None,
            )
        )
    return tuple(found)


__all__ = ["BATCH", "RedisQueue"]
