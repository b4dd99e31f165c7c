"""The executor of the pool ``threads``: several tasks at once, each in a thread.

Layer 5. The main thread reads frames and answers the supervisor; threads take deliveries from one
line and run them. So the supervisor is answered for as long as the interpreter turns at all, and a
task that never lets go of the GIL is told from one that is slow.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
import traceback
from contextvars import copy_context
from typing import TYPE_CHECKING

from celeriac.crashpoints import crashpoint
from celeriac.records import Delivery, Fence
from celeriac.worker import frames
from celeriac.worker.alarms import Alarms
from celeriac.worker.kinship import leave_if_forked

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.outcome import Outcome
    from celeriac.runner import Runner
    from celeriac.worker.executor import Station


class ThreadedExecutor:
    """One process: a line of deliveries, and threads that work it off."""

    def __init__(self, app: Celeriac, station: Station) -> None:
        assert station.board is not None, "a shared executor has a board"
        self.station = station
        self._app = app
        self._sock = station.sock
        self._board = station.board
        self._pid = 0
        self._line: queue.SimpleQueue[tuple[int, Delivery] | None] = queue.SimpleQueue()
        self._alarms = Alarms()
        #: Threads that were started, and those of them that have ended.
        self._threads = 0
        self._ended = 0
        #: Deliveries that wait or run.
        self._pending = 0
        self._count = threading.Lock()
        self._sending = threading.Lock()
        self._present: dict[tuple[str, int], int] = {}

    def serve(self) -> None:
        """Run what comes until told to stop or the socket closes."""
        self._pid = os.getpid()
        self._send(frames.Ready(self._pid))
        inbox = frames.Inbox()
        # After Stop the last thread to end closes the reading side.
        while data := self._sock.recv(frames.READ_SIZE):
            for frame in inbox.feed(data):
                if isinstance(frame, frames.Run):
                    self._take(frame)
                elif isinstance(frame, frames.SoftLimit):
                    frame.set_on(self._app.tasks)
                elif isinstance(frame, frames.Ping):
                    self._send(frames.Pong(frame.number))
                elif isinstance(frame, frames.Cancel):
                    self._send(frames.Stays(frame.key))
                elif isinstance(frame, frames.Stop):
                    if self._threads == 0:
                        return
                    for _ in range(self._threads):
                        self._line.put(None)

    def _take(self, frame: frames.Run) -> None:
        with self._count:
            self._pending += len(frame.deliveries)
            wanted = min(self._pending, self._board.places)
        for offset, delivery in enumerate(frame.deliveries):
            self._line.put((frame.first + offset, delivery))
        while self._threads < wanted:
            threading.Thread(
                target=self._work, args=(self._threads,), name=f"task-{self._threads}", daemon=True
            ).start()
            self._threads += 1

    def _work(self, place: int) -> None:
        """A thread's life. Each has a runner of its own, and with it an event loop of its own."""
        try:
            runner = self._make_runner()
            take = self._line.get
            while (item := take()) is not None:
                self._run(runner, place, *item)
        except BrokenPipeError:
            return  # the supervisor is gone; the main thread sees it, too
        except BaseException:  # noqa: BLE001 - a place that is lost or a run without an outcome
            traceback.print_exc()  # must not go unseen
            os._exit(1)
        with self._count:
            self._ended += 1
            last = self._ended == self._threads
        if last:
            self._sock.shutdown(socket.SHUT_RD)

    def _make_runner(self) -> Runner:
        from celeriac.runner import Runner

        return Runner(
            self._app, self.station.spec.hostname, update=self._send_update,
            limiter=self._alarms.limit,
        )  # fmt: skip

    def _run(self, runner: Runner, place: int, key: int, delivery: Delivery) -> None:
        crashpoint("executor.received")
        started = time.monotonic()
        self._board.write(place, key, started)
        if self.station.slots.held_back(self.station.index, key):
            self._board.wipe(place)
            self._send(frames.Skipped(key))
        else:
            run = (delivery.id, delivery.attempt)
            self._present[run] = key
            # What a task sets in its context must not be met by the next one of this thread.
            outcome: Outcome = copy_context().run(runner.run, delivery)
            leave_if_forked(self._pid)
            crashpoint("executor.ran")
            self._present.pop(run, None)
            self._send(frames.Done(key, outcome, time.monotonic() - started))
            self._board.wipe(place)
            crashpoint("executor.sent")
        with self._count:
            self._pending -= 1

    def _send_update(self, fence: Fence, state: str, meta: bytes | None) -> None:
        """From any thread. A run that is over has nothing to say any more."""
        key = self._present.get((fence.id, fence.attempt))
        if key is not None:
            self._send(frames.Update(key, state, meta))

    def _send(self, frame: frames.Frame) -> None:
        data = frames.encode(frame)
        with self._sending:
            self._sock.sendall(data)


__all__ = ["ThreadedExecutor"]
