"""A worker inside the test's own process.

Layer 6. It runs the solo pool in a thread: what a test wants in order to see its tasks run for
real, retries and results included, without starting processes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from celeriac.app import Celeriac
from celeriac.records import Manifest
from celeriac.runner import Runner
from celeriac.worker.main import make_signer, timing
from celeriac.worker.pools.solo import Solo

#: Seconds to wait for the task at hand when the block ends.
_STOP_SECONDS = 30.0


@contextmanager
def start_worker(
    app: Celeriac, *, queues: Sequence[str] | None = None, hostname: str = "celeriac@test"
) -> Iterator[Solo]:
    """Run a worker for *app* in a thread of this process for the length of the block.

    *queues* are those it takes from, by default ``task_default_queue``. One task runs at a time;
    there are no time limits, since a thread cannot be interrupted. An error of the worker itself
    is raised at the end of the block.
    """
    store = app.store
    manifest = Manifest(
        tasks=app.facts(),
        hostname=hostname,
        pool="solo",
        concurrency=1,
        queues=tuple(queues or (app.conf.task_default_queue,)),
        app=app.main or "",
    )
    runner = Runner(app, hostname, update=store.queue.update)
    solo = Solo(store, runner, manifest, make_signer(app.conf), timing=timing(app.conf))
    failures: list[BaseException] = []

    def body() -> None:
        try:
            solo.run()
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            failures.append(error)
            solo.ready.set()

    thread = threading.Thread(target=body, name="celeriac-test-worker", daemon=True)
    thread.start()
    solo.ready.wait(_STOP_SECONDS)
    try:
        yield solo
    finally:
        solo.stop()
        thread.join(_STOP_SECONDS)
    if failures:
        raise failures[0]
    if thread.is_alive():
        raise TimeoutError("the test worker still runs a task; it was left behind as a daemon")


__all__ = ["start_worker"]
