"""The demo's processes: how each is started, asked, killed and ended.

All of them are started through ``leash.py`` and in sessions of their own, so that Ctrl-C reaches
the demo alone, which then ends them in order.
"""

import os
import random
import selectors
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

HERE = Path(__file__).parent
EXECUTORS = 4  # more than two cores: while one waits for the mail server, another can write
PATIENCE = 20.0  # seconds for a process to say something it owes, or to end


class Trouble(Exception):
    """Something the demo rests on did not happen."""


class Process:
    """One child process, ``python ARGUMENT...``. What it complains of goes to the file *log*.
    Leaving its ``with`` block ends it, whatever state it is in."""

    def __init__(self, name: str, arguments: list[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        leash = [sys.executable, str(HERE / "leash.py"), str(os.getpid())]
        with log.open("ab") as stderr:
            self.popen = subprocess.Popen(
                [*leash, sys.executable, *arguments],
                cwd=HERE,
                env={**os.environ, **env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        self._unread = b""

    @property
    def pid(self) -> int:
        return self.popen.pid

    def read_lines(self, timeout: float) -> list[str]:
        """The lines it has printed since the last call; wait for the first of them.

        Raises Trouble if it has ended, or says nothing for *timeout* seconds.
        """
        stdout = self.popen.stdout
        assert stdout is not None
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise Trouble(f"the {self.name} has said nothing for {timeout:g} s")
                data = os.read(stdout.fileno(), 65536)
                if not data:
                    raise Trouble(f"the {self.name} has ended")
                self._unread += data
        *lines, self._unread = self._unread.split(b"\n")
        return [line.decode() for line in lines]

    def end(self) -> int:
        """Ask it to end and wait; kill it if it does not. Returns its exit status. Repeatable."""
        if self.popen.poll() is None:
            self.ask_to_end()
            try:
                self.popen.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        status = self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()
        return status

    def ask_to_end(self) -> None:
        self.popen.terminate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.end()


class Server(Process):
    """A process that first prints the port it listens on: the web application, the mail sink."""

    def __init__(self, name: str, arguments: list[str], env: Mapping[str, str], log: Path) -> None:
        super().__init__(name, arguments, env, log)
        try:
            self.port = int(self.read_lines(PATIENCE)[0])
        except BaseException:
            self.end()
            raise


class MailSink(Server):
    """The sink, which ends with its standard input and tells numbers while it runs."""

    def ask_to_end(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.close()


class Worker(Process):
    """``celeriac -A tasks worker``: the supervisor, and through it its executors."""

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        celeriac = ["-m", "celeriac", "--quiet", "-A", "tasks"]
        worker = ["worker", "--loglevel=warning", "-c", str(EXECUTORS)]
        super().__init__("worker", [*celeriac, *worker], env, log)

    def family(self) -> list[psutil.Process]:
        """Every process below the supervisor."""
        return psutil.Process(self.pid).children(recursive=True)

    def kill_executor(self, choose: random.Random) -> int:
        """SIGKILL one of its executors. Returns the pid."""
        executors = [each for each in self.family() if "executor" in " ".join(each.cmdline())]
        if not executors:
            raise Trouble("the worker has no executor to kill")
        victim = choose.choice(executors)
        victim.send_signal(signal.SIGKILL)
        return victim.pid

    def kill(self) -> int:
        """SIGKILL the supervisor. Returns how many processes went down with it."""
        family = self.family()
        self.popen.kill()
        self.popen.wait()
        await_end(family)
        return len(family)


def celeriac(*arguments: str, expect: int = 0) -> str:
    """Run ``celeriac -A tasks ARGUMENT...`` as at a prompt; show the command and return what it
    prints. Raises Trouble if its exit status is not *expect*."""
    command = ["celeriac", "-A", "tasks", *arguments]
    print(f"$ {shlex.join(command)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=HERE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode != expect:
        raise Trouble(f"`celeriac {arguments[0]}` ended with {done.returncode}: {done.stderr}")
    return done.stdout


def await_end(processes: list[psutil.Process]) -> None:
    """Wait until all of them are gone; raise Trouble if they are not in time."""
    until(lambda: not any(alive(each) for each in processes), "the worker's processes are gone")


def alive(process: psutil.Process) -> bool:
    """False for one that has ended, be it reaped or not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
    """Return once *condition* holds; raise Trouble after *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise Trouble(f"after {timeout:g} s it is still not so that {what}")
        time.sleep(0.01)
