"""SIGKILL to the whole worker in the middle of its tasks, and what becomes of them.

Another worker is started at once. Who is killed while nothing runs shows nothing, so the strike
waits until a task has just begun, and is done again if none was interrupted all the same.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contestants import PEERS, Contestant, Ground, Trouble, Worker, ground
from redis_server import Server

if TYPE_CHECKING:
    from redis_rows import Found, Sizes, Steps

#: Coroutines that a process may hold.
EACH = 4
#: Seconds since which a task may have run, of its 50 ms, when the strike is decided on.
FRESH = 0.015
#: How often at most it is done again because nothing was interrupted.
TRIES = 5
#: Seconds without a task that ended, after which others may go on.
QUIET = 5.0
#: Seconds between two tasks more that are sent to the second worker.
NUDGE = 2.0


def kill(side: Contestant, server: Server, sizes: Sizes) -> Steps:
    """SIGKILL to the whole worker, set up as it is fastest."""
    return (yield from _until_struck(
        lambda place: _struck(place, "work", sizes.patience), side, server, sizes))  # fmt: skip


def reliable(side: Contestant, server: Server, sizes: Sizes) -> Steps:
    """SIGKILL to the whole worker, set up so that it loses least.

    The second worker is sent a task more every two seconds, which is not counted: some look for
    what a dead worker held only when something new has come. Without, what they had not run
    would be silence, not loss; so all sides have it alike.
    """
    return (yield from _until_struck(
        lambda place: _struck(place, "reliable", sizes.long_patience, nudged=True),
        side, server, sizes, BENCH_RELIABLE="1"))  # fmt: skip


def _until_struck(
    measure: Callable[[Ground], Steps], side: Contestant, server: Server, sizes: Sizes,
    **environment: str,
) -> Steps:  # fmt: skip
    """*measure* on empty ground, until a run of it has interrupted something."""
    for _ in range(TRIES):
        with ground(side, server, sizes.killed, **environment) as place:
            found = yield from measure(place)
        if found:
            return found
    raise Trouble(f"{side.name}: nothing ran when it was killed, {TRIES} times")


def _struck(place: Ground, pool: str, patience: float, *, nudged: bool = False) -> Steps:
    """What was found; nothing if nothing was interrupted.

    What never runs again costs the whole patience, in which nothing happens. So it yields as soon
    as the second worker has been quiet for some seconds. When each task began and ended is on the
    board, whenever it is looked at.
    """
    count = place.tasks
    place.fill("wait")
    with place.working(pool, 2, EACH, each=EACH) as worker:
        worker.wait(lambda: place.ended() >= count // 4, "a quarter of the tasks")
        _await_fresh(place, worker)
        worker.kill()
        killed = time.monotonic()
    watch = Watch(place, place.stamps())
    if not watch.running:
        return {}
    with ExitStack() as stack:
        worker = stack.enter_context(place.working(pool, 2, EACH, each=EACH))
        nudger = stack.enter_context(_nudging(place)) if nudged else None
        yield from _until_all_or(watch, worker, killed + patience, nudger)
    return watch.found(killed, killed + patience, counted=nudged)


def _await_fresh(place: Ground, worker: Worker) -> None:
    """Return when a task has just begun: to find and kill all processes takes some ms."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        held, now = place.stamps(), time.monotonic()
        if any(not end and begun and now - begun < FRESH
               for begun, end in zip(held[::2], held[1::2], strict=True)):  # fmt: skip
            return
        worker.check()
        time.sleep(0.001)
    raise Trouble(f"{place.side.name}: no task began within 60 s, a quarter of them done")


@dataclass
class Watch:
    """What becomes of the tasks that were interrupted; *held*: the board after the kill."""

    place: Ground
    held: list[float]
    again: dict[int, float] = field(default_factory=dict)  # task → when it first began again

    @property
    def running(self) -> list[int]:
        """The tasks that had begun and not ended."""
        tasks = range(self.place.tasks)
        return [n for n in tasks if self.held[2 * n] and not self.held[2 * n + 1]]

    def look(self) -> int:
        """Note who has begun again; return how many have ended."""
        now = self.place.stamps()
        for n in self.running:
            if now[2 * n] != self.held[2 * n]:
                self.again.setdefault(n, now[2 * n])
        return self.place.ended()

    def found(self, killed: float, deadline: float, *, counted: bool) -> Found:
        """The figures; *counted*: those of the interrupted ones, too."""
        self.look()
        ends, runs = self.place.stamps()[1::2], self.place.runs()
        lost = sum(1 for end, ran in zip(ends, runs, strict=True) if not ran or end > deadline)
        told = {
            "running when killed": float(len(self.running)),
            "not run again": float(lost),
            "run twice to the end": float(sum(1 for each in runs if each > 1)),
        }
        if not lost:
            told["all run after"] = max(ends) - killed
        if counted:
            again = [begun - killed for begun in self.again.values() if begun <= deadline]
            told["begun again"] = float(len(again))
            if len(again) == len(self.running):
                told["begun again after"] = max(again)
        return told


def _until_all_or(
    watch: Watch, worker: Worker, deadline: float, nudger: subprocess.Popen[bytes] | None
) -> Generator[None, None, None]:
    done, since = watch.look(), time.monotonic()
    while done < watch.place.tasks and time.monotonic() < deadline:
        worker.check()
        if nudger is not None and nudger.poll() is not None:
            raise Trouble(f"{watch.place.side.name}: what sends one more ended by itself")
        time.sleep(0.05)
        now = watch.look()
        if now > done:
            done, since = now, time.monotonic()
        elif time.monotonic() > since + QUIET:
            yield


@contextmanager
def _nudging(place: Ground) -> Iterator[subprocess.Popen[bytes]]:
    """A process that sends a task every two seconds, for the length of the block."""
    side = place.side
    command = [side.python, "drive.py", side.module, "nudge", json.dumps({"pause": NUDGE})]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=PEERS, env=place.environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait(30)
