"""The two sides: how each sends, works and counts. Everything runs in processes of its own."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

HERE = Path(__file__).parent
DEADLINE = 600.0


@dataclass(frozen=True)
class Side:
    """One library under test. The code snippets run in ``python -c`` beside its app module."""

    name: str
    module: str
    worker: tuple[str, ...]  # "{n}" is the number of processes
    one: str  # sends one no-op
    bulk: str  # sends `values` no-ops
    latency: str  # sends one stamp; leaves (sent, started, got)
    broker: str  # value of BENCH_BROKER for a database file
    count: Callable[[Path], int]

    def environment(self, database: Path) -> dict[str, str]:
        return {**os.environ, "BENCH_BROKER": self.broker.format(database=database)}

    def python(self, code: str, database: Path) -> str:
        """Run *code* in a fresh interpreter and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=HERE,
            env=self.environment(database),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{self.name}: {done.stderr}")
        return done.stdout

    @contextmanager
    def working(self, database: Path, processes: int) -> Iterator[psutil.Process]:
        """A worker with *processes* executors for the length of the block."""
        command = [part.format(n=processes) for part in self.worker]
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=HERE,
                env=self.environment(database),
                stdout=log,
                stderr=log,
            )
            try:
                yield psutil.Process(process.pid)
            finally:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def finished(self, database: Path) -> int:
        """How many no-ops have a stored result."""
        return self.count(database)


def _count(database: Path, table: str) -> int:
    """Rows of the table that holds results: cheap, so that counting does not slow the counted."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)
    try:
        (count,) = connection.execute(f'select count(*) from "{table}"').fetchone()  # noqa: S608
    except sqlite3.OperationalError:
        return 0  # nothing has made the tables yet
    finally:
        connection.close()
    return int(count)


CELERIAC = Side(
    name="celeriac",
    module="celeriac_app",
    worker=("celeriac", "-A", "celeriac_app", "worker", "-c", "{n}", "-l", "WARNING"),
    one="celeriac_app.noop.delay(1)",
    bulk="celeriac_app.app.enqueue_many(celeriac_app.noop.s(v) for v in values)",
    latency=(
        "sent = time.monotonic(); r = celeriac_app.stamp.delay(); "
        "started = r.get(timeout=60); got = time.monotonic()"
    ),
    broker="sqlite:///{database}",
    count=lambda database: _count(database, "celeriac.result"),
)
HUEY = Side(
    name="huey",
    module="huey_app",
    worker=("huey.bin.huey_consumer", "huey_app.huey", "-k", "process", "-w", "{n}", "-q"),
    one="huey_app.noop(1)",
    bulk="[huey_app.noop(v) for v in values]",
    latency=(
        "sent = time.monotonic(); r = huey_app.stamp(); "
        "started = r.get(blocking=True, timeout=60); got = time.monotonic()"
    ),
    broker="{database}",
    count=lambda database: _count(database, "kv"),
)
SIDES = (CELERIAC, HUEY)


def wait_until(
    probe: Callable[[], bool], what: str, interval: float = 0.05, deadline: float = DEADLINE
) -> None:
    """Poll *probe* every *interval* seconds until it is true."""
    end = time.monotonic() + deadline
    while not probe():
        if time.monotonic() > end:
            raise SystemExit(f"not within {deadline:g} s: {what}")
        time.sleep(interval)


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def pss(process: psutil.Process) -> float:
    """Proportional set size of a process and all below it, MiB."""
    total = 0
    for member in family(process):
        text = Path(f"/proc/{member.pid}/smaps_rollup").read_text()
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def rss(process: psutil.Process) -> float:
    """The largest resident size among the processes of a worker, summed over all, MiB."""
    return sum(member.memory_info().rss for member in family(process)) / (1 << 20)
