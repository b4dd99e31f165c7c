"""Reload: new code is loaded when files of the application change. For development.

Layer 5. The folders that the zygote named (``own_folders`` there) are watched (``changes``). On a
change a second zygote is started beside the first. Once it has imported the application it takes
the first one's place and executors are replaced, each after what it runs; if it cannot import it,
it says why and everything stays as it was.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import selectors
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from celeriac.exceptions import DecodeError
from celeriac.worker import frames
from celeriac.worker.duties.changes import Watcher
from celeriac.worker.pools.nursery import Nursery
from celeriac.worker.spec import AppFacts, decode_facts

logger = logging.getLogger("celeriac.worker")


class Reload:
    """Replaces the zygote when code changes. All methods run in the main thread.

    Args:
        nursery: whose zygote is replaced.
        selector: of the main thread.
        facts: of the application as it was loaded: its folders, and when it was read.
        adopt: called with what the new code says of itself, to make it the worker's.
        wake: makes the main thread look up; from any thread.
    """

    def __init__(
        self,
        nursery: Nursery,
        selector: selectors.BaseSelector,
        facts: AppFacts,
        adopt: Callable[[AppFacts, int, socket.socket, int], None],
        wake: Callable[[], None],
    ) -> None:
        self._nursery = nursery
        self._selector = selector
        self._adopt = adopt
        self._wake = wake
        self._lock = threading.Lock()
        self._paths: list[str] = []
        self._loading: list[str] = []
        self._pid = 0
        self._sock: socket.socket | None = None
        self._inbox = frames.Inbox()
        self._watcher = Watcher(facts.code, facts.code_read, self._on_change)

    def _on_change(self, paths: list[str]) -> None:
        """From the watching thread."""
        with self._lock:
            self._paths += paths
        self._wake()

    def turn(self, _now: float) -> None:
        """Start loading if something has changed."""
        with self._lock:
            paths, self._paths = self._paths, []
        if not paths:
            return
        self._give_up()
        self._loading = paths = sorted(set(paths))
        _forget_compiled(paths)
        self._inbox = frames.Inbox()
        self._pid, self._sock = self._nursery.start_zygote()
        self._selector.register(self._sock, selectors.EVENT_READ, self._hear)

    def _hear(self, _mask: int) -> None:
        """The new zygote says how its import went."""
        assert self._sock is not None
        try:
            data = self._sock.recv(frames.READ_SIZE)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._give_up()
            logger.error(
                "The new code ended its process while it was imported; the worker goes on with "
                "what it had"
            )
        try:
            for frame in self._inbox.feed(data):
                self._take_in(frame)
        except DecodeError as error:
            self._give_up()
            logger.error(
                "What the process with the new code sent cannot be read (%s); the worker goes on "
                "with what it had", error,
            )  # fmt: skip

    def _take_in(self, frame: frames.Frame) -> None:
        if isinstance(frame, frames.Broken):
            self._give_up()
            if not frame.tried:
                self._nursery.note_refusal(frame)
                return
            logger.error(
                "The new code cannot be loaded; the worker goes on with what it had:\n%s",
                frame.text,
            )
        elif isinstance(frame, frames.Loaded):
            self._take_over(decode_facts(frame.app), frame.threads)

    def _take_over(self, facts: AppFacts, threads: int) -> None:
        assert self._sock is not None
        pid, sock, self._pid, self._sock = self._pid, self._sock, 0, None
        self._selector.unregister(sock)
        self._adopt(facts, pid, sock, threads)
        logger.info("Reloaded: %s", _shown(self._loading))
        if facts.code != self._watcher.folders:
            self._watcher.stop()
            self._watcher = Watcher(facts.code, facts.code_read, self._on_change)

    def _give_up(self) -> None:
        """Leave the zygote that is loading, if there is one."""
        if self._sock is None:
            return
        self._selector.unregister(self._sock)
        self._sock.close()
        self._sock = None
        try:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        except (ProcessLookupError, ChildProcessError):
            self._pid = 0  # ended by itself, and was reaped with the strays
        self._pid = 0

    def stop(self) -> None:
        """Stop watching and loading."""
        self._watcher.stop()
        self._give_up()


def _forget_compiled(paths: Sequence[str]) -> None:
    """Remove what Python keeps of these modules. It tells versions apart by size and by whole
    seconds, so two that were saved within one second could be taken for the same."""
    for path in paths:
        try:
            Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)
        except OSError as error:
            logger.warning("The compiled %s cannot be removed: %s", os.path.relpath(path), error)


def _shown(paths: Sequence[str]) -> str:
    names = [os.path.relpath(each) for each in paths[:3]]
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"{', '.join(names)}{more}"


__all__ = ["Reload"]
