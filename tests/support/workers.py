"""Real worker processes for tests: an application in a folder, workers on it, and what they did.

A test waits for events (a line in a log, a line in a ledger, a state in the store) with a
generous deadline; nothing here sleeps a fixed time and hopes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from aftermath import family
from servers import Shared

from celeriac import Celeriac
from celeriac.records import Record, WorkerView
from celeriac.stores import connect
from celeriac.stores.base import Options, Store

T = TypeVar("T")
#: Seconds. Machines are noisy; a test that waits this long has failed.
DEADLINE = 60.0
#: Seconds by which the clocks of a store and of the ledger may be read apart.
CLOCKS = 0.1
HERE = Path(__file__).parent
#: What a promise in seconds is multiplied by: among all tests of `make test` the machine is noisy,
#: and `make test-faults` takes it at its word.
LENIENCE = 1.0 if os.environ.get("CELERIAC_NO_SKIPS") else 3.0
#: Parameters of a fixture for :func:`site_on`, where the turn of Redis is long and the store makes
#: little difference: that turn belongs to `make test-faults`.
REDIS_LATER = ["sqlite", pytest.param("redis", marks=pytest.mark.faults)]
#: Parameters of a fixture for tests of which every store has its turn; that of Valkey, which runs
#: the same scripts as Redis, belongs to `make test-faults`.
EVERY_STORE = ["sqlite", "redis", pytest.param("valkey", marks=pytest.mark.faults)]
#: The same of tests of which every pool has its turn.
EVERY_POOL = [
    "prefork",
    *(pytest.param(each, marks=pytest.mark.faults) for each in ("threads", "asyncio")),
]


def eventually(
    probe: Callable[[], T], what: str, deadline: float = DEADLINE, interval: float = 0.02
) -> T:
    """Call *probe* until it returns something true, and return that."""
    end = time.monotonic() + deadline
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline:g} s: {what}")
        time.sleep(interval)


def gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@dataclass(frozen=True)
class Line:
    """One line a task wrote into the ledger."""

    event: str
    id: str
    attempt: int
    pid: int
    at: float


class Worker:
    """One ``celeriac worker`` process."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def ready(self) -> Worker:
        def look() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the worker ended at its start:\n{self.text()}")
            return "ready." in self.text()

        eventually(look, f"worker ready; its log:\n{self.text()}")
        return self

    def wait_for(self, text: str) -> None:
        eventually(lambda: text in self.text(), f"{text!r} in the log of the worker")

    def children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def titled(self, word: str) -> list[psutil.Process]:
        """Children whose title holds *word*: "executor", "zygote", "hooks"."""
        found = []
        for child in self.children():
            try:
                if word in " ".join(child.cmdline()):
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, as the OOM killer would, and wait for the process to be gone."""
        self.process.kill()
        self.process.wait(DEADLINE)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE)


class Site:
    """A folder with an application, its database and its ledger; *broker*: another store, of which
    *namespace* is the part. *noting*: its workers write down verdicts (``noting_worker.py``)."""

    def __init__(
        self,
        folder: Path,
        source: Path,
        broker: str = "",
        namespace: str = "",
        noting: bool = False,
    ) -> None:
        self.folder = folder
        self.noting = noting
        program = [str(HERE / "noting_worker.py")] if noting else ["-m", "celeriac"]
        #: What is started as the command ``celeriac``.
        self.celeriac = [sys.executable, *program]
        self._before: list[str] = []
        self.db = folder / "celeriac.db"
        self.broker = broker or f"sqlite:///{self.db}"
        self.ledger_path = folder / "ledger"
        self.ledger_path.touch()
        (folder / "tasks.py").write_text(source.read_text())
        self.workers: list[Worker] = []
        self.environment = {
            **os.environ,
            "LEDGER": str(self.ledger_path),
            "BROKER": self.broker,
            "PYTHONUNBUFFERED": "1",
        }
        self.options = Options()
        if namespace:
            self.environment["CELERIAC_NAMESPACE"] = namespace
            self.options = Options(namespace=namespace)
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = connect(self.broker, self.options)
        return self._store

    def worker(self, *options: str, **environment: str) -> Worker:
        """Start a worker; ``-c 2`` and ``-l INFO`` unless told otherwise."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        command = [*self._before, *self.celeriac, "-A", "tasks", "worker", "-l", "INFO"]
        if not any(each == "-c" or each.startswith("--autoscale") for each in options):
            command += ["-c", "2"]
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, *options],
                cwd=self.folder,
                env={**self.environment, **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = Worker(process, log)
        self.workers.append(worker)
        return worker

    @contextmanager
    def command_on(self, before: list[str]) -> Iterator[None]:
        """Put these words before each command that is started meanwhile."""
        usual, self._before = self._before, before
        try:
            yield
        finally:
            self._before = usual

    def python(self, code: str, deadline: float = DEADLINE, **environment: str) -> str:
        """Run *code* in the folder as a client would; returns what it printed."""
        done = subprocess.run(
            [*self._before, sys.executable, "-c", code],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=deadline,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def send(self, task: str, *args: object, count: int = 1, **options: object) -> list[str]:
        """Send a task *count* times from a client process; returns the ids."""
        out = self.python(
            "import tasks\n"
            f"for _ in range({count}):\n"
            f"    print(tasks.app.send_task({task!r}, args={args!r}, **{options!r}).id)\n"
        )
        return out.split()

    def record(self, task_id: str) -> Record:
        record = self.store.inspection.get([task_id])[0]
        assert record is not None, f"no record of {task_id}"
        return record

    def ended(self, ids: list[str], deadline: float = DEADLINE) -> list[Record]:
        """Wait until all of *ids* have ended; returns their records."""
        terminal = {"succeeded", "failed", "revoked", "expired", "ignored", "rejected", "dead"}

        def look() -> list[Record] | None:
            found = self.store.inspection.get(ids)
            if all(record is not None and record.state in terminal for record in found):
                return [record for record in found if record is not None]
            return None

        try:
            return eventually(look, "all ended", deadline, 0.05)
        except AssertionError:
            states = [
                (record.id, record.state, record.reason)
                for record in self.store.inspection.get(ids)
                if record and record.state not in terminal
            ]
            logs = "\n".join(worker.text()[-3000:] for worker in self.workers)
            raise AssertionError(f"not ended: {states[:5]} ({len(states)})\n{logs}") from None

    def alive_workers(self) -> list[WorkerView]:
        return [view for view in self.store.inspection.workers() if view.alive]

    def view(self, worker: Worker) -> WorkerView:
        """What the store has of it."""
        views = self.store.inspection.workers()
        (found,) = [each for each in views if each.manifest.pid == worker.pid]
        return found

    def last_beat(self, worker: Worker) -> float:
        """When the store heard of it last, by the clock of the ledger. Of one that is stopped, so
        that it stays so."""
        return self.view(worker).beat_at - time.time() + time.monotonic()

    def has_looked(self, worker: Worker) -> None:
        """Wait until it has looked for dead mates, which it does before it beats."""

        def beaten() -> bool:
            view = self.view(worker)
            return view.beat_at > view.registered_at

        eventually(beaten, "it has looked for dead mates")

    def ledger(self, event: str | None = None, task_id: str | None = None) -> list[Line]:
        lines = []
        for text in self.ledger_path.read_text().splitlines():
            fields = text.split()
            if len(fields) != 5:  # its process was killed between two pages of the file
                continue
            name, id_, attempt, pid, at = fields
            line = Line(name, id_, int(attempt), int(pid), float(at))
            if event in (None, name) and task_id in (None, id_):
                lines.append(line)
        return lines

    def wait_ledger(self, event: str, task_id: str, count: int = 1) -> list[Line]:
        def look() -> list[Line] | None:
            found = self.ledger(event, task_id)
            return found if len(found) >= count else None

        return eventually(look, f"{count} × {event} of {task_id} in the ledger")

    def close(self) -> None:
        """End every worker that is left, by pid, and its executors.

        Where verdicts are noted, so that all is held against an oracle, processes of a worker must
        end by themselves once it is killed; else that is an ``AssertionError``.
        """
        families = []
        for worker in self.workers:
            families += worker.children()
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGCONT)
                worker.process.kill()
                worker.process.wait(DEADLINE)
        left = self.orphans() if self.noting else []
        for child in families:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        assert not left, f"outlived their worker: {left}"

    def orphans(self) -> list[str]:
        """Processes that are left of workers that have ended, a minute later."""
        leaders = {each.pid for each in self.workers}
        end = time.monotonic() + DEADLINE
        while (found := family(leaders)) and time.monotonic() < end:
            time.sleep(0.02)
        return [str(each) for _, each in found]


@contextmanager
def site(
    folder: Path,
    source: str = "worker_tasks.py",
    broker: str = "",
    namespace: str = "",
    noting: bool = False,
) -> Iterator[Site]:
    """A :class:`Site` that leaves no process behind."""
    place = Site(folder, HERE / source, broker, namespace, noting)
    try:
        yield place
    finally:
        place.close()


@contextmanager
def client_of(place: Site) -> Iterator[Celeriac]:
    """An app of this process at *place*; it knows no tasks, so it sends them by name."""
    made = Celeriac(
        "client", broker=place.broker, namespace=place.options.namespace, set_as_current=False
    )
    try:
        yield made
    finally:
        made.close()


@contextmanager
def site_on(
    kind: str,
    folder: Path,
    shared: Shared,
    source: str = "worker_tasks.py",
    noting: bool = False,
) -> Iterator[Site]:
    """A :class:`Site` on a store of that kind, in a namespace of its own where it is shared."""
    broker = namespace = ""
    if kind != "sqlite":
        broker, namespace = shared.url(kind), shared.namespace()
    with site(folder, source, broker, namespace, noting) as made:
        yield made
