"""``Queue.wait``: an idle worker's thread, asleep until there may be work. Part of the Redis store.

A bell is a list that holds a token, or few; whoever waits takes it off with BLPOP, so one ring
wakes one waiter, and a ring that nobody hears yet is kept. First look, then sleep: what comes in
between has left a token. Each wait has a key of its own, too, by which this process wakes it.

Who would lease next says so beforehand: BLPOP and the exchange are sent in one write, and the
server runs the second as soon as the first has been answered. So what is sent to an idle worker is
leased without a word from it.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import redis

from celeriac.clock import SYSTEM
from celeriac.exceptions import OperationalError
from celeriac.stores.redis import troubles
from celeriac.stores.redis.link import BROKEN, Link, pack
from celeriac.stores.redis.location import Location
from celeriac.stores.redis.steps import Steps

#: Seconds one BLPOP lasts at most: 200 idle workers are 20 looks and 20 sleeps a second.
LONGEST: Final = 10.0
#: Seconds after which an answer that should have come makes the link a dead one.
_PATIENCE: Final = 5.0
#: A key by which a wait is woken that has ended meanwhile goes by itself.
_KEPT: Final = 30
#: The waits that go on now, of every store object of this process: where and under which key, and
#: the process, since a fork copies this. Each access is one step of the interpreter, so that no
#: lock is needed, which a fork could copy while it is held.
_asleep: Final[dict[tuple[Location, str], int]] = {}


class _Mine(threading.local):
    link: Link | None = None
    pid: int = 0
    #: Queues that this thread has found empty, when, and when something falls due.
    empty: tuple[tuple[str, ...], float, float] = ((), 0.0, 0.0)


class Waiters:
    """All the waits of this process."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._mine = _Mine()

    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """See ``stores.base.Queue.wait``."""
        return bool(self.lease(queues, timeout, None))

    def lease(
        self, queues: Sequence[str], timeout: float, request: Callable[[str], bytes] | None
    ) -> bool | list[Any]:
        """Wait; with *request*, too, lease what there is then.

        *request* makes what ``exchange.lua`` is asked, of the key that tells it that this wait has
        been called away. Returns its answer if it leased; else as ``stores.base.Queue.wait``.
        """
        until = SYSTEM.monotonic() + timeout
        key = f"{self._steps.prefix}wake:{os.urandom(8).hex()}"
        mine = self._steps.connection.location, key
        _asleep[mine] = os.getpid()
        packed = None
        if request is not None and self._steps.clock is SYSTEM:
            packed = self._steps.packed("exchange", request(key))
        try:
            return self._sleep(key, queues, until, packed)
        finally:
            del _asleep[mine]

    def wake(self) -> None:
        """End the waits of this process soon."""
        here, prefix = self._steps.connection.location, f"{self._steps.prefix}wake:"
        found = [mine for mine, pid in list(_asleep.items()) if pid == os.getpid()]
        for place, key in found:
            if place != here or not key.startswith(prefix):
                continue
            # A server that is away wakes nobody, but ends their links, too.
            with contextlib.suppress(OperationalError):
                # One token for the sleep, another for what would lease behind it.
                self._steps.read("wake", key.removeprefix(self._steps.prefix), str(_KEPT))

    def _sleep(
        self, key: str, queues: Sequence[str], until: float, exchange: bytes | None
    ) -> bool | list[Any]:
        steps = self._steps
        bells = [f"{steps.prefix}bell:{queue}" for queue in queues]
        due = self._due(queues, exchange)
        while due is not None:
            now = SYSTEM.monotonic()
            if now >= until:
                self._note(queues, due)
                return False
            nap = min(until - now, LONGEST, due - now)
            # 0 would be for ever.
            rung, answer = self._blpop([*bells, key], max(nap, 0.001), exchange)
            if exchange is None:
                if rung is not None:
                    return True
                answer = steps.read("look", steps.time(), *queues)
            elif isinstance(answer, list):
                if not answer[1] and len(answer) > 5:
                    self._note(queues, _due_at(answer[5]))
                return answer
            elif answer == b"!":
                return False  # called away
            due = _due_at(answer)
        return True

    def _due(self, queues: Sequence[str], exchange: bytes | None) -> float | None:
        """When something falls due; None: there is work already."""
        found, when, due = self._mine.empty
        self._mine.empty = ((), 0.0, 0.0)
        # What came since this thread found them empty has left a token.
        fresh = found == tuple(queues) and SYSTEM.monotonic() < when + LONGEST
        if fresh and exchange is not None:
            return due
        return _due_at(self._steps.read("look", self._steps.time(), *queues))

    def _note(self, queues: Sequence[str], due: float | None) -> None:
        """Nothing is left in *queues* and something falls due at *due*; None: nobody knows."""
        if due is not None:
            self._mine.empty = (tuple(queues), SYSTEM.monotonic(), due)

    def _blpop(self, keys: list[str], seconds: float, behind: bytes | None) -> tuple[Any, Any]:
        """The answers to BLPOP and to what is sent *behind* it; b"" for an error of that one."""
        link = self._link()
        good = False
        try:
            link.send(
                pack(("BLPOP", *keys, f"{seconds:.3f}")) + (behind or b""),
                SYSTEM.monotonic() + _PATIENCE,
            )
            rung = link.receive(SYSTEM.monotonic() + seconds + _PATIENCE)
            answer = link.receive(SYSTEM.monotonic() + _PATIENCE) if behind else None
            good = not isinstance(rung, redis.ResponseError)
        except BROKEN as error:
            connection = self._steps.connection
            raise troubles.broken(connection.location, link.where, error) from None
        finally:
            if not good:
                self._mine.link = None
                link.close()
        if isinstance(rung, redis.ResponseError):
            raise self._steps.connection.refused(rung, "BLPOP")
        # An exchange that asks in the usual way gets the same answer, and knows what to do.
        return rung, b"" if isinstance(answer, redis.ResponseError) else answer

    def _link(self) -> Link:
        mine = self._mine
        if mine.link is None or mine.pid != os.getpid():
            mine.link, mine.pid = self._steps.connection.link(), os.getpid()
        return mine.link


def _due_at(told: bytes) -> float | None:
    """When what ``look.lua`` tells of falls due; None: work is there."""
    if told == b"-":
        return math.inf
    return SYSTEM.monotonic() + float(told) if told else None
