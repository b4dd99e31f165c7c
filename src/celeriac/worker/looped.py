"""The executor of the pool ``asyncio``: coroutines by the thousand in one event loop.

Layer 5. The loop runs ``async def`` tasks and talks to the supervisor; tasks that are plain
functions go to a bounded number of threads beside it. What ends within one turn of the loop is
sent in one piece.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from celeriac import states
from celeriac.crashpoints import crashpoint
from celeriac.exceptions import CeleryError, DecodeError
from celeriac.message import decode
from celeriac.outcome import Outcome
from celeriac.records import Delivery, Fence
from celeriac.runner import Runner
from celeriac.worker import frames
from celeriac.worker.alarms import Alarms
from celeriac.worker.kinship import leave_if_forked
from celeriac.worker.slots import Board

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.worker.executor import Station

#: Most threads for tasks that are plain functions.
THREADS_MOST: Final = 32
_CANCELLED: Final = Outcome(states.CANCELLED, reason="TaskRevokedError: terminated")

_Item = tuple[int, Delivery]


class LoopedExecutor:
    """One process, one event loop. Methods run in the loop's thread unless they say otherwise."""

    def __init__(self, app: Celeriac, station: Station) -> None:
        assert station.board is not None, "a shared executor has a board"
        self.station = station
        self._board = station.board
        self._app = app
        self._pid = 0
        self._alarms = Alarms()
        self._runner = self._make_runner()
        self._inbox = frames.Inbox()
        self._free = list(range(station.board.places))
        #: What has not begun: in the order it came, and what waits for a thread.
        self._line: deque[_Item] = deque()
        self._thread_line: deque[_Item] = deque()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._threads = _Threads(self._make_runner, self._thread_is_done)
        self._present: dict[tuple[str, int], int] = {}
        self._is_async: dict[str, bool] = {}
        self._stopping = False

    def _make_runner(self) -> Runner:
        return Runner(
            self._app, self.station.spec.hostname, update=self._send_update,
            limiter=self._alarms.limit,
        )  # fmt: skip

    def serve(self) -> None:
        """Run what comes until told to stop or the socket closes."""
        self._pid = os.getpid()
        loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        self._ended = loop.create_future()
        self._out = _Outgoing(self.station.sock, loop, self._board, self._left)
        self.station.sock.setblocking(False)
        loop.add_reader(self.station.sock, self._on_readable)
        self._out.put(frames.Ready(self._pid))
        loop.run_until_complete(self._ended)

    # --- frames in ----------------------------------------------------------------------------
    def _on_readable(self) -> None:
        leave_if_forked(self._pid)  # it would take what is meant for the executor
        try:
            data = self.station.sock.recv(frames.READ_SIZE)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._end()
            return
        try:
            for frame in self._inbox.feed(data):
                self._obey(frame)
        except DecodeError:
            # The loop would log it and go on, with a stream that is out of step.
            traceback.print_exc()
            os._exit(1)
        self._begin()

    def _obey(self, frame: frames.Frame) -> None:
        if isinstance(frame, frames.Run):
            self._line.extend(enumerate(frame.deliveries, frame.first))
        elif isinstance(frame, frames.Cancel):
            task = self._tasks.get(frame.key)
            if task is not None:
                # At the next turn, because a task that has not had its first step would end
                # without a word.
                self._loop.call_soon(task.cancel)
            else:
                self._out.put(frames.Stays(frame.key))
        elif isinstance(frame, frames.SoftLimit):
            frame.set_on(self._app.tasks)
        elif isinstance(frame, frames.Ping):
            self._out.put(frames.Pong(frame.number))
        elif isinstance(frame, frames.Stop):
            self._stopping = True
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        waiting = self._line or self._thread_line
        if self._stopping and not waiting and len(self._free) == self._board.places:
            self._end()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    # --- running ------------------------------------------------------------------------------
    def _begin(self) -> None:
        """Begin what there are places for, and threads where it takes one."""
        while self._thread_line and self._free and self._threads.free:
            self._begin_one(*self._thread_line.popleft(), in_thread=True)
        while self._line and self._free:
            key, delivery = self._line.popleft()
            in_thread = self._takes_a_thread(delivery)
            if in_thread and (self._thread_line or not self._threads.free):
                self._thread_line.append((key, delivery))
            else:
                self._begin_one(key, delivery, in_thread=in_thread)

    def _begin_one(self, key: int, delivery: Delivery, *, in_thread: bool) -> None:
        crashpoint("executor.received")
        place, now = self._free.pop(), time.monotonic()
        self._board.write(place, key, now)
        if self.station.slots.held_back(self.station.index, key):
            self._board.wipe(place)
            self._free.append(place)
            self._out.put(frames.Skipped(key))
            return
        self._present[delivery.id, delivery.attempt] = key
        run = _Run(place, key, delivery, now)
        if in_thread:
            self._threads.put(run)
        else:
            self._tasks[key] = self._loop.create_task(self._run(run))

    def _takes_a_thread(self, delivery: Delivery) -> bool:
        """Is it a task that is a plain function? What cannot be read is refused in the loop."""
        try:
            name = decode(delivery.wire).header.task
            found = self._is_async.get(name)
            if found is None:
                run = self._app.tasks[name].run
                found = self._is_async[name] = inspect.iscoroutinefunction(run)
        except CeleryError:
            return False
        return not found

    async def _run(self, run: _Run) -> None:
        # Its own time, without the turns of those before it: a brief task is to be known as one.
        # The board keeps the moment from which its limits count.
        run.since = time.monotonic()
        try:
            outcome = await self._runner.arun(run.delivery)
        except asyncio.CancelledError:
            outcome = _CANCELLED
        except BaseException:  # noqa: BLE001 - a run without an outcome must not go unseen: the
            traceback.print_exc()  # loop would log it and go on, with one place less
            os._exit(1)
        del self._tasks[run.key]
        self._is_done(run, outcome)

    def _is_done(self, run: _Run, outcome: Outcome) -> None:
        leave_if_forked(self._pid)
        crashpoint("executor.ran")
        self._present.pop((run.delivery.id, run.delivery.attempt), None)
        self._out.put(frames.Done(run.key, outcome, time.monotonic() - run.since), run.place)

    def _left(self, places: list[int]) -> None:
        """The outcomes of what ran in *places* are in the pipe."""
        crashpoint("executor.sent")
        self._free += places
        self._begin()
        self._end_if_idle()

    # --- from other threads -------------------------------------------------------------------
    def _thread_is_done(self, run: _Run, outcome: Outcome) -> None:
        self._loop.call_soon_threadsafe(self._is_done, run, outcome)

    def _send_update(self, fence: Fence, state: str, meta: bytes | None) -> None:
        """From any thread. A run that is over has nothing to say any more."""
        key = self._present.get((fence.id, fence.attempt))
        if key is None:
            return
        frame = frames.Update(key, state, meta)
        if threading.current_thread() is threading.main_thread():
            self._out.put(frame)
        else:
            self._loop.call_soon_threadsafe(self._out.put, frame)


@dataclass(slots=True)
class _Run:
    """A run that has begun."""

    place: int
    key: int
    delivery: Delivery
    since: float


class _Threads:
    """A bounded number of threads for tasks that are plain functions, started when needed."""

    def __init__(
        self, make_runner: Callable[[], Runner], done: Callable[[_Run, Outcome], None]
    ) -> None:
        self._make_runner = make_runner
        self._done = done
        self._line: queue.SimpleQueue[_Run] = queue.SimpleQueue()
        self._started = 0
        self._busy = 0
        self._lock = threading.Lock()

    @property
    def free(self) -> bool:
        """Could one more begin at once?"""
        return self._busy < THREADS_MOST

    def put(self, run: _Run) -> None:
        """Run it in a thread, which is free."""
        with self._lock:
            self._busy += 1
            missing = self._busy > self._started
            self._started += missing
        self._line.put(run)
        if missing:
            name = f"task-{self._started}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        try:
            pid = os.getpid()
            runner = self._make_runner()
            while True:
                run = self._line.get()
                run.since = time.monotonic()
                # What a task sets in its context must not be met by the next one of this thread.
                outcome: Outcome = copy_context().run(runner.run, run.delivery)
                leave_if_forked(pid)  # there, nobody would ever put anything into this line
                with self._lock:
                    self._busy -= 1
                self._done(run, outcome)
        except BaseException:  # noqa: BLE001 - a run without an outcome must not go unseen
            traceback.print_exc()
            os._exit(1)


class _Outgoing:
    """Frames to the supervisor: those of one turn of the loop in one piece, never blocking it."""

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        board: Board,
        left: Callable[[list[int]], None],
    ) -> None:
        self._pid = os.getpid()
        self._sock = sock
        self._loop = loop
        self._board = board
        self._left = left
        self._frames: list[frames.Frame] = []
        #: Places whose outcomes are among them.
        self._places: list[int] = []
        self._buffer = bytearray()
        self._writing = False

    def put(self, frame: frames.Frame, place: int | None = None) -> None:
        """Send *frame* at the next turn; it is the outcome of what ran in *place*."""
        if not self._frames and not self._writing:
            self._loop.call_soon(self._write)
        self._frames.append(frame)
        if place is not None:
            self._places.append(place)

    def _write(self) -> None:
        leave_if_forked(self._pid)  # what the executor has yet to say is not said twice
        if not self._buffer:
            self._buffer += b"".join(map(frames.encode, self._frames))
            self._frames.clear()
            self._leaving, self._places = self._places, []
        try:
            del self._buffer[: self._sock.send(self._buffer)]
        except BlockingIOError:
            pass
        except OSError:
            return  # the supervisor is gone, as the reader is about to see
        if bool(self._buffer) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(self._sock, self._write)
            else:
                self._loop.remove_writer(self._sock)
        if self._buffer:
            return
        # Only now: what stands on the board and is not in the pipe has begun and not ended.
        for place in self._leaving:
            self._board.wipe(place)
        self._left(self._leaving)
        if self._frames and not self._writing:
            self._loop.call_soon(self._write)


__all__ = ["THREADS_MOST", "LoopedExecutor"]
