"""The strikes of a soak: what each does to whom, and how what lasts ends; and the place where it
happens."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import apsw
import psutil
from disks import Unavailable, disk
from servers import Server, server
from soak_plan import Strike
from wires import Proxy
from workers import Site, Worker, site


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
def full(store: Store) -> Iterator[None]:
    """The store has no room for anything new."""
    if store.server is not None:
        store.server.do("CONFIG", "SET", "maxmemory", "1")
        yield
        store.server.do("CONFIG", "SET", "maxmemory", "0")
        return
    ballast = store.path.with_name("ballast")
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    yield
    ballast.unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A folder on a file system of its own, of so little room that it can be filled; None: it takes
    root to mount one."""
    with ExitStack() as stack:
        try:
            made = stack.enter_context(disk(folder / "disk", ROOM))
        except Unavailable as error:
            print(f"no full disk: {error}", flush=True)
            yield None
        else:
            yield made.path


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
#: Of these only one lasts at a time: the end of each takes a store that answers.
ALONE = DEAF | {"full"}
#: Of a file system that can be filled.
ROOM = 64 << 20


class Store:
    """What can be done to the store: one of SQLite at *path*, or *server* behind *proxy*. If it is
    *bounded* it can be filled."""

    def __init__(
        self,
        path: Path,
        server: Server | None = None,
        proxy: Proxy | None = None,
        bounded: bool = True,
    ) -> None:
        self.path, self.server, self.proxy, self.bounded = path, server, proxy, bounded
        self.lasting = Lasting()

    @property
    def deaf(self) -> bool:
        return any(name in self.lasting for name in DEAF)

    def size(self) -> int:
        """Bytes that it takes."""
        if self.server is not None:
            with self.server.connect() as client:
                return int(client.info("memory")["used_memory"])
        files = self.path.parent.glob(f"{self.path.name}*")
        return sum(each.stat().st_size for each in files if each.is_file())

    def strike(self, strike: Strike) -> bool:
        """Do it; False if it cannot be done now."""
        if strike.kind in _LASTING:
            alone = strike.kind in ALONE and any(each in self.lasting for each in ALONE)
            if strike.kind in self.lasting or alone or (strike.kind == "full" and not self.bounded):
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
            case "reset":
                self.proxy.reset()
            case "half":
                self.proxy.half_close()
            case "forsake":
                self.proxy.forsake()
            case "unheard":
                self.proxy.forsake(requests=False)
            case "reply":
                self.proxy.answers_left = some
            case "request":
                self.proxy.requests_left = some
        return True


_LASTING: dict[str, Callable[[Store, Strike], AbstractContextManager[None]]] = {
    "lock": lambda store, strike: locked(store.path),
    "full": lambda store, strike: full(store),
    "pause": lambda store, strike: paused(store.server),
    "restart": lambda store, strike: dead(store.server),
    "black hole": lambda store, strike: swallowing(store.proxy),
    "late": lambda store, strike: store.proxy.hold(0.5, random.Random(strike.amount)),
    "slow": lambda store, strike: slow(store.proxy, strike.amount * SLOWEST),
}


@contextmanager
def stage(kind: str, folder: Path) -> Iterator[tuple[Site, Store, str]]:
    """A place on a store of that kind, what can be done to the store, and its own address, on which
    no proxy is in between."""
    with ExitStack() as stack:
        if kind == "sqlite":
            small = stack.enter_context(small_disk(folder))
            db = (small or folder) / "celeriac.db"
            place = stack.enter_context(site(folder, "soak_tasks.py", f"sqlite:///{db}"))
            try:
                yield place, Store(db, bounded=small is not None), place.broker
            finally:
                for each in small.glob(f"{db.name}*") if small is not None else ():
                    if each.is_file():
                        shutil.copy(each, folder)  # to be looked at
            return
        own: Server = stack.enter_context(server(kind, appendonly="yes", appendfsync="always"))
        proxy = stack.enter_context(Proxy(own.port))
        broker = own.url.replace(str(own.port), str(proxy.port))
        place = stack.enter_context(site(folder, "soak_tasks.py", broker))
        yield place, Store(place.db, own, proxy), own.url
