"""Celery's ``start_worker``: a worker in threads of this process.

Layer 7. The worker is ``celeriac.testing.ThreadWorker``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from celeriac.app import Celeriac
from celeriac.client import refuse
from celeriac.context import allow_join_result
from celeriac.contrib.testing.app import is_quiet
from celeriac.exceptions import ImproperlyConfigured
from celeriac.signals import Signal
from celeriac.testing.worker import ThreadWorker, queues_of
from celeriac.testing.worker import start_worker as start

__all__ = [
    "WORKER_LOGLEVEL",
    "TestWorkController",
    "setup_app_for_worker",
    "start_worker",
    "test_worker_started",
    "test_worker_starting",
    "test_worker_stopped",
]

WORKER_LOGLEVEL: Final = os.environ.get("WORKER_LOGLEVEL", "error")

#: Sent with the app as sender: before the worker starts, once it takes tasks (``worker``,
#: ``consumer``, which is None), when it has stopped (``worker``).
test_worker_starting = Signal(name="test_worker_starting")
test_worker_started = Signal(name="test_worker_started", providing_args={"worker", "consumer"})
test_worker_stopped = Signal(name="test_worker_stopped", providing_args={"worker"})

#: Celery's name of the class of what ``start_worker`` gives.
TestWorkController = ThreadWorker

_OPTIONS: Final = frozenset({"queues", "exclude_queues", "hostname"})
#: What a worker has no such thing of; every caller of Celery's passes them.
_VOID: Final = frozenset({"without_heartbeat", "without_mingle", "without_gossip"})


@contextmanager
def start_worker(
    app: Celeriac, concurrency: int = 1, pool: str = "solo", loglevel: str | int = WORKER_LOGLEVEL,
    logfile: str | None = None, perform_ping_check: bool = True, ping_task_timeout: float = 10.0,
    shutdown_timeout: float = 10.0, **kwargs: Any,
) -> Iterator[ThreadWorker]:  # fmt: skip
    """Run a worker for *app* in this process for the length of the block.

    The app becomes the current one, and stays it, as with Celery.

    Args:
        app: whose tasks it runs.
        concurrency: how many tasks run at a time, in the pool ``threads``; ``solo`` runs one.
        pool: ``solo`` or ``threads``; both are threads of this process. Others are refused.
        loglevel: level of the logger ``celeriac`` meanwhile; not for a ``TestApp`` without
            ``enable_logging``.
        logfile: a file for its records meanwhile.
        perform_ping_check: see that a task runs before the block does.
        ping_task_timeout: seconds for that.
        shutdown_timeout: seconds to wait for running tasks at the end, before ``RuntimeError``.
        kwargs: ``queues`` and ``exclude_queues`` (names, or one text with commas) and
            ``hostname``. ``without_heartbeat`` and the like change nothing here.
    """
    for name in kwargs:
        if name not in _OPTIONS | _VOID:
            refuse(name, "start_worker()", _OPTIONS, {})
    _check_pool(pool, concurrency)
    test_worker_starting.send(sender=app)
    worker: ThreadWorker | None = None
    try:
        with ExitStack() as stack:
            stack.enter_context(_logging(app, loglevel, logfile))
            setup_app_for_worker(app, loglevel, logfile)
            worker = stack.enter_context(
                start(
                    app,
                    queues=_queues(app, kwargs.get("queues"), kwargs.get("exclude_queues")),
                    hostname=kwargs.get("hostname") or "celeriac@test",
                    concurrency=concurrency,
                    shutdown_timeout=shutdown_timeout,
                )
            )
            test_worker_started.send(sender=app, worker=worker, consumer=None)
            if perform_ping_check:
                _ping(app, worker, ping_task_timeout)
            yield worker
    finally:
        test_worker_stopped.send(sender=app, worker=worker)


def setup_app_for_worker(app: Celeriac, loglevel: str | int, logfile: str | None) -> None:
    """Make *app* the current one; logging is set up by :func:`start_worker` itself."""
    app.set_current()


def _check_pool(pool: str, concurrency: int) -> None:
    if pool not in {"solo", "threads"}:
        raise ImproperlyConfigured(
            f"start_worker(pool={pool!r}): a worker inside a test's process runs tasks in threads, "
            "as the pools 'solo' and 'threads' do. To test with processes, start "
            "`celeriac -A APP worker` on a SQLite file"
        )
    if pool == "solo" and concurrency != 1:
        raise ImproperlyConfigured(
            f"start_worker(concurrency={concurrency}): the pool 'solo' runs one task at a time; "
            "pass pool='threads'"
        )


def _queues(
    app: Celeriac, only: str | Iterable[str] | None, left_out: str | Iterable[str] | None
) -> list[str]:
    wanted = _names(only) or list(queues_of(app))
    without = _names(left_out)
    return [name for name in wanted if name not in without]


def _names(given: str | Iterable[str] | None) -> list[str]:
    if given is None:
        return []
    return [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)


def _ping(app: Celeriac, worker: ThreadWorker, timeout: float) -> None:
    from celeriac.contrib.testing.tasks import ping

    task = app.tasks[ping.name]
    with allow_join_result():
        answer = task.apply_async(queue=worker.queues[0]).get(timeout=timeout)
    assert answer == "pong", f"the worker answered {answer!r}"


@contextmanager
def _logging(app: Celeriac, level: str | int, path: str | None) -> Iterator[None]:
    """Set the level, and write a file, for the length of the block."""
    logger = logging.getLogger("celeriac")
    before = logger.level
    handler = None if path is None else logging.FileHandler(path)
    if not is_quiet(app):
        logger.setLevel(level.upper() if isinstance(level, str) else level)
    if handler is not None:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(before)
        if handler is not None:
            logger.removeHandler(handler)
            handler.close()
