"""Announcing: the signals of a worker's own life, sent where the application's code is.

Layer 5. Those of its set-up are sent in the process that imports the application (what receivers
set there, every executor inherits), those of a process in that process. What the supervisor sees
is sent in the hooks process; see ``hooks``.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from celeriac import signals
from celeriac.later import missing
from celeriac.signals import Signal

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.worker.spec import WorkerSpec

logger = logging.getLogger("celeriac.worker")

#: A receiver that keeps a process from starting is named after so many seconds, and again.
_SLOW: Final = 5.0
#: Receivers of ``worker_process_shutdown`` are ended after so many seconds.
_LAST_SECONDS: Final = 10.0
_LATER: Final = dict.fromkeys(
    ("blueprint", "consumer", "event_dispatcher", "pool", "state", "steps", "task_consumer"),
    "Use sender.app and sender.hostname.",
)


class WorkerFace:
    """The worker as receivers see it: sender or ``instance`` of its signals.

    Attributes: ``app``, ``hostname`` (its name), ``pid`` (of its supervisor), ``options`` (the
    settings of its command line and the values of ``app.user_options``), ``loglevel``, and
    ``controller``, which is the same object.
    """

    def __init__(self, app: Celeriac, spec: WorkerSpec) -> None:
        self.app = app
        self.hostname = spec.hostname
        self.pid = spec.supervisor
        self.options: Mapping[str, Any] = {**spec.settings, **app.user_values}
        self.loglevel = spec.loglevel
        self.controller = self

    def __getattr__(self, name: str) -> Any:
        raise missing("sender of worker signals", name, _LATER)

    def __str__(self) -> str:
        return self.hostname

    def __repr__(self) -> str:
        return f"<worker {self.hostname}>"


def set_up_begins(app: Celeriac, spec: WorkerSpec) -> None:
    """The application is imported; receivers of ``celeryd_init`` may change its settings."""
    face = WorkerFace(app, spec)
    with _named(signals.celeryd_init, "the worker cannot start"):
        signals.celeryd_init.send(
            spec.hostname, instance=face, conf=app.conf, options=dict(face.options)
        )


def set_up_ends(app: Celeriac, spec: WorkerSpec) -> None:
    """Settings and logs are as they will be."""
    face = WorkerFace(app, spec)
    with _named(signals.worker_init, "the worker cannot start"):
        signals.worker_init.send(face)
    with _named(signals.celeryd_after_setup, "the worker cannot start"):
        signals.celeryd_after_setup.send(spec.hostname, instance=face, conf=app.conf)


def fork_is_near(app: Celeriac, spec: WorkerSpec) -> None:
    """This process is about to be forked."""
    if signals.worker_before_create_process.receivers:
        with _named(signals.worker_before_create_process, "no executor can be made"):
            signals.worker_before_create_process.send(WorkerFace(app, spec))


def process_begins(hostname: str) -> None:
    """This process is to run tasks."""
    with _named(signals.worker_process_init, "this executor takes no task"):
        signals.worker_process_init.send(hostname)


def process_ends(status: int) -> None:
    """This process has run its last task and ends with exit status *status*."""
    if not signals.worker_process_shutdown.receivers:
        return
    from celeriac.worker.executor import soft_limit

    with soft_limit(_LAST_SECONDS):
        signals.worker_process_shutdown.send(None, pid=os.getpid(), exitcode=status)


@contextmanager
def _named(sent: Signal, so: str) -> Iterator[None]:
    """Say in the log what is waited for, and that *so*, while receivers take their time."""
    if not sent.receivers or threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_alarm(_number: int, frame: Any) -> None:
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "C code"
        logger.warning("A receiver of %s is still at %s; until it returns %s", sent.name, where, so)

    previous = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, _SLOW, _SLOW)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


__all__ = [
    "WorkerFace",
    "fork_is_near",
    "process_begins",
    "process_ends",
    "set_up_begins",
    "set_up_ends",
]
