"""A worker inside the test's own process.

Layer 6. It runs the solo pool in threads: what a test wants in order to see its tasks run for
real, retries and results included, without starting processes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

from celeriac.app import Celeriac
from celeriac.exceptions import ImproperlyConfigured
from celeriac.interrupt import soft_limit
from celeriac.records import Manifest
from celeriac.runner import Runner
from celeriac.worker.compose import make_relay, make_signer, timing
from celeriac.worker.hooks import LocalHooks
from celeriac.worker.pools.solo import Solo
from celeriac.worker.solo_helm import attend
from celeriac.worker.spec import WorkerSpec

__all__ = ["ThreadWorker", "queues_of", "start_worker"]

_START_SECONDS = 30.0


@contextmanager
def start_worker(
    app: Celeriac, *, queues: Sequence[str] | None = None, hostname: str = "celeriac@test",
    concurrency: int = 1, shutdown_timeout: float = 30.0,
) -> Iterator[ThreadWorker]:  # fmt: skip
    """Run a worker for *app* in threads of this process for the length of the block.

    There is no hard time limit, since a thread cannot be ended; the soft one is raised between
    two steps of Python. At the end of the block the worker finishes what it runs. An error of the
    worker itself is raised there, too.

    Args:
        app: whose tasks it runs.
        queues: those it takes from; by default all that its tasks are sent to by themselves.
        hostname: its name.
        concurrency: how many tasks run at a time.
        shutdown_timeout: seconds to wait for running tasks at the end before ``RuntimeError``.
    """
    worker = ThreadWorker(app, queues, hostname, concurrency)
    try:
        worker.ensure_started()
        yield worker
    finally:
        worker.stop(shutdown_timeout)
    worker.raise_failure()


def queues_of(app: Celeriac) -> tuple[str, ...]:
    """Return the queues that tasks of *app* are sent to unless a call says otherwise."""
    declared = app.conf.task_queues or ()
    names = [app.conf.task_default_queue, *(each.name for each in declared)]
    directions = app.client.directions
    for task in app.tasks.values():
        known = directions.by_name(task.name, task.defaults)
        if known is not None and known[0].queue:
            names.append(known[0].queue)
    return tuple(dict.fromkeys(names))


class ThreadWorker:
    """A worker in threads, one task at a time in each; made by :func:`start_worker`."""

    #: pytest shall not take Celery's name of it, ``TestWorkController``, for a test.
    __test__ = False

    def __init__(
        self, app: Celeriac, queues: Sequence[str] | None, hostname: str, concurrency: int
    ) -> None:
        if concurrency < 1:
            raise ImproperlyConfigured(f"concurrency is {concurrency}; a worker runs 1 or more")
        app.import_modules()
        self.app = app
        #: Its name, as ``self.request.hostname`` shows it.
        self.hostname = hostname
        self.queues = tuple(queues or queues_of(app))
        self.concurrency = concurrency
        self._failures: list[BaseException] = []
        store, signer = app.store, make_signer(app.conf)
        self._relay = make_relay(app.conf, store, app.backend_url)
        if self._relay is not None:
            store = self._relay.store
            self._relay.start(self._failures.append)
        self._loops = [
            Solo(
                store, Runner(app, hostname, update=store.queue.update, limiter=soft_limit),
                self._manifest(), signer, timing=timing(app.conf),
            )
            for _ in range(concurrency)
        ]  # fmt: skip
        spec = WorkerSpec(app.main or "", hostname=hostname, supervisor=os.getpid())
        self._hooks = LocalHooks(Runner(app, hostname), app, spec)
        for loop in self._loops:
            loop.notices = self._hooks
            attend(loop, store, app.conf, signer)
        self._threads = [
            threading.Thread(
                target=self._run, args=(loop,), name=f"celeriac-test-worker-{index}", daemon=True
            )
            for index, loop in enumerate(self._loops)
        ]
        for thread in self._threads:
            thread.start()

    def _manifest(self) -> Manifest:
        return Manifest(
            tasks=self.app.facts(), hostname=self.hostname, pool="solo", concurrency=1,
            queues=self.queues, app=self.app.main or "",
        )  # fmt: skip

    def ensure_started(self) -> None:
        """Wait until it takes tasks."""
        for loop in self._loops:
            if not loop.ready.wait(_START_SECONDS):
                raise TimeoutError("the test worker has not started")
        self.raise_failure()
        self.app.tasks.watchers.append(self.reload)

    def reload(self) -> None:
        """Learn of tasks that were declared meanwhile; happens by itself when one is."""
        for loop in self._loops:
            loop.declare(self._manifest())

    def stop(self, timeout: float | None = None) -> None:
        """Finish what runs and end; raise ``RuntimeError`` if that takes over *timeout* s."""
        if self.reload in self.app.tasks.watchers:
            self.app.tasks.watchers.remove(self.reload)
        for loop in self._loops:
            loop.stop()
        deadline = None if timeout is None else monotonic() + timeout
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - monotonic()))
        self._hooks.close()
        if self._relay is not None:
            self._relay.stop(10.0 if timeout is None else timeout)
        if any(thread.is_alive() for thread in self._threads):
            raise RuntimeError(
                f"the test worker still runs a task after {timeout:g} s; it was left behind as a "
                "daemon thread"
            )

    def raise_failure(self) -> None:
        """Raise what ended the worker before its time, if anything has."""
        if self._failures:
            raise self._failures[0]

    def _run(self, loop: Solo) -> None:
        try:
            loop.run()
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            self._failures.append(error)
            loop.ready.set()
