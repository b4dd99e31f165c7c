"""Rate limits: how many of each task this worker may begin in a time.

Layer 5. Bookkeeping without IO, under the dispatch's lock; the lanes hand back what it turns away.

A limited task takes a token when it is given to an executor, not before: what waits for a token is
in nobody's way. The next few wait here; what would wait longer than `_HOLD` seconds goes back to
the store until shortly before its turn, so that it neither stands at the head of its queue nor in
this worker's hands. Who comes back is not known from who is new, so turns are given by arrival.

The limit holds for one worker: two workers begin twice as many. What one has handed back is in no
other's hands until it is due again, which is at most about half a minute away (longer only where
many thousands wait), so a limit that is raised meanwhile shows within that time.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from celeriac.conf.rates import per_second, written
from celeriac.records import Fence, TaskFacts, Want
from celeriac.worker.hands import Held

#: What has its turn within so many seconds waits here.
_HOLD: Final = 2.0
#: What was handed back is due again so long before its turn.
_EARLY: Final = 1.0
#: The shortest time for which something is handed back, and the longest while few wait.
_SHORTEST: Final = 0.25
_LONGEST: Final = 30.0
#: Seconds by which the longest time grows with each task that was handed back: whatever their
#: number, no more than about two hundred a second come back in vain.
_EACH: Final = 0.005
#: A token that is late by no more than this is not lost: timers are not exact.
_LATE: Final = 0.1
#: How many different times one lot is handed back for; each costs a call of the store.
_TIMES: Final = 8
#: Limited tasks taken in one exchange only to get them out of the way of others.
_AWAY: Final = 256


class Bucket:
    """The tokens of one task: one at a time, a new one every ``interval`` seconds.

    Without a *rate* whatever waits may begin: the limit has ended.
    """

    def __init__(self, rate: float | None) -> None:
        self.interval = 0.0 if rate is None else 1.0 / rate
        #: What waits here for a token, the oldest first.
        self.waiting: deque[Held] = deque()
        #: When the next token is there.
        self.next = 0.0
        #: The first turn that none of those handed back has.
        self.tail = 0.0
        self._since = 0.0
        self._turned = self._turned_before = 0

    def tokens(self, now: float) -> int:
        """How many may begin now."""
        if not self.interval:
            return len(self.waiting)
        if self.next > now:
            return 0
        return 1 + int((now - self._base(now)) / self.interval)

    def take(self, now: float) -> None:
        """One begins now."""
        self.next = self._base(now) + self.interval

    def _base(self, now: float) -> float:
        return self.next if now - self.next <= _LATE else now

    def turn(self, now: float) -> float:
        """When one that arrives now may begin."""
        return max(self.next, now) + len(self.waiting) * self.interval

    def send_back(self, now: float, early: float) -> float:
        """Return for how many seconds one that arrives now is to be handed back."""
        longest = self._longest(now)
        turn = max(self.turn(now), self.tail)
        if turn - now > longest:  # no turn for it yet; it asks again
            return longest * random.uniform(0.5, 1.0)
        self.tail = turn + self.interval
        return max(_SHORTEST, turn - now - early)

    def _longest(self, now: float) -> float:
        """The longest time for which anything is handed back: the more wait, the longer."""
        self._turned += 1
        many = max(self._turned, self._turned_before)
        longest = max(_LONGEST, many * _EACH)
        if now - self._since > longest:
            self._since, self._turned_before, self._turned = now, self._turned, 0
        return longest


class RateLimits:
    """The buckets of a worker. Methods are called under *lock*, except :meth:`set`."""

    def __init__(
        self,
        tasks: Mapping[str, TaskFacts],
        lock: threading.Condition | threading.Lock,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = lock
        self._wake = wake
        self._clock = clock
        #: ``worker_disable_rate_limits``: none is kept, and none can be set.
        self.disabled = False
        self._buckets: dict[str, Bucket] = {}
        self._limits: dict[str, str] = {}
        self._returns: list[tuple[float, Held]] = []
        #: How many wait here.
        self.waiting = 0
        #: The last exchange brought some that had to go back: there may be more before others.
        self._clearing = False
        for name, facts in tasks.items():
            if facts.rate_limit:
                self._put(name, facts.rate_limit)

    # --- what is set --------------------------------------------------------------------------
    @property
    def active(self) -> bool:
        """Whether any task has a limit, or had one whose tasks still wait."""
        return bool(self._buckets or self.waiting)

    @property
    def pending(self) -> bool:
        """Whether something waits for a token, here or (until about when) in the store."""
        now = self._clock()
        away = any(each.tail > now for each in list(self._buckets.values()))
        return bool(self.waiting or self._returns or away)

    @property
    def limits(self) -> Mapping[str, str]:
        """The limits that are kept now, as text, by task."""
        return dict(self._limits)

    def set(self, task: str, limit: str | float | None) -> None:
        """Limit *task* from now on (``'10/s'``, ``'100/m'``, ``'5/h'``, a number a second); None,
        '' and 0 end its limit. From any thread.

        Raises ``ValueError`` for what is no rate limit, and if `worker_disable_rate_limits` is set.
        """
        text = written(limit)
        if text and self.disabled:
            raise ValueError(
                f"the rate limit {text} of {task} cannot be set: worker_disable_rate_limits is True"
            )
        with self._lock:
            self._put(task, text)
        self._wake()

    def _put(self, task: str, text: str) -> None:
        old = self._buckets.pop(task, None)
        self._limits.pop(task, None)
        rate = per_second(text)
        bucket = Bucket(rate)
        if old is not None:
            bucket.waiting = old.waiting
        if old is not None and rate is not None:
            bucket.next = min(old.next, self._clock() + bucket.interval)
        if rate is not None:
            self._limits[task] = text
        if rate is not None or bucket.waiting:
            self._buckets[task] = bucket

    # --- what arrives -------------------------------------------------------------------------
    def admit(self, arrived: list[Held]) -> list[Held]:
        """Take the limited tasks out of *arrived*; return the others."""
        now = self._clock()
        others: list[Held] = []
        back = 0
        for held in arrived:
            bucket = self._buckets.get(held.name)
            if bucket is None:
                others.append(held)
            elif bucket.turn(now) - now <= _HOLD:
                held.limited = True
                bucket.waiting.append(held)
                self.waiting += 1
            else:
                self._returns.append((bucket.send_back(now, _EARLY), held))
                back += 1
        self._clearing = back > 0
        return others

    def want(self, want: Want) -> Want:
        """Ask for limited tasks besides, to get them out of the way, while some were in it."""
        if not self._clearing:
            return want
        late = frozenset(self._limits)
        return Want(want.free, want.ahead + _AWAY, want.brief | late if want.ahead else late)

    def take_returns(self, returning: list[Fence]) -> list[tuple[float, list[Fence]]]:
        """Return what is to be handed back, and for how many seconds each lot; in the same step
        all of it is *returning*."""
        if not self._returns:
            return []
        with self._lock:
            returns, self._returns = self._returns, []
            returning += [held.delivery.fence for _, held in returns]
        if not returns:  # another lane was quicker
            return []
        returns.sort(key=lambda each: each[0])
        size = -(-len(returns) // _TIMES)
        lots = (returns[at : at + size] for at in range(0, len(returns), size))
        return [(lot[0][0], [held.delivery.fence for _, held in lot]) for lot in lots]

    # --- what begins --------------------------------------------------------------------------
    def ready(self) -> list[Held]:
        """Those that may begin now, in the order of their tasks' arrival."""
        if not self.waiting:
            return []
        now = self._clock()
        found: list[Held] = []
        for bucket in self._buckets.values():
            if bucket.waiting:
                found += itertools.islice(bucket.waiting, bucket.tokens(now))
        return found

    def begun(self, held: Held) -> None:
        """*held*, one of the :meth:`ready`, has been given to an executor."""
        bucket = self._buckets[held.name]
        bucket.take(self._clock())
        self._remove(bucket, held)
        if not bucket.interval and not bucket.waiting:
            del self._buckets[held.name]

    def pause(self) -> float | None:
        """Seconds until the next token that something waits for; None if nothing does."""
        if not self.waiting:
            return None
        now = self._clock()
        pauses = [
            each.next - now
            for each in list(self._buckets.values())
            if each.waiting and each.next > now
        ]
        return min(pauses, default=None)

    # --- what is taken back -------------------------------------------------------------------
    def withdraw(self, fence: Fence) -> Held | None:
        """Take one out of the line; None if it does not stand there."""
        for bucket in self._buckets.values():
            for held in bucket.waiting:
                if held.delivery.fence == fence:
                    self._remove(bucket, held)
                    return held
        return None

    def drain(self) -> list[Held]:
        """Remove and return everything that waits, or is to be handed back."""
        found = [*self.held(), *(held for _, held in self._returns)]
        self._returns.clear()
        for bucket in self._buckets.values():
            bucket.waiting.clear()
        self.waiting = 0
        return found

    def held(self) -> Iterable[Held]:
        """Everything that waits here for a token."""
        return [held for bucket in list(self._buckets.values()) for held in list(bucket.waiting)]

    def returning(self) -> list[Fence]:
        """What is to be handed back, and nobody has taken yet."""
        return [held.delivery.fence for _, held in self._returns]

    def _remove(self, bucket: Bucket, held: Held) -> None:
        bucket.waiting.remove(held)
        held.limited = False
        self.waiting -= 1


class Turns:
    """Rate limits for a worker that runs one task at a time and holds nothing."""

    def __init__(
        self, tasks: Mapping[str, TaskFacts], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        for name, facts in tasks.items():
            rate = per_second(facts.rate_limit)
            if rate is not None:
                self._buckets[name] = Bucket(rate)

    def set(self, task: str, limit: str | float | None) -> None:
        """Limit *task* from now on, as `RateLimits.set` does."""
        rate = per_second(limit)
        if rate is None:
            self._buckets.pop(task, None)
        else:
            self._buckets[task] = Bucket(rate)

    def wait(self, task: str) -> float:
        """Return 0.0 if *task* may begin now, which it then does, else for how many seconds it is
        to be handed back."""
        bucket = self._buckets.get(task)
        if bucket is None:
            return 0.0
        now = self._clock()
        if bucket.tokens(now):
            bucket.take(now)
            return 0.0
        return bucket.send_back(now, 0.0)


__all__ = ["Bucket", "RateLimits", "Turns"]
