"""The nursery: the supervisor's side of the zygote, and the making of processes.

Layer 5. Everything here runs in the supervisor's main thread: the parent-death signal fires when
the *thread* that made a process ends.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Final

from celeriac.exceptions import DecodeError
from celeriac.worker import frames
from celeriac.worker.kinship import LINUX
from celeriac.worker.slots import Board, Slots
from celeriac.worker.spec import AppFacts, WorkerSpec, decode_facts, encode_spec
from celeriac.worker.zygote import main as zygote_main
from celeriac.worker.zygote import send_with_fds

logger = logging.getLogger("celeriac.worker")

EXECUTOR: Final = "executor"
HOOKS: Final = "hooks"
#: Roles of executors that run several tasks at once; the pools' names.
THREADS: Final = "threads"
ASYNCIO: Final = "asyncio"


class ApplicationBroken(Exception):
    """The application cannot be imported or configured; the text is for people."""


class NurseryFull(BlockingIOError):
    """Every slot is taken; one is free once a process has ended. To be tried again later."""


@dataclass
class Process:
    """One process made by the nursery. ``pid`` is 0 until the zygote has told it."""

    index: int
    role: str
    sock: socket.socket
    crash_file: IO[bytes]
    born: float
    pid: int = 0
    pidfd: int = -1
    inbox: frames.Inbox = field(default_factory=frames.Inbox)
    out: bytearray = field(default_factory=bytearray)
    #: Of a shared executor.
    board: Board | None = None

    def stack(self) -> str:
        """The last Python stack faulthandler wrote, "" if none."""
        self.crash_file.seek(0)
        return self.crash_file.read(16_384).decode("utf-8", "replace")

    def close(self) -> None:
        self.sock.close()
        self.crash_file.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        if self.board is not None:
            self.board.close()


class Nursery:
    """Owns the zygote and hands out processes."""

    def __init__(self, spec: WorkerSpec, slots: Slots) -> None:
        self.spec = spec
        self.slots = slots
        self.pid = 0
        self.pidfd = -1
        self.sock: socket.socket | None = None
        self.forks_safely = LINUX
        #: Why no process that is started from now on can join this worker; "" if they can.
        self.outdated = ""
        self._inbox = frames.Inbox()
        self._free = list(range(slots.count))

    # --- the zygote ---------------------------------------------------------------------------
    def fork_zygote(self) -> None:
        """First start: fork, so that the interpreter's pages are shared. No threads may exist."""
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            zygote_main(self.spec, theirs, self.slots)
        theirs.close()
        self._adopt(pid, ours)

    def exec_zygote(self) -> None:
        """Replacement: by now this process has threads, so the new one starts by exec."""
        self._adopt(*self.start_zygote())

    def start_zygote(self) -> tuple[int, socket.socket]:
        """Start a zygote by exec and return its pid and our end of its socket."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "celeriac.worker.zygote", encode_spec(self.spec).decode()]
        numbers = [theirs.fileno(), self.slots.fd, self.slots.count]
        child = subprocess.Popen(
            [*command, *map(str, numbers)], pass_fds=(theirs.fileno(), self.slots.fd)
        )
        theirs.close()
        child.returncode = 0  # we wait for it ourselves, by pid
        ours.setblocking(False)
        return child.pid, ours

    def replace_zygote(self, pid: int, sock: socket.socket, threads: int) -> None:
        """Let the zygote *pid*, which has imported the application, take the present one's place.
        That ends by itself, and is reaped as a stray."""
        self.bury()
        self._adopt(pid, sock)
        self._note_threads(threads)

    def _adopt(self, pid: int, sock: socket.socket) -> None:
        self.pid, self.sock = pid, sock
        self._inbox = frames.Inbox()
        if hasattr(os, "pidfd_open"):
            self.pidfd = os.pidfd_open(pid)

    def wait_loaded(self) -> AppFacts:
        """Block until the application is imported. Raises :class:`ApplicationBroken`."""
        assert self.sock is not None
        try:
            frame = frames.receive(self.sock)
        except DecodeError as error:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise ApplicationBroken(
                f"What the process that imports {self.spec.app!r} sent cannot be read ({error}): "
                "look for code that writes to file descriptors it did not open."
            ) from None
        if isinstance(frame, frames.Broken):
            raise ApplicationBroken(frame.text)
        if not isinstance(frame, frames.Loaded):
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            raise ApplicationBroken(
                f"The process that imports {self.spec.app!r} ended with status {status} before the "
                "import was done: look for os._exit(), a crash in a C extension or a lack of "
                "memory while importing it."
            )
        self.sock.setblocking(False)
        self._note_threads(frame.threads)
        return decode_facts(frame.app)

    def _note_threads(self, count: int) -> None:
        self.forks_safely = LINUX and count == 1
        if LINUX and count > 1:
            logger.warning(
                "Importing %r started %d thread(s); forking from it would be unsafe, so every "
                "executor is started as a new interpreter (slower to start, more memory). Start "
                "threads in worker_process_init or on first use instead.",
                self.spec.app, count - 1,
            )  # fmt: skip

    def read_control(self, forked: Callable[[int, int], None]) -> bool:
        """Handle what the zygote says; calls ``forked(slot, pid)``. False: it has gone, or
        cannot be understood any more."""
        assert self.sock is not None
        try:
            data = self.sock.recv(frames.READ_SIZE)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        try:
            for frame in self._inbox.feed(data):
                if isinstance(frame, frames.Forked):
                    forked(frame.slot, frame.pid)
                elif isinstance(frame, frames.Loaded):
                    self._note_threads(frame.threads)
                elif isinstance(frame, frames.Broken):
                    self.note_refusal(frame)
        except DecodeError as error:
            # A thread of the application wrote into its socket.
            logger.error("Zygote %d: %s", self.pid, error)
            return False
        return bool(data)

    def note_refusal(self, frame: frames.Broken) -> None:
        """A process that was to join this worker could not: for good, if nothing was tried."""
        if frame.tried:
            logger.error("A new process could not import the application:\n%s", frame.text)
        else:
            self.outdated = frame.text

    def hear_out(self, process: Process) -> None:
        """Take in what a process said before it ended, where nobody listened to it."""
        try:
            for frame in process.inbox.feed(process.sock.recv(frames.READ_SIZE)):
                if isinstance(frame, frames.Broken):
                    self.note_refusal(frame)
        except (OSError, DecodeError) as error:
            logger.debug("Nothing to be heard of process %d: %s", process.pid, error)

    def end_zygote(self) -> None:
        """End a zygote that is not needed, and wait for it."""
        pid = self.pid
        self.bury()
        os.waitpid(pid, 0)

    def bury(self) -> None:
        """The zygote is dead: let go of what we held of it."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        self.pid = 0

    # --- executors ----------------------------------------------------------------------------
    def make(self, role: str, title: str, places: int = 0) -> Process:
        """Ask for a process. It says :class:`~..frames.Ready` on its socket once it is up. One
        with *places* gets a board.

        Raises :class:`BlockingIOError` if it is to be asked again later: the zygote is behind, or
        there are as many processes as a worker may have (:class:`NurseryFull`).
        """
        if not self._free:
            raise NurseryFull(
                f"all {self.slots.count} slots are taken: the next process is made once one of "
                "them has ended"
            )
        board = Board.create(places) if places else None
        ours, theirs = socket.socketpair()
        index = self._free.pop(0)
        self.slots.clear(index)
        process = Process(index, role, ours, _crash_file(), time.monotonic(), board=board)
        try:
            if self.forks_safely:
                assert self.sock is not None
                request = frames.Fork(role, index, title, places)
                fds = [theirs.fileno(), process.crash_file.fileno()]
                send_with_fds(self.sock, request, fds + ([board.fd] if board else []))
            else:
                process.pid = self._spawn(process, title, theirs)
        except BaseException:
            self._free.insert(0, index)
            process.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return process

    def _spawn(self, process: Process, title: str, sock: socket.socket) -> int:
        spec = encode_spec(self.spec).decode()
        crash, slots = process.crash_file.fileno(), self.slots.fd
        numbers = [sock.fileno(), crash, slots, self.slots.count, process.index]
        fds = [sock.fileno(), crash, slots]
        if process.board is not None:
            numbers += [process.board.fd, process.board.places]
            fds.append(process.board.fd)
        child = subprocess.Popen(
            [sys.executable, "-m", "celeriac.worker.executor", spec, process.role, title]
            + [str(number) for number in numbers],
            pass_fds=fds,
        )
        child.returncode = 0  # waited for by pid, with its resource usage
        return child.pid

    def give_back(self, process: Process) -> None:
        """The process has ended: free its slot and descriptors."""
        process.close()
        self._free.append(process.index)


def _crash_file() -> IO[bytes]:
    """A file for faulthandler, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("celeriac-crash", os.MFD_CLOEXEC), "w+b", buffering=0)
    import tempfile

    return tempfile.TemporaryFile(buffering=0)


__all__ = [
    "ASYNCIO",
    "EXECUTOR",
    "HOOKS",
    "THREADS",
    "ApplicationBroken",
    "Nursery",
    "NurseryFull",
    "Process",
]
