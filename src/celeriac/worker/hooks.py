"""The hooks process: runs what an application wants to hear of from outside the executors.

Layer 5. Receivers of a worker's signals and handlers of tasks whose executor died are the
application's code, and the supervisor runs none. So they are called here, one after the other;
whatever they do to this process, no state changes. It exists only if there is somebody to call.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from typing import TYPE_CHECKING, Any, Final

from celeriac import signals
from celeriac.exceptions import CeleryError
from celeriac.failures import describe, from_reason
from celeriac.worker import frames
from celeriac.worker.announce import WorkerFace
from celeriac.worker.duties.notices import tell_end
from celeriac.worker.executor import Station, soft_limit

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.app.task import Task
    from celeriac.context import Context
    from celeriac.outcome import Outcome
    from celeriac.records import Delivery
    from celeriac.runner import Runner
    from celeriac.worker.spec import WorkerSpec

logger = logging.getLogger("celeriac.worker")

#: Signals that are sent in the hooks process.
TOLD: Final = frozenset(
    [
        "heartbeat_sent",
        "task_received",
        "task_rejected",
        "task_revoked",
        "worker_ready",
        "worker_shutdown",
        "worker_shutting_down",
    ]
)
#: A handler or receiver is stopped after so many seconds, so that others are called, too.
CALL_SECONDS: Final = 60.0
#: How long a worker without processes waits for its receivers when it ends.
_END_SECONDS: Final = 5.0


def told() -> tuple[str, ...]:
    """Return the signals of :data:`TOLD` that somebody is connected to, in this process."""
    return tuple(sorted(name for name in TOLD if getattr(signals, name).receivers))


class HooksProcess:
    """Its loop: frames in, calls out."""

    def __init__(self, app: Celeriac, station: Station) -> None:
        from celeriac.runner import Runner

        self.station = station
        self._runner = Runner(app, station.spec.hostname)
        self._desk = Desk(self._runner, WorkerFace(app, station.spec))

    def serve(self) -> None:
        """Call what there is to call until told to stop or the socket closes."""
        sock = self.station.sock
        sock.sendall(frames.encode(frames.Ready(os.getpid())))
        inbox = frames.Inbox()
        while data := sock.recv(frames.READ_SIZE):
            for frame in inbox.feed(data):
                if isinstance(frame, frames.Stop):
                    return
                with soft_limit(CALL_SECONDS):
                    if isinstance(frame, frames.Hook):
                        self._runner.run_hook(frame.delivery, frame.outcome)
                    elif isinstance(frame, frames.Notice):
                        self._desk.send(frame.name, frame.delivery, frame.details)


class Desk:
    """Makes of what the supervisor saw the arguments of a signal, and sends it."""

    def __init__(self, runner: Runner, face: WorkerFace) -> None:
        self._runner = runner
        self._face = face

    def send(self, name: str, delivery: Delivery | None, details: dict[str, Any]) -> None:
        """Send the signal *name*. What goes wrong is logged."""
        try:
            self._send(name, delivery, details)
        except CeleryError as error:
            logger.error("The signal %s could not be sent: %s", name, describe(error))

    def _send(self, name: str, delivery: Delivery | None, details: dict[str, Any]) -> None:
        signal = getattr(signals, name)
        if name == "worker_shutting_down":
            signal.send(self._face.hostname, **details)
        elif name == "task_rejected" and delivery is not None:
            error = from_reason(details["reason"], "InvalidTaskError", failed=False)
            signal.send(self._face, message=delivery.wire, exc=error)
        elif delivery is None:
            signal.send(self._face)
        else:
            task, context = self._runner.read(delivery)
            if name == "task_received":
                signal.send(self._face, request=Request(task, context))
            else:
                signal.send(task, request=context, **details)


class Request:
    """What receivers of ``task_received`` get: the call, and the task it is of.

    It has all that ``self.request`` has, and ``task`` is the task itself.
    """

    def __init__(self, task: Task[..., Any], context: Context) -> None:
        self.task = task
        self.id = self.task_id = context.id
        self.name = self.task_name = task.name
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def __repr__(self) -> str:
        return f"<Request: {self.name}[{self.id}]>"


class LocalHooks:
    """The same in a thread, for a worker that has no processes: ``duties.notices.Notices``."""

    def __init__(self, runner: Runner, app: Celeriac, spec: WorkerSpec) -> None:
        self._desk = Desk(runner, WorkerFace(app, spec))
        self._ready = False
        self._calls: queue.SimpleQueue[tuple[str, Delivery | None, dict[str, Any]] | None]
        self._calls = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def tell(self, name: str, delivery: Delivery | None = None, **details: Any) -> None:
        """Have the signal *name* sent, if anybody hears of it. From any thread."""
        if name == "worker_ready":  # several threads may be one worker
            if self._ready:
                return
            self._ready = True
        if not getattr(signals, name).receivers:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="hooks", daemon=True)
            self._thread.start()
        self._calls.put((name, delivery, details))

    def ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """A delivery ended as *outcome* says: a signal, if it was revoked or expired."""
        tell_end(self, delivery, outcome)

    def close(self) -> None:
        """The worker ends: send ``worker_shutdown``, and wait a little for what is to be sent."""
        self.tell("worker_shutdown")
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join(_END_SECONDS)
            if self._thread.is_alive():
                logger.error("A receiver of a signal has not returned; the worker ends without it")

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            self._desk.send(*call)


__all__ = ["TOLD", "Desk", "HooksProcess", "LocalHooks", "Request", "told"]
