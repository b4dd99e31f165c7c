"""The store protocol on Redis, as a thin driver of the functions in ``lua``.

A spike: it shows that ``celeriac.stores.base`` fits Redis and what it costs. It speaks the
seam's data types (``Message``, ``Commit``, ``Want``, ``Exchanged``, ``Beat`` …); the parts of the
seam that are missing here (revoke, results, inspection …) are listed in README.md. The scripts
are one Redis Function library, loaded by :meth:`Spike.load`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import redis

from celeriac import states
from celeriac.exceptions import DuplicateTask, HeaderIncomplete, StoreError
from celeriac.message import Edges, Message
from celeriac.records import (
    Beat,
    Commit,
    Delivery,
    Exchanged,
    Fence,
    Manifest,
    Reaped,
    Verdict,
    Want,
)
from celeriac.stores.base import Options

LUA = Path(__file__).with_name("lua")
#: In this order: each file uses the functions of those before it.
FILES = ("records.lua", "enqueue.lua", "exchange.lua", "owners.lua")

#: Store states as the one letter a record holds.
LETTER = {
    states.WAITING: "W",
    states.SCHEDULED: "S",
    states.QUEUED: "Q",
    states.LEASED: "L",
    states.RUNNING: "R",
    states.SUCCEEDED: "s",
    states.FAILED: "f",
    states.CANCELLED: "c",
    states.EXPIRED: "x",
    states.SKIPPED: "i",
    states.REFUSED: "r",
    states.DEAD: "d",
}
STATE = {letter: state for state, letter in LETTER.items()}
_VERDICT = {"O": Verdict.OK, "A": Verdict.ALREADY, "F": Verdict.FENCED}
_pack = msgspec.msgpack.Encoder().encode


def library() -> str:
    """The source of the function library."""
    return "#!lua name=celeriac\n" + "\n".join((LUA / name).read_text() for name in FILES)


class Spike:
    """The queue protocol of the seam on one Redis connection."""

    def __init__(self, client: redis.Redis, options: Options | None = None) -> None:
        self.client = client
        self.options = options or Options()
        self.prefix = f"{self.options.keyprefix}{{{self.options.namespace}}}:"

    def load(self) -> None:
        """Put the function library on the server."""
        self.client.function_load(library(), replace=True)

    def _call(self, function: str, *args: object) -> object:
        return self.client.execute_command("FCALL", f"celeriac_{function}", 1, self.prefix, *args)

    def enqueue(
        self,
        messages: Sequence[Message],
        join: str | None = None,
        opens: tuple[str, str] | None = None,
    ) -> None:
        """Store *messages*, all or none; *opens* is (join id, body id) of a join to open."""
        try:
            self._call("enqueue", *enqueue_request(messages, join, opens))
        except redis.ResponseError as error:
            kind, _, rest = str(error).partition(" ")
            if kind == "DUPLICATE":
                raise DuplicateTask(rest) from None
            if kind == "INCOMPLETE":
                raise HeaderIncomplete(rest) from None
            raise

    def seal(self, join: str, size: int) -> None:
        """Tell an open join how many members it has."""
        self._call("seal", join, size)

    def register(self, owner: str, manifest: Manifest) -> None:
        """Make *owner* known with a fresh lease."""
        stamps = {name: int(facts.stamp) for name, facts in manifest.tasks.items()}
        self._call("register", owner, _pack(manifest), self._lease, _pack(stamps))

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
        """Commit outcomes, note starts, lease the next batch."""
        request = exchange_request(owner, lane, seq, commits, started, queues, want)
        try:
            answer = self._call("exchange", *request)
        except redis.ResponseError as error:
            if str(error).startswith("SEQ"):
                raise StoreError(f"exchange {seq} of lane {lane} is older than {error}") from None
            raise
        return exchanged(answer, f"{owner}.{lane}.{seq}")

    def beat(
        self,
        owner: str,
        started: Sequence[Fence] = (),
        held: Sequence[str] = (),
        extend: bool = False,
    ) -> Beat:
        """Extend the lease; reap if it is time."""
        o = self.options
        lost, gone, reaped = self._call(
            "beat",
            owner,
            self._lease,
            _pack(started),
            _pack(held),
            int(o.reap_interval * 1000),
            o.max_losses,
            int(o.loss_delay * 1000),
            int(extend),
            int(o.tombstone_expires * 1000),
        )
        return Beat(
            lost=bool(lost),
            gone=tuple(id.decode() for id in gone),
            reaped=_reaped(reaped) if reaped else None,
        )

    def reap(self, dead: Sequence[str] = ()) -> Reaped:
        """End the leases of owners that are over."""
        o = self.options
        delay = int(o.loss_delay * 1000)
        return _reaped(
            self._call(
                "reap",
                self._lease,
                _pack(list(dead)),
                o.max_losses,
                delay,
                0,
                int(o.tombstone_expires * 1000),
            )
        )

    def release(
        self, owner: str, fences: Sequence[Fence], started: bool = False, delay: float = 0.0
    ) -> tuple[Verdict, ...]:
        """Hand back, uncharged."""
        said = self._call("release", owner, _pack(fences), int(started), int(delay * 1000))
        return tuple(_VERDICT[letter] for letter in said.decode())

    def state(self, id: str) -> dict[str, object]:
        """The short fields of a record, for tests; empty where there is no such record."""
        found = self.client.get(f"{self.prefix}t:{id}")
        if found is None:
            return {"s": "Q"} if self.client.exists(f"{self.prefix}m:{id}") else {}
        return msgspec.msgpack.decode(found)

    @property
    def _lease(self) -> int:
        return int(self.options.lease * 1000)


def enqueue_request(
    messages: Sequence[Message],
    join: str | None = None,
    opens: tuple[str, str] | None = None,
) -> list[bytes]:
    """The arguments of ``celeriac_enqueue``: one packed value, then what is opaque to it.

    Bytes go beside the packed value: the server's MessagePack reader knows no ``bin``.
    """
    rows = []
    args = [b""]
    for message in messages:
        h = message.header
        flags = 0 if h.edges is None else h.edges.waits + 2 * _leads_on(h.edges)
        eta = int(h.eta * 1000) if h.eta else 0
        expires = int(h.expires * 1000) if h.expires else 0
        args.append(message.encode())
        rows.append((h.id, len(args), h.nonce, h.queue, h.priority, eta, expires, flags))
    args[0] = _pack((rows, join or False, opens or False))
    return args


def _leads_on(edges: Edges) -> bool:
    """Whether anything follows from the record's end."""
    return bool(edges.success or edges.failure or edges.join or edges.within)


def exchange_request(
    owner: str,
    lane: int,
    seq: int,
    commits: Sequence[Commit],
    started: Sequence[Fence],
    queues: Sequence[str],
    want: Want,
) -> list[bytes]:
    """The arguments of ``celeriac_exchange``: one packed value, then bodies and messages."""
    rows = []
    args = [b""]

    def beside(value: bytes | None) -> int | bool:
        if value is None:
            return False
        args.append(value)
        return len(args)

    for commit in commits:
        fence, outcome = commit.fence, commit.outcome
        rows.append(
            (
                fence.id,
                fence.attempt,
                fence.nonce,
                LETTER[outcome.state],
                beside(outcome.body),
                outcome.keep,
                outcome.reason,
                int(outcome.eta * 1000) if outcome.eta else 0,
                int(outcome.delay * 1000),
                outcome.charge,
                beside(outcome.message),
            )
        )
    brief = dict.fromkeys(want.brief, True)
    args[0] = _pack(
        (
            owner,
            lane,
            seq,
            rows,
            started,
            queues,
            want.free,
            want.ahead,
            brief,
        )
    )
    return args


def exchanged(answer: object, nonce: str) -> Exchanged:
    """What the exchange function answered, as the seam's value."""
    lost, more, verdicts, deliveries = answer
    return Exchanged(
        verdicts=tuple(_VERDICT[letter] for letter in verdicts.decode()),
        deliveries=tuple(
            Delivery(
                id=id.decode(),
                attempt=attempt,
                nonce=nonce,
                wire=wire,
                queue=queue.decode(),
                retries=retries,
                crashes=crashes,
                losses=losses,
                inputs=inputs or None,
            )
            for id, attempt, wire, queue, retries, crashes, losses, inputs in deliveries
        ),
        lost=bool(lost),
        more=bool(more),
    )


def _reaped(answer: object) -> Reaped:
    owners, requeued, failed, dead, expired, _swept, _more = answer
    return Reaped(
        owners=tuple(owner.decode() for owner in owners),
        requeued=requeued,
        failed=failed,
        dead=dead,
        expired=expired,
    )
