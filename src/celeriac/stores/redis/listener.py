"""Waiting for results: one connection for each process, whatever the number of threads and ids.

Part of the Redis store. What ends a record publishes on a channel of its id. Of the threads that
wait, one listens for all (the *ear's* thread); when it has what it waited for, it hands the ear to
another. So no thread is needed that nobody asked for. Who waits is heard of first and reads then;
after each new link it does so again, so nothing that ended in between is missed.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from celeriac.backoff import reconnect
from celeriac.clock import SYSTEM
from celeriac.records import StoredResult
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.ear import Ear
from celeriac.stores.redis.troubles import Unreachable

#: Seconds of silence after which the server must give a sign of life.
_PATIENCE: Final = 5.0
#: A thread looks up this often, should the one that listens be stuck; and at the records, since of
#: one that is removed (a server that was emptied) nothing is said, and it would wait for ever.
_NAP: Final = 60.0
#: So many channels that nobody waits on are kept, since a process that waits once waits again.
_STALE: Final = 200

#: Reads which of some ids have ended or have no record.
Look = Callable[[Sequence[str]], dict[str, StoredResult | None]]
#: What a message on an id's channel says of its result; None: read it.
Tell = Callable[[str, bytes], StoredResult | None]


class _Waiting:
    """One thread: what it waits for, and how it is woken."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = tuple(ids)
        self.bell = threading.Event()
        #: Ids whose channels are not confirmed on the present link.
        self.missing = set(ids)
        #: It must look at all of them, as soon as none is missing.
        self.look = True
        #: When it looks again in any case, by the monotonic clock.
        self.due = SYSTEM.monotonic() + _NAP
        #: What was said: id → data.
        self.heard: dict[str, bytes] = {}


class _Process:
    """The waits of one process: a forked child begins with none, and lets go of the link."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.waiting: set[_Waiting] = set()
        #: id → who waits for it.
        self.by_id: defaultdict[str, set[_Waiting]] = defaultdict(set)
        self.listening: _Waiting | None = None
        self.ear: Ear | None = None
        #: Why there is no link, while one is wanted.
        self.trouble: Unreachable | None = None
        #: Of the present link: ids to ask for, asked for, confirmed; confirmations under way.
        self.fresh: set[str] = set()
        self.asked: set[str] = set()
        self.confirmed: set[str] = set()
        self.coming: Counter[str] = Counter()
        self.nudged, self.nudge = os.pipe()
        os.set_blocking(self.nudge, False)
        os.set_blocking(self.nudged, False)

    def __del__(self) -> None:
        os.close(self.nudged)
        os.close(self.nudge)


class Listener:
    """Hears which ids have ended.

    Args:
        connection: where to.
        tell: what a message says; by default nothing, so that each is read.
    """

    def __init__(self, connection: Connection, tell: Tell = lambda _id, _data: None) -> None:
        self._connection = connection
        self._tell = tell
        self._channel = connection.prefix + b"done:"
        self._process = _Process()

    def wait(
        self, ids: Sequence[str], timeout: float | None, look: Look
    ) -> dict[str, StoredResult | None]:
        """See ``stores.base.Results.wait``. Raises ``OperationalError`` once the server has been
        away for longer than ``Options.timeout``, or if it is when *timeout* is over."""
        until = None if timeout is None else SYSTEM.monotonic() + timeout
        process = self._mine()
        mine = _Waiting(ids)
        self._enter(process, mine)
        try:
            while True:
                if mine.due <= SYSTEM.monotonic():
                    mine.look = True
                ended = self._judge(process, mine, look)
                if ended:
                    return ended
                left = _NAP if until is None else until - SYSTEM.monotonic()
                if left <= 0:
                    trouble = process.trouble
                    if trouble is not None:
                        raise type(trouble)(*trouble.args)  # several threads may
                    # The channels may have been slow to be confirmed: look once in any case.
                    return look(mine.ids) if mine.look else {}
                self._sleep(process, mine, min(left, _NAP))
        finally:
            self._leave(process, mine)

    # -- one thread

    def _mine(self) -> _Process:
        if self._process.pid != os.getpid():
            self._process = _Process()
        return self._process

    def _enter(self, process: _Process, mine: _Waiting) -> None:
        with process.lock:
            process.waiting.add(mine)
            for id in mine.ids:
                process.by_id[id].add(mine)
            mine.missing -= process.confirmed
            process.fresh |= mine.missing - process.asked
            others = process.listening is not None
            if not others:
                process.trouble = None
        if others and mine.missing:
            self._nudge(process)

    def _judge(
        self, process: _Process, mine: _Waiting, look: Look
    ) -> dict[str, StoredResult | None]:
        """What has ended, of what is to be looked at now."""
        with process.lock:
            if mine.missing:
                return {}
            all_of_them, mine.look = mine.look, False
            if all_of_them:
                mine.due = SYSTEM.monotonic() + _NAP
            heard, mine.heard = mine.heard, {}
        ended: dict[str, StoredResult | None] = {}
        unsaid = []
        for id, data in heard.items():
            found = self._tell(id, data)
            if found is None:
                unsaid.append(id)
            else:
                ended[id] = found
        if all_of_them and not ended:
            return look(mine.ids)
        if unsaid:
            ended.update(look(unsaid))
        return ended

    def _sleep(self, process: _Process, mine: _Waiting, seconds: float) -> None:
        with process.lock:
            if process.listening is None:
                process.listening = mine
            listens = process.listening is mine
        if listens:
            self._listen(process, mine, seconds)
        else:
            # Woken when something of ours was said or confirmed, or when the ear is handed on.
            mine.bell.wait(seconds)
        mine.bell.clear()

    def _leave(self, process: _Process, mine: _Waiting) -> None:
        with process.lock:
            process.waiting.discard(mine)
            for id in mine.ids:
                process.by_id[id].discard(mine)
                if not process.by_id[id]:
                    del process.by_id[id]
            if process.listening is mine:
                process.listening = None
            if process.listening is None and process.waiting:
                # Whoever wakes first takes the ear. One that was rung may leave just then.
                next(iter(process.waiting)).bell.set()

    # -- the thread that listens

    def _listen(self, process: _Process, mine: _Waiting, seconds: float) -> None:
        """Keep the link, and hear for everybody, until there is something for *mine*."""
        until = SYSTEM.monotonic() + seconds
        away_since, attempt = None, 0
        while True:
            left = until - SYSTEM.monotonic()
            with process.lock:
                if left <= 0 or (not mine.missing and (mine.look or mine.heard)):
                    return
            try:
                if process.ear is None:
                    self._begin(process)
                assert process.ear is not None
                self._agree(process, process.ear)
                said = process.ear.heard(left, process.nudged)
                if said:
                    self._hear(process, said)
                else:  # nudged, perhaps; if it was while others spoke, the next look tells
                    self._drain(process)
                away_since, attempt, process.trouble = None, 0, None
            except Unreachable as error:
                self._drop(process)
                process.trouble = error
                now = SYSTEM.monotonic()
                away_since = away_since or now
                pause = reconnect(min(attempt, 4))
                if now + pause > away_since + self._connection.options.timeout:
                    raise
                attempt += 1
                mine.bell.clear()
                mine.bell.wait(min(pause, max(0.0, until - now)))

    def _begin(self, process: _Process) -> None:
        """A new link: whatever happened before, everybody looks again once it is confirmed."""
        process.ear = Ear(self._connection, _PATIENCE)
        with process.lock:
            process.asked.clear()
            process.confirmed.clear()
            process.coming.clear()
            process.fresh = set(process.by_id)
            for each in process.waiting:
                each.missing = set(each.ids)
                each.look = True

    def _agree(self, process: _Process, ear: Ear) -> None:
        """Ask for the channels of what is waited for; drop others if there are many."""
        with process.lock:
            fresh, process.fresh = process.fresh & process.by_id.keys(), set()
            stale: list[str] = []
            if len(process.asked) - len(process.by_id) > _STALE:
                stale = [id for id in process.asked if id not in process.by_id]
            process.asked |= fresh
            process.coming.update(fresh)
            process.asked.difference_update(stale)
            process.confirmed.difference_update(stale)
        if stale:
            ear.unsubscribe(map(self._name, stale))
        if fresh:
            ear.subscribe(map(self._name, fresh))

    def _hear(self, process: _Process, said: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Hand out what was said, and wake who waits for it."""
        with process.lock:
            for channel, data in said:
                id = channel[len(self._channel) :].decode()
                if data is None and not self._confirmed(process, id):
                    continue
                for each in process.by_id.get(id, ()):
                    if data is None:
                        each.missing.discard(id)
                    else:
                        each.heard[id] = data
                    if not each.missing:
                        each.bell.set()

    def _confirmed(self, process: _Process, id: str) -> bool:
        """Note a confirmation; whether it is the one of the last time *id* was asked for."""
        process.coming[id] -= 1
        if process.coming[id] > 0:
            return False
        del process.coming[id]
        if id in process.asked:
            process.confirmed.add(id)
        return True

    def _drop(self, process: _Process) -> None:
        ear, process.ear = process.ear, None
        if ear is not None:
            ear.close()

    # -- waking the thread that listens

    def _nudge(self, process: _Process) -> None:
        # A full pipe wakes as well.
        with contextlib.suppress(BlockingIOError):
            os.write(process.nudge, b"n")

    def _drain(self, process: _Process) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(process.nudged, 4096)

    def _name(self, id: str) -> bytes:
        return self._channel + id.encode()
