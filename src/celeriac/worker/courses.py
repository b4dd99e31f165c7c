"""Courses: what a worker says to its store and what it makes of each answer, step by step.

Layer 5. Generators without IO: each yields what is to be done next and is sent the answer, or has
the error thrown in. Threads follow them (``lanes``, ``duties.heart``) by :func:`follow`; the
simulation in the tests follows the same ones, in any order and with any delay, loss and repeat
between a step and its answer.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar, cast

from celeriac.control.phrases import clip
from celeriac.exceptions import OperationalError, StoreError, StoreVersionError
from celeriac.records import Beat, Delivery, Exchanged, Fence, Manifest, RevokedStamp
from celeriac.worker.calledoff import call_off
from celeriac.worker.dispatch import Batch, Dispatch
from celeriac.worker.hands import Held
from celeriac.worker.incarnation import Incarnation
from celeriac.worker.stamps import RevokedStamps

logger = logging.getLogger("celeriac.worker")

#: The longest a bell listens before it looks for itself.
WAIT_SECONDS: Final = 10.0
#: Revoked stamps that one line of the log names.
_SHOWN: Final = 10

T = TypeVar("T")


class Call(NamedTuple):
    """Ask the store's queue. Its answer is sent in, its ``OperationalError`` or ``StoreError``
    thrown."""

    method: str
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - nobody writes to it


class Pause(NamedTuple):
    """Wait as long as ``backoff.reconnect`` says for *attempt*; *whole*: even if the worker stops
    meanwhile."""

    attempt: int
    whole: bool = False


Course = Generator[Call | Pause, Any, T]


def follow(course: Course[T], call: Callable[[Call], Any], pause: Callable[[Pause], object]) -> T:
    """Take each step of *course* where the caller is; return what it comes to."""
    try:
        step = next(course)
        while True:
            if isinstance(step, Pause):
                pause(step)
                step = next(course)
                continue
            try:
                answer = call(step)
            except (OperationalError, StoreError) as error:
                step = course.throw(error)
            else:
                step = course.send(answer)
    except StopIteration as end:
        return cast("T", end.value)


class Exchanges:
    """The courses of a worker's lanes. An exchange whose answer did not come is repeated under the
    same sequence number until the store answers; outcomes wait in memory meanwhile."""

    def __init__(
        self,
        dispatch: Dispatch,
        queues: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        #: Leased from; may be set at any time.
        self.queues = tuple(queues)
        #: When, by *clock*, a worker that stops no longer waits for a store that is away.
        self.deadline = math.inf
        #: Outcomes given up at shutdown because the store did not come back.
        self.abandoned = 0
        self._dispatch = dispatch
        self._clock = clock
        self._outage = False

    def exchange(self, lane: int, sequence: int, batch: Batch) -> Course[None]:
        """Repeat one exchange until the store has answered, then settle it."""
        self._sets_out(lane, sequence, batch)
        try:
            yield from self._exchange(lane, sequence, batch)
        finally:
            self._arrived(lane)

    def _exchange(self, lane: int, sequence: int, batch: Batch) -> Course[None]:
        attempt, telling = 0, bool(batch.updates)
        while True:
            try:
                while batch.updates:
                    yield Call("update", batch.updates[-1])
                    batch.updates.pop()
                request = (
                    batch.owner, lane, sequence, batch.commits, batch.started, self.queues,
                    batch.want,
                )  # fmt: skip
                reply = yield Call("exchange", request)
                break
            except OperationalError as error:
                self._outage_begins(error)
                attempt += 1
                yield Pause(attempt, whole=True)
                if self._clock() > self.deadline:
                    # Shutting down without the store: the leases run out by themselves.
                    self.abandoned += len(batch.commits)
                    reply = Exchanged(verdicts=())
                    batch = batch.emptied()
                    break
            except StoreVersionError:
                raise
            except StoreError:
                logger.exception("Exchange refused by the store; this worker starts afresh")
                self._dispatch.give_back(batch)
                yield Pause(3)
                reply = Exchanged(lost=True)
                batch = batch.emptied()
                break
        yield from self._settle(batch, reply)
        if telling:
            self._dispatch.updated()

    def listen(self, queues: Sequence[str]) -> Course[bool]:
        """Wait for work in *queues*; whether to look."""
        try:
            heard: bool = yield Call("wait", (queues, WAIT_SECONDS))
        except OperationalError as error:
            self._outage_begins(error)
            yield Pause(1)
            return True  # look for ourselves: the exchange tells whether the store is back
        return heard

    def lease(self, lane: int, sequence: int, bid: Batch, queues: Sequence[str]) -> Course[bool]:
        """Wait, and have the store lease what *bid* asks for; whether the number is used up."""
        self._sets_out(lane, sequence, bid)
        try:
            return (yield from self._lease(lane, sequence, bid, queues))
        finally:
            self._arrived(lane)

    def _lease(self, lane: int, sequence: int, bid: Batch, queues: Sequence[str]) -> Course[bool]:
        request = (bid.owner, lane, sequence, queues, bid.want, WAIT_SECONDS)
        try:
            reply = yield Call("wait_and_lease", request)
        except OperationalError as error:
            self._outage_begins(error)
            yield Pause(1)
        except StoreVersionError:
            raise
        except StoreError:
            logger.exception("The store refused a wait for work; it is asked once more without")
        else:
            if reply is None:
                self._dispatch.drop_bid(bid)
                return False
            yield from self._settle(bid, reply)
            return True
        # Whether anything was leased is not known: the same number tells.
        yield from self._exchange(lane, sequence, bid)
        return True

    def _sets_out(self, lane: int, sequence: int, batch: Batch) -> None:
        """What the store may lease to it from now on is spoken for (see ``reconciling``)."""
        self._dispatch.flights.under_way[lane] = f"{batch.owner}.{lane}.{sequence}", batch

    def _arrived(self, lane: int) -> None:
        del self._dispatch.flights.under_way[lane]

    def _settle(self, batch: Batch, reply: Exchanged) -> Course[None]:
        self._outage_ends()
        met: dict[str | None, list[Held]] = {}
        for held, terminate in self._dispatch.settle(batch, reply):
            met.setdefault(terminate, []).append(held)
        for terminate, items in met.items():
            yield from self._call_off(items, terminate)
        # All of it is spoken for at once, in a batch of several lots: the store may be away between
        # two, and who compares leases meanwhile must not take the later ones for strays.
        for delay, fences in self._dispatch.rates.take_returns(batch.returning):
            # What a rate limit turned away is due again after *delay*.
            yield from self._insist(Call("release", (batch.owner, fences), {"delay": delay}))

    def _call_off(self, items: Sequence[Held], terminate: str | None) -> Course[None]:
        """Revoke what carries a revoked stamp, in the store first: whoever gets it if this worker
        dies now need not know the stamp."""
        ids = [held.delivery.id for held in items]
        if not (yield from self._insist(Call("revoke", (ids, terminate)))):
            return
        for held in items:
            logger.info("Task %s carries a revoked stamp, it will not run", held.delivery.id)
            call_off(self._dispatch, held)
        with self._dispatch.changed:
            self._dispatch.stamps.pending -= len(items)

    def _insist(self, call: Call) -> Course[bool]:
        """Repeat *call* until the store has answered; False if it has not by the end."""
        attempt = 0
        while True:
            try:
                yield call
            except OperationalError as error:
                self._outage_begins(error)
                attempt += 1
                yield Pause(attempt, whole=True)
                if self._clock() > self.deadline:
                    return False  # shutting down without the store: the lease runs out by itself
            else:
                return True

    def _outage_begins(self, error: OperationalError) -> None:
        if not self._outage:
            self._outage = True
            logger.error("The store does not answer; outcomes are held and retried: %s", error)

    def _outage_ends(self) -> None:
        if self._outage:
            self._outage = False
            logger.warning("The store answers again")


class Pulse:
    """How an incarnation becomes known, stays so, and hears what was revoked by stamp.

    Of :meth:`register` and :meth:`hear` one at a time: each reads what is revoked and then says
    what is known, and would undo what the other has learned meanwhile.
    """

    def __init__(
        self, incarnation: Incarnation, clock: Callable[[], float] = time.monotonic
    ) -> None:
        #: What is known of revoked stamps, and what is held and may carry one.
        self.stamps = RevokedStamps()
        self.held: Callable[[], Iterable[Delivery]] = tuple
        #: The store may have gone back (it was away, or ``Beat.run`` is new, as that of the first
        #: beat is): what it has under our lease and what we hold are to be held against each other.
        #: Whoever does it takes this back.
        self.doubt = False
        self._incarnation = incarnation
        self._clock = clock
        self._outage = False
        self._run = ""
        #: All that is revoked by stamp is to be read again, for the same reason.
        self._anew = False

    def register(self, owner: str, manifest: Manifest) -> Course[None]:
        """Register *owner*, the incarnation's ``candidate``. Raises ``OperationalError``."""
        requested_at = self._clock()
        yield Call("register", (owner, manifest))
        # Before anything is leased: what was revoked while nobody was there must not begin.
        found = yield from self._learn(anew=True)
        self.stamps.number = max((each.number for each in found), default=0)
        self._incarnation.begin(owner, requested_at)

    def beat(self, started: Sequence[Fence] = ()) -> Course[Beat | None]:
        """One heartbeat; None if the store did not answer."""
        owner, requested_at = self._incarnation.owner, self._clock()
        try:
            beat: Beat = yield Call("beat", (owner, started))
        except OperationalError as error:
            if not self._outage:
                self._outage = True
                logger.error("No heartbeat: %s", error)
            return None
        if self._outage or beat.run not in ("", self._run):
            self.doubt = self._anew = True
            self._run = beat.run or self._run
        if self._outage:
            self._outage = False
            logger.warning("Heartbeats reach the store again")
        if beat.lost:
            self._incarnation.lose(owner)
        else:
            self._incarnation.extended(owner, requested_at)
        return beat

    def hear(self, number: int) -> Course[bool]:
        """Learn of stamps that were revoked since; *number* is the highest there is, as told by a
        beat. True: something held carries one, which the next beat tells like any revoke."""
        stamps = self.stamps
        if number == stamps.number and not self._anew:
            return False
        try:
            found = yield from self._learn(anew=self._anew or number < stamps.number)
            ids = stamps.by_signal(self.held(), found)
            for terminate, some in ids.items():
                yield Call("revoke", (some, terminate))
        except OperationalError as error:
            logger.error("Stamps that were revoked cannot be read: %s", error)
            return False  # the next beat tells of them again
        stamps.number, self._anew = number, False
        return bool(ids)

    def _learn(self, *, anew: bool) -> Course[list[RevokedStamp]]:
        """Read those that are not known yet; with *anew* all of them."""
        found: list[RevokedStamp] = yield Call(
            "revoked_stamps", (0 if anew else self.stamps.number,)
        )
        self.stamps.learn(found, anew=anew)
        if found:
            shown = ", ".join(clip(each.stamp) for each in found[:_SHOWN])
            more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            logger.info("What carries one of these stamps will not run here: %s%s", shown, more)
        return found


__all__ = ["WAIT_SECONDS", "Call", "Course", "Exchanges", "Pause", "Pulse", "follow"]
