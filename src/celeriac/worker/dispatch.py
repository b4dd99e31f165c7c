"""The desk between executors and store threads: what is held, to be committed and wanted.

Layer 5. Decisions and bookkeeping under one lock; no IO but the frames it hands to ``send``. The
supervisor's main thread reports what executors said, the store threads take batches and bring
deliveries; whoever brings something places it at once, so an idle executor is fed by the thread
that leased its task.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from celeriac import states
from celeriac.crashpoints import crashpoint
from celeriac.outcome import Outcome
from celeriac.records import Commit, Delivery, Exchanged, Fence, TaskFacts, Want
from celeriac.signing import Signer
from celeriac.worker.admission import UNKNOWN, admit
from celeriac.worker.flights import Batch, Flights
from celeriac.worker.hands import Company, Hand, Held, Seats, at_once
from celeriac.worker.incarnation import Incarnation
from celeriac.worker.paces import Paces
from celeriac.worker.progress import Updates
from celeriac.worker.ratelimits import RateLimits
from celeriac.worker.stamps import RevokedStamps

if TYPE_CHECKING:
    from celeriac.worker.duties.events import Events
    from celeriac.worker.duties.notices import Notices

logger = logging.getLogger("celeriac.worker")

BATCH: Final = 256
#: Deliveries behind those an executor runs that make a millisecond's delay harmless.
_DEEP: Final = 48
#: Most deliveries one exchange asks for to begin at once: a wide executor is filled by several.
_FREE_MOST: Final = 1024


class Dispatch:
    """See the module's docstring. Methods are safe from any thread unless they say otherwise."""

    def __init__(
        self,
        incarnation: Incarnation,
        tasks: dict[str, TaskFacts],
        signer: Signer | None,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        lock = threading.Lock()
        #: Guards everything here; a lane waits on it for something to exchange.
        self.changed = threading.Condition(lock)
        #: The same lock; the bell waits on it for a time to listen.
        self.quiet = threading.Condition(lock)
        self.incarnation = incarnation
        self.hands: dict[int, Hand] = {}
        self.backlog: deque[Held] = deque()
        self.closing = False
        #: True while the store is believed to hold work for us.
        self.look = True
        #: To be replaced, for an isolated task's fresh process; the main thread takes them.
        self.outworn: list[Hand] = []
        self._fresh_coming = False
        #: How many more the pool would make room for if there were work for them.
        self.spare = 0
        #: Executors run several tasks at once: one that has to run alone waits here for a cell,
        #: which the pool makes. Suspects have begun before and take no room from others.
        self.crowded = False
        self.apart: deque[Held] = deque()
        self._suspects = 0
        #: What happens is told here while somebody listens; None costs nothing.
        self.events: Events | None = None
        #: The same for receivers of signals.
        self.notices: Notices | None = None
        #: How many of each task were taken since the worker started.
        self.totals: Counter[str] = Counter()
        self._tasks = tasks
        self._signer = signer
        self.wake = wake
        self.stamps = RevokedStamps()
        self._updates = Updates()
        self.commits: list[Commit] = []
        self._started: list[Fence] = []
        self.paces = Paces(tasks)
        self.rates = RateLimits(tasks, self.changed, wake, clock)
        #: The work left in the store is none that goes ahead: not asked for at once without end.
        self._unfit = False
        self.flights = Flights(clock)

    # --- store threads ------------------------------------------------------------------------
    def take(self, *, updates: bool = True) -> Batch:
        """Take what there is to exchange; the caller holds ``changed``."""
        commits, self.commits = self.commits[:BATCH], self.commits[BATCH:]
        started, self._started = self._started[:BATCH], self._started[BATCH:]
        news = self._updates.take() if updates else []
        owner = self.incarnation.owner
        return self.flights.begin(Batch(owner, commits, started, self.want(), news))

    def bid(self) -> Batch:
        """Ask for all the room there is, whenever there is work; the caller holds ``changed``.
        Until it is settled or dropped nobody else may have that room."""
        owner = self.incarnation.owner
        return self.flights.begin(Batch(owner, [], [], self.want(), [], bid=True))

    def drop_bid(self, bid: Batch) -> None:
        """Nothing came of *bid*."""
        with self.changed:
            self.flights.end(bid)

    def overbid(self) -> bool:
        """Does the bell ask for more than is idle by now? True once a second at most."""
        with self.changed:
            hands = [each for each in self.hands.values() if each.company is not Company.CELL]
            return self.flights.overbid(self.spare + sum(hand.free for hand in hands))

    def updated(self) -> None:
        """The updates of a batch have been brought to the store; the next ones may go."""
        with self.changed:
            self._updates.arrived()
            self._stir()

    def settle(self, batch: Batch, reply: Exchanged) -> list[tuple[Held, str | None]]:
        """Take in the answer to *batch*: log refusals, place deliveries. Returns what a revoked
        stamp meets, to be revoked with this signal and then given to ``calledoff``."""
        arrived = [held for held in map(self._admit, reply.deliveries) if held is not None]
        if reply.deliveries:
            crashpoint("delivery.received")
        batch.tell_refused(reply.verdicts)
        events = self.events
        if events is not None:
            events.settled(batch.commits, reply.verdicts)
            events.received(arrived)
        notices = self.notices
        if notices is not None:
            for held in arrived:
                notices.tell("task_received", held.delivery)
        with self.changed:
            self.flights.end(batch)
            met = self.stamps.sift(arrived) if self.stamps.known and not self.closing else []
            if batch.owner != self.incarnation.owner or self.incarnation.lost:
                arrived = []  # leased by an incarnation that is gone; the reaper has them
            self.backlog.extend(self.rates.admit(arrived) if self.rates.active else arrived)
            wanted = batch.want.free + batch.want.ahead
            got = len(reply.deliveries)
            self.look = reply.more or bool(wanted and got >= wanted)
            self._unfit = reply.more and got < wanted
            self._place()
            self.totals.update([held.name for held in arrived])  # executors need not wait for it
            self._stir()
            if self.backlog and self.spare:
                self.wake()  # the pool makes room
        if reply.lost and self.incarnation.lose(batch.owner):
            self.wake()
        return met

    def give_back(self, batch: Batch) -> None:
        """The store refused the exchange itself: its outcomes go with the next one."""
        with self.changed:
            self.commits[:0] = batch.commits

    def _stir(self) -> None:
        """Wake whoever has something to do now: a lane to exchange, else the bell to listen."""
        if self.has_work():
            self.changed.notify()
        elif self.may_wait():
            self.quiet.notify()

    def has_work(self) -> bool:
        """Is there a reason for an exchange? The caller holds ``changed``."""
        if self.commits or self._started or self._updates.ready:
            return True
        if not self.look:
            return False
        want = self.want()
        return bool(want.free or (want.ahead and not self._unfit))

    @property
    def deep(self) -> bool:
        """Has every executor plenty ahead, so that its outcomes need no quick answer?"""
        hands = self.hands.values()
        return bool(hands) and all(len(hand.held) >= _DEEP + hand.width for hand in hands)

    def may_wait(self) -> bool:
        """Should the bell be listened to? The caller holds ``changed``."""
        if self.look or self.closing:
            return False
        want = self.want()
        return bool(want.free or want.ahead)

    def want(self) -> Want:
        """How much may be leased now. The caller holds ``changed``."""
        if self.closing or not self.incarnation.trusted:
            return Want()
        depth = self.paces.depth
        idle = room = self.spare
        for hand in self.hands.values():
            if hand.company is not Company.CELL:
                room += hand.room(depth)
                idle += hand.free
        waiting = len(self.backlog) + len(self.apart) - self._suspects
        free = max(0, idle - waiting - self.flights.free)
        ahead = room - waiting - self.flights.free - self.flights.ahead - free
        return self.rates.want(
            Want(min(free, _FREE_MOST), min(max(0, ahead), BATCH), self.paces.brief)
        )

    def _admit(self, delivery: Delivery) -> Held | None:
        """Read the header and verify it; what cannot be trusted is ended here, never run."""
        held = admit(delivery, self._tasks, self._signer)
        if isinstance(held, Held):
            return held
        extra = {"task_id": delivery.id}
        logger.error("Task %s refused, it will not run: %s", delivery.id, held, extra=extra)
        self.commit(delivery.fence, Outcome(states.FAILED, reason=held))
        if self.notices is not None:
            self.notices.tell("task_rejected", delivery, reason=held)
        return None

    # --- placing ------------------------------------------------------------------------------
    def place(self) -> None:
        """Give waiting deliveries to executors that have room. To be called now and then: the
        lease may be trusted again, which no other call tells."""
        with self.changed:
            if self.backlog or self.apart or self.rates.waiting:
                self._place()
                self._stir()

    def _place(self) -> None:
        limited = self.rates.ready()
        waits = self.backlog or self.apart or limited
        if not waits or self.closing or not self.incarnation.trusted:
            return
        given: dict[int, list[Held]] = {}
        only = len(self.backlog) == 1 and not (self.apart or limited)
        hand = at_once(self.hands.values(), self.backlog[0]) if only else None
        if hand is not None:
            self._give(hand, self.backlog.popleft(), given)
        else:
            self._plan(limited, given)
        for index, items in given.items():
            hand = self.hands[index]
            hand.send(hand.next_key - len(items), [held.delivery for held in items])
        if given:
            crashpoint("delivery.sent")

    def _plan(self, limited: Sequence[Held], given: dict[int, list[Held]]) -> None:
        """Share out what waits, as far as there is room."""
        seats = Seats(self.hands.values(), self.paces.depth)
        kept: deque[Held] = deque()
        # Isolated ones choose first: any other would take the unused executor made for them.
        for held in (*sorted(self.backlog, key=lambda held: not held.alone), *limited):
            if self.crowded and held.alone:
                if held.limited:
                    self.rates.begun(held)
                self._put_apart(held)
                continue
            if held.name in self.paces.brief and not held.careful:
                hand = seats.next()
            else:
                hand = self._choose_idle(held)
                seats.taken(hand)
            if hand is None:
                if not held.limited:
                    kept.append(held)
                continue
            if held.limited:
                self.rates.begun(held)
            self._give(hand, held, given)
        self.backlog = kept
        if self.apart:
            self._place_apart(given)

    @staticmethod
    def _give(hand: Hand, held: Held, given: dict[int, list[Held]]) -> None:
        hand.held[hand.next_key] = held
        hand.next_key += 1
        hand.isolated = held.alone
        given.setdefault(hand.index, []).append(held)

    def _put_apart(self, held: Held) -> None:
        self.apart.append(held)
        self._suspects += held.suspect
        self.wake()

    def _place_apart(self, given: dict[int, list[Held]]) -> None:
        for hand in self.hands.values():
            if hand.company is Company.CELL and hand.free and self.apart:
                held = self.apart.popleft()
                self._suspects -= held.suspect
                self._give(hand, held, given)

    def _choose_idle(self, held: Held) -> Hand | None:
        for hand in self.hands.values():
            if hand.free and hand.suits(held):
                return hand
        if held.alone:
            self._ask_for_fresh()
        return None

    def _ask_for_fresh(self) -> None:
        """An isolated task needs a process nobody has used: have the least laden one replaced."""
        candidates = [hand for hand in self.hands.values() if hand.ready and not hand.closed]
        if self._fresh_coming or not candidates:
            return
        self._fresh_coming = True
        hand = min(candidates, key=lambda hand: len(hand.held))
        hand.closed = True
        self.outworn.append(hand)
        self.wake()

    # --- the main thread ----------------------------------------------------------------------
    def join(self, hand: Hand) -> None:
        """A new executor is ready."""
        with self.changed:
            hand.ready = True
            self.hands[hand.index] = hand
            self._fresh_coming = False
            self._place()
            self._stir()

    def done(self, hand: Hand, results: Iterable[tuple[int, Outcome, float]]) -> None:
        """Executors reported outcomes: queue the commits, learn durations, refill."""
        crashpoint("outcome.received")
        events, notices = self.events, self.notices
        with self.changed:
            for key, outcome, runtime in results:
                held = hand.held.pop(key, None)
                if held is None:
                    continue  # taken back before; its fence would be refused anyway
                hand.ran += 1
                if hand.left is not None:
                    hand.left -= 1
                if events is not None:
                    events.ran(held, runtime)
                if notices is not None:
                    notices.ended(held.delivery, outcome)
                self.commits.append(Commit(held.delivery.fence, outcome))
                self.paces.measure(held.name, runtime)
            if not hand.held:
                hand.isolated = False
            self._place()
            self.changed.notify()

    def commit(self, fence: Fence, outcome: Outcome) -> None:
        """Queue an outcome the supervisor itself decided."""
        with self.changed:
            self.commits.append(Commit(fence, outcome))
            self.changed.notify_all()

    def skipped(self, hand: Hand, key: int) -> None:
        """An executor did not begin *key* because it was held back."""
        with self.changed:
            held = hand.held.pop(key, None)
        if held is not None:
            self.requeue([held])

    def note_update(self, fence: Fence, state: str, meta: bytes | None) -> None:
        """Queue an ``update_state``; a newer one of the same task replaces an older."""
        with self.changed:
            self._updates.note((fence, state, meta))
            self.changed.notify_all()

    def began(self, hand: Hand, *keys: int) -> None:
        """Runs have lasted long enough to tell the store that they began."""
        events = self.events
        with self.changed:
            for key in keys:
                held = hand.held.get(key)
                if held is not None and not held.reported:
                    held.reported = True
                    if events is not None:
                        events.began(held)
                    self._started.append(held.delivery.fence)
                    self.changed.notify_all()

    def take_back(self, hand: Hand, above: int) -> list[Held]:
        """Remove and return what *hand* holds behind key *above*; it must be held back there."""
        with self.changed:
            keys = [key for key in hand.held if key > above]
            return [hand.held.pop(key) for key in keys]

    def take_all_but(self, hand: Hand, begun: Iterable[int], below: int) -> list[Held]:
        """The same for what is not *begun*, of keys under *below*."""
        with self.changed:
            keys = hand.held.keys() - set(begun)
            return [hand.held.pop(key) for key in sorted(keys) if key < below]

    def pick(self, hand: Hand, key: int) -> Held | None:
        """Remove and return one delivery, None if its outcome has come."""
        with self.changed:
            return hand.held.pop(key, None)

    def widen(self, hand: Hand, width: int) -> None:
        """Let *hand* run *width* at once from now on."""
        with self.changed:
            hand.width = width
            self._place()
            self._stir()

    def pressure(self) -> tuple[int, bool]:
        """How many deliveries wait for an executor, and whether all are busy while the store has
        more: for autoscaling."""
        with self.changed:
            full = not any(hand.idle for hand in self.hands.values())
            return len(self.backlog), full and self.look

    def requeue(self, items: Iterable[Held]) -> None:
        """Put deliveries that are still ours first in line again; those of an earlier incarnation
        belong to others by now."""
        with self.changed:
            ours = [held for held in items if self.owns(held)]
            self.backlog.extendleft(reversed(ours))
            self._place()
            self.changed.notify_all()

    def owns(self, held: Held) -> bool:
        """Was it leased by the present incarnation, and is that alive?"""
        if self.incarnation.lost:
            return False
        return held.delivery.nonce.startswith(self.incarnation.owner + ".")

    def withdraw(self, fence: Fence) -> Held | None:
        """Take one delivery out of the line; None if it does not stand there."""
        with self.changed:
            for line in (self.backlog, self.apart):
                for held in line:
                    if held.delivery.fence == fence:
                        line.remove(held)
                        self._suspects -= held.suspect and line is self.apart
                        return held
            return self.rates.withdraw(fence)

    def take_suspects(self) -> list[Held]:
        """Remove and return the suspects that wait for a cell."""
        with self.changed:
            line, self.apart, self._suspects = self.apart, deque(), 0
            self.apart.extend(held for held in line if not held.suspect)
            return [held for held in line if held.suspect]

    def drain_backlog(self) -> list[Held]:
        """Remove and return everything that waits for an executor."""
        with self.changed:
            items = [*self.backlog, *self.apart, *self.rates.drain()]
            self._clear_lines()
            return items

    def _clear_lines(self) -> None:
        self.backlog.clear()
        self.apart.clear()
        self.rates.drain()
        self._suspects = 0

    def remove(self, hand: Hand) -> dict[int, Held]:
        """Forget an executor; returns what it held."""
        with self.changed:
            self.hands.pop(hand.index, None)
            hand.ready = False
            held, hand.held = hand.held, {}
            return held

    def limit(self, task: str, soft: float | None, hard: float | None) -> None:
        """Set the time limits of a task for deliveries that arrive from now on."""
        with self.changed:
            facts = self._tasks.get(task, UNKNOWN)
            limits = {"soft_time_limit": soft, "time_limit": hard}
            self._tasks[task] = msgspec.structs.replace(facts, **limits)

    def close(self) -> None:
        """Lease nothing more."""
        with self.changed:
            self.closing = True
            self.changed.notify_all()

    @property
    def flushed(self) -> bool:
        """Nothing waits for a commit and no exchange is under way."""
        with self.changed:
            at_hand = self.commits or self._started or self._updates or self.stamps.pending
            return not (at_hand or self.flights.number)

    def drop_all(self) -> None:
        """The incarnation is lost: what waits is not ours any more. Commits stay; the store judges
        them by their fences."""
        with self.changed:
            self._clear_lines()
            self._started.clear()
            self.look = True
            self.changed.notify_all()


__all__ = ["Batch", "Dispatch", "Hand", "Held"]
