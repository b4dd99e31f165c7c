"""The strikes of a soak: what each does to whom, and how what lasts ends."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import apsw
import psutil
from servers import Server
from soak_plan import Strike
from wires import Proxy
from workers import Worker


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else can write to that file of SQLite."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.set_busy_timeout(10_000)
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """That server does not answer."""
    server.pause()
    yield
    server.resume()


@contextmanager
def dead(server: Server) -> Iterator[None]:
    """That server has been killed; afterwards another one has what it had written."""
    server.stop(signal.SIGKILL)
    yield
    server.start()


@contextmanager
def swallowing(proxy: Proxy) -> Iterator[None]:
    """Nothing passes, and nobody is told."""
    proxy.stall()
    yield
    proxy.flow()


@contextmanager
def slow(proxy: Proxy, seconds: float) -> Iterator[None]:
    """Each piece of an answer takes so long."""
    proxy.delay = seconds
    yield
    proxy.delay = 0.0


@contextmanager
def frozen(worker: Worker) -> Iterator[None]:
    """All processes of that worker are stopped."""
    family = [*worker.children()]
    with contextlib.suppress(psutil.NoSuchProcess):
        family.append(psutil.Process(worker.pid))
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.suspend()
    yield
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.resume()


class Lasting:
    """Faults that last, by name, each once at a time."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[float, ExitStack]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._running

    def begin(self, name: str, seconds: float, fault: AbstractContextManager[None]) -> None:
        with ExitStack() as stack:
            stack.enter_context(fault)
            self._running[name] = (time.monotonic() + seconds, stack.pop_all())

    def end(self, everything: bool = False) -> None:
        """End those whose time it is, or all."""
        now = time.monotonic()
        for name, (until, stack) in list(self._running.items()):
            if everything or until <= now:
                del self._running[name]
                stack.close()


#: Seconds that a piece of a slow answer takes, at most.
SLOWEST = 0.3
#: While one of these lasts, the store does not answer us either.
DEAF = frozenset({"restart", "pause", "lock"})


class Store:
    """What can be done to the store: one of SQLite at *path*, or *server* behind *proxy*."""

    def __init__(
        self, path: Path, server: Server | None = None, proxy: Proxy | None = None
    ) -> None:
        self.path, self.server, self.proxy = path, server, proxy
        self.lasting = Lasting()

    @property
    def deaf(self) -> bool:
        return any(name in self.lasting for name in DEAF)

    def strike(self, strike: Strike) -> bool:
        """Do it; False if it cannot be done now."""
        if strike.kind in _LASTING:
            if strike.kind in self.lasting or (strike.kind in DEAF and self.deaf):
                return False
            # A server that is started again at once is a fault, too.
            seconds = strike.seconds * (strike.amount if strike.kind == "restart" else 1)
            self.lasting.begin(strike.kind, seconds, _LASTING[strike.kind](self, strike))
            return True
        assert self.proxy is not None
        some = 1 + int(strike.amount**3 * 4000)
        match strike.kind:
            case "cut":
                self.proxy.cut()
            case "forsake":
                self.proxy.forsake()
            case "reply":
                self.proxy.answers_left = some
            case "request":
                self.proxy.requests_left = some
        return True


_LASTING: dict[str, Callable[[Store, Strike], AbstractContextManager[None]]] = {
    "lock": lambda store, strike: locked(store.path),
    "pause": lambda store, strike: paused(store.server),
    "restart": lambda store, strike: dead(store.server),
    "black hole": lambda store, strike: swallowing(store.proxy),
    "late": lambda store, strike: store.proxy.hold(0.5, random.Random(strike.amount)),
    "slow": lambda store, strike: slow(store.proxy, strike.amount * SLOWEST),
}
