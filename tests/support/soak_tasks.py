"""The application of the soak: the tasks of random workflows, and single ones of every kind; copied
as ``tasks.py``."""

import asyncio
import os
import resource
import signal
import threading
import time
from pathlib import Path

from chaos_tasks import linger, make
from soak_plan import MAX_CRASHES

from celeriac.exceptions import Ignore, Reject
from celeriac.testing.ledger import Ledger

SETTINGS = {
    "max_crashes": MAX_CRASHES,
    # Shorter than long tasks, so that a worker that is told to stop interrupts some.
    "grace": 2.0,
    "pool_drain_grace": 2.0,
    # Executors that a hungry task has had are replaced.
    "worker_max_memory_per_child": 150 * 1024,
    # What the soak has judged it discards; what it could not is gone soon after.
    "result_expires": 600.0,
    "tombstone_expires": 300.0,
    "revoke_expires": 300.0,
    "dead_expires": 600.0,
}
#: Bytes that a hungry task takes, and how many more than it has one may have that is starved.
MUCH, LITTLE = 160 << 20, 64 << 20


def in_main_thread():
    """Whether this task has its process for itself, or did not begin beside others."""
    return threading.current_thread() is threading.main_thread()


def soak(broker, ledger, **settings):
    """The application; its tasks write into *ledger*."""
    app = make(broker, ledger, limits=(1.0, 1.5), pace=0.1, **{**SETTINGS, **settings})
    book = Ledger(ledger)

    def run(request, seconds=0.0):
        """Return what a run that ended is worth: which one it was."""
        book.write(request.id, request.attempt, "start")
        time.sleep(seconds)
        book.write(request.id, request.attempt, "end")
        return [request.id, request.attempt]

    @app.task(name="soak.work", bind=True)
    def work(self, seconds):
        return run(self.request, seconds)

    @app.task(name="soak.coroutine", bind=True)
    async def coroutine(self, seconds):
        book.write(self.request.id, self.request.attempt, "start")
        await asyncio.sleep(seconds)
        book.write(self.request.id, self.request.attempt, "end")
        return [self.request.id, self.request.attempt]

    @app.task(name="soak.again", bind=True)
    def again(self, times, give_up, countdown):
        value = run(self.request)
        if give_up or self.request.retries < times:
            raise self.retry(countdown=countdown, max_retries=times)
        return value

    @app.task(
        name="soak.backoff", bind=True, autoretry_for=(ConnectionError,), retry_backoff=True,
        retry_backoff_max=1, max_retries=5,
    )  # fmt: skip
    def back_off(self, times):
        value = run(self.request)
        if self.request.retries < times:
            raise ConnectionError("not yet")
        return value

    @app.task(name="soak.once", bind=True, acks_late=False)
    def once(self, seconds):
        return run(self.request, seconds)

    @app.task(name="soak.frail", bind=True, reject_on_worker_lost=False)
    def frail(self, seconds):
        return run(self.request, seconds)

    @app.task(name="soak.fail", bind=True)
    def fail(self):
        run(self.request)
        raise ValueError("as it should")

    @app.task(name="soak.ignore", bind=True)
    def ignore(self):
        run(self.request)
        raise Ignore

    @app.task(name="soak.reject", bind=True)
    def reject(self):
        run(self.request)
        raise Reject("as it should")

    @app.task(name="soak.soft", bind=True, soft_time_limit=0.3)
    def soft(self):
        book.write(self.request.id, self.request.attempt, "start")
        linger()

    @app.task(name="soak.hard", bind=True, time_limit=0.5)
    def hard(self):
        book.write(self.request.id, self.request.attempt, "start")
        while True:  # a loop that no soft limit would end either
            pass

    @app.task(name="soak.poison", bind=True)
    def poison(self, how):
        book.write(self.request.id, self.request.attempt, "start")
        if how == "exit":
            os._exit(3)
        if in_main_thread():
            signal.signal(signal.SIGABRT, signal.SIG_DFL)
        os.kill(os.getpid(), getattr(signal, how))
        time.sleep(60)

    @app.task(name="soak.hungry", bind=True)
    def hungry(self):
        kept = bytearray(MUCH)
        return run(self.request, 0.6 * bool(kept))  # the worker looks every half second

    @app.task(name="soak.starved", bind=True)
    def starved(self):
        """Has less memory than it asks for."""
        run(self.request)
        if not in_main_thread():
            raise MemoryError  # a limit is one of the process, and would starve its neighbours
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        before = resource.getrlimit(resource.RLIMIT_AS)
        most = pages * resource.getpagesize() + LITTLE
        resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
        try:
            bytearray(MUCH)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    return app


if "LEDGER" in os.environ:
    app = soak(os.environ["BROKER"], os.environ["LEDGER"])
