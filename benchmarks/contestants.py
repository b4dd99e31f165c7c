"""What ``pools.py`` and ``redis_peers.py`` measure with: empty ground, and a worker on it.

Every side runs in processes of its own, the peers in environments of their own, with a server on a
free port of the loopback and a folder that goes with it. Who is compared is in ``pools.py`` and
``redis_sides.py``. What is started here is ended by its id, whatever way the block is left.
"""

from __future__ import annotations

import array
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from redis_server import Server
from sides import family

HERE = Path(__file__).parent
PEERS = HERE / "peers"
sys.path.append(str(PEERS))

import stamps  # noqa: E402  the board's layout is the sides' business


class Trouble(SystemExit):
    """A side did not do what it was started for; the benchmark ends, or goes on with the others."""


@dataclass(frozen=True)
class Contestant:
    """One library: its worker command for each pool.

    In a command ``{n}`` is the number of slots and ``{c}`` how many coroutines each process may
    hold; a pool named in *copies* is that many processes, each started by itself.
    """

    name: str
    python: str
    module: str
    pools: Mapping[str, tuple[str, ...]]
    packages: tuple[str, ...]
    durability: str
    served: bool  # whether its store is the server
    pace: int = 1000  # about how many tasks a second it does, so that all take about as long
    settings: str = ""  # how it was set up, and why
    reliable: str = ""  # what is different where it is to lose as little as it can
    copies: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

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


def run(command: list[str], environment: Mapping[str, str], deadline: float = 600.0) -> str:
    """Run *command* beside the sides' modules; return what it printed."""
    try:
        done = subprocess.run(
            command, cwd=PEERS, env=environment, capture_output=True, text=True, timeout=deadline,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Trouble(f"{' '.join(command[:4])} …: not done within {deadline:g} s") from error
    if done.returncode:
        raise Trouble(f"{' '.join(command[:4])} …: {done.stderr[-2000:]}")
    return done.stdout.strip()


class Ground:
    """An empty store and an empty board of stamps for one side and one measurement."""

    def __init__(self, side: Contestant, server: Server, folder: Path, tasks: int,
                 **environment: str) -> None:  # fmt: skip
        self.side = side
        self.server = server
        self.tasks = tasks
        self.board = folder / "stamps"
        self.board.write_bytes(bytes(stamps.WIDTH * tasks))
        broker = server.url if side.served else f"sqlite:///{folder}/bench.db"
        self.environment = {
            **surroundings(),
            **side.environment,
            **environment,
            "BENCH_BROKER": broker,
            "BENCH_STAMPS": str(self.board),
        }
        if side.served:
            server.ask("FLUSHALL SYNC")  # else memory is given back while it is being measured

    def drive(self, what: str, *, deadline: float = 600.0, **options: object) -> dict:
        """Have a process of the side's own send: see ``peers/drive.py``."""
        command = [self.side.python, "drive.py", self.side.module, what, json.dumps(options)]
        return json.loads(run(command, self.environment, deadline).splitlines()[-1])

    def fill(self, task: str, count: int | None = None, **options: object) -> None:
        """Send *count* tasks (all there is room for) from a process of its own."""
        self.drive("fill", task=task, count=count or self.tasks, **options)

    def stamps(self) -> array.array[float]:
        found = array.array("d")
        found.frombytes(self.board.read_bytes()[: 16 * self.tasks])
        return found

    def runs(self) -> bytes:
        """How often each task has come to its end."""
        with self.board.open("rb") as file:
            file.seek(16 * self.tasks)
            return file.read(self.tasks)

    def ended(self) -> int:
        """How many tasks have come to their end, each counted once."""
        return self.tasks - self.runs().count(0)

    def wipe(self) -> None:
        """Forget the stamps, in place: the workers have the file mapped."""
        with self.board.open("r+b") as file:
            file.write(bytes(stamps.WIDTH * self.tasks))

    @contextmanager
    def working(
        self, pool: str, slots: int, prefetch: int = 4, each: int = 100, grace: float = 0.5
    ) -> Iterator[Worker]:
        """A worker for the length of the block; *each*: coroutines a process may hold.

        At the block's end it has *grace* seconds to end. It is short, because nothing is measured
        any more and the ground goes with it: nobody waits for those that take three or thirty.
        """
        command = [part.format(n=slots, c=each) for part in self.side.pools[pool]]
        copies = slots if pool in self.side.copies else 1
        environment = {
            **self.environment, "BENCH_PREFETCH": str(prefetch), "BENCH_CONCURRENCY": str(each),
        }  # fmt: skip
        with tempfile.TemporaryFile() as log:
            worker = Worker(log, self)
            try:
                for _ in range(copies):
                    worker.start([self.side.python, "-m", *command], environment)
                yield worker
            finally:
                worker.stop(grace)


class Worker:
    """A worker that runs: its processes, when it was started, what it has used."""

    def __init__(self, log, ground: Ground) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.log = log
        self.began = time.monotonic()
        self.ground = ground

    def start(self, command: list[str], environment: Mapping[str, str]) -> None:
        """Start one process of it, in a session of its own: a Ctrl-C does not reach it."""
        process = subprocess.Popen(
            command, cwd=PEERS, env=environment, stdout=self.log, stderr=self.log,
            start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)

    @property
    def root(self) -> psutil.Process:
        return psutil.Process(self.processes[0].pid)

    def roots(self) -> list[psutil.Process]:
        """The processes that were started here; the others are below them."""
        return [psutil.Process(process.pid) for process in self.processes]

    def members(self) -> list[psutil.Process]:
        """All its processes that are alive."""
        found = []
        for process in self.processes:
            if process.poll() is None:
                found += family(psutil.Process(process.pid))
        return found

    def cpu(self) -> float:
        """Seconds of CPU so far, of all its processes and the server's."""
        served = self.ground.server.cpu() if self.ground.side.served else 0.0
        return self.own_cpu() + served

    def own_cpu(self) -> float:
        """Seconds of CPU so far, of its processes alone."""
        total = 0.0
        for member in self.members():
            times = member.cpu_times()
            total += times.user + times.system
        return total

    def wait(self, probe: Callable[[], bool], what: str, deadline: float = 300.0) -> None:
        """Poll *probe* until it is true; a worker that ended or is too slow is trouble."""
        end = time.monotonic() + deadline
        while True:
            looked = time.monotonic()
            if probe():
                return
            self.check()
            if time.monotonic() > end:
                self._give_up(f"not within {deadline:g} s: {what}")
            # Looking must not cost what is measured more than a fiftieth of a core.
            time.sleep(max(0.05, 50 * (time.monotonic() - looked)))

    def check(self) -> None:
        """A worker that has ended by itself is trouble."""
        for process in self.processes:
            if process.poll() is not None:
                self._give_up(f"its worker ended with {process.returncode}")

    def _give_up(self, what: str) -> None:
        self.log.seek(0)
        raise Trouble(f"{self.ground.side.name}: {what}\n{self.log.read()[-2000:].decode()}")

    def kill(self) -> None:
        """SIGKILL to all of it, its parents first, so that nobody is left to tidy up."""
        members = self.members()
        _kill(members)
        members += self._sessions()  # what they had started between that look and the blow
        _kill(members)
        for process in self.processes:
            process.wait(30)
        psutil.wait_procs(members, 30)

    def stop(self, grace: float) -> None:
        """Ask it to end, wait so many seconds, end whatever is left of it."""
        members = self._sessions()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        end = time.monotonic() + grace
        for process in self.processes:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                members += self._sessions()
                break
        _kill(members)  # by id, and only if it is still the process that was looked at
        for process in self.processes:
            process.wait(30)

    def _sessions(self) -> list[psutil.Process]:
        """Its family, and what its dead parents left behind in the sessions that are its own."""
        members = self.members()
        roots = {process.pid for process in self.processes}
        for pid in psutil.pids():
            try:
                if pid not in roots and os.getsid(pid) in roots:
                    members.append(psutil.Process(pid))
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return members


def _kill(members: list[psutil.Process]) -> None:
    for member in members:
        try:
            member.kill()  # psutil compares the start time: an id used anew is left alone
        except psutil.NoSuchProcess:
            continue


@contextmanager
def ground(side: Contestant, server: Server, tasks: int, **environment: str) -> Iterator[Ground]:
    """Empty ground; what is named goes into the environment of all that runs on it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Ground(side, server, Path(folder), tasks, **environment)
