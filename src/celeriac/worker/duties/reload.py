"""Reload: new code is loaded when files of the application change. For development.

Layer 5. A thread watches the folders that the zygote named (``own_folders`` there). On a change a
second zygote is started beside the first. Once it has imported the application it takes the first
one's place and executors are replaced, each after what it runs; if it cannot import it, it says
why and everything stays as it was.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from celeriac.worker import frames
from celeriac.worker.pools.nursery import Nursery
from celeriac.worker.spec import AppFacts, decode_facts

logger = logging.getLogger("celeriac.worker")

#: Milliseconds without a further change after which a group of changes counts as complete, and the
#: longest that is waited for that.
_QUIET: Final = 40
_LONGEST: Final = 400
#: Milliseconds after which the watching thread looks whether it should end.
_LOOK: Final = 250
_IGNORED: Final = frozenset(
    ["__pycache__", "node_modules", "site-packages", "dist-packages", "venv", "env", "build"]
)


class Code:
    """Which changed files are code of the application: Python's, outside of virtual environments,
    hidden folders and caches."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = [Path(each) for each in folders]
        self._environments: dict[Path, bool] = {}

    def __call__(self, change: object, path: str) -> bool:
        """Whether the file *path* counts; *change* is what happened to it."""
        file = Path(path)
        if file.suffix != ".py":
            return False
        root = next((each for each in self._folders if file.is_relative_to(each)), None)
        if root is None:
            return False
        between = file.relative_to(root).parts[:-1]
        if any(part in _IGNORED or part.startswith(".") for part in between):
            return False
        folder = root
        for part in between:
            folder /= part
            if self._is_environment(folder):
                return False
        return True

    def _is_environment(self, folder: Path) -> bool:
        known = self._environments.get(folder)
        if known is None:
            known = self._environments[folder] = (folder / "pyvenv.cfg").exists()
        return known

    def newer(self, since: float) -> list[str]:
        """Code that was written after *since*, in seconds since the epoch."""
        found: list[str] = []
        for root in self._folders:
            for at, folders, files in os.walk(root):
                here = Path(at)
                folders[:] = [
                    each
                    for each in folders
                    if not (each in _IGNORED or each.startswith("."))
                    and not self._is_environment(here / each)
                ]
                paths = (here / name for name in files if name.endswith(".py"))
                found += [str(each) for each in paths if _written(each) > since]
        return sorted(found)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0  # it has gone meanwhile, or is a link to nowhere


class Watcher:
    """A thread that calls *changed* with the paths of changed code: of what changes from now on,
    and what has changed *since* the code was read, before the watching began."""

    def __init__(
        self, folders: Sequence[str], since: float, changed: Callable[[list[str]], None]
    ) -> None:
        self.folders = tuple(folders)
        self._since = since
        self._changed = changed
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; the thread ends by itself."""
        self._end.set()

    def _run(self) -> None:
        from watchfiles import watch

        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of each change
        code = Code(self.folders)
        begun = False
        try:
            for changes in watch(
                *self.folders,
                watch_filter=code,
                stop_event=self._end,
                step=_QUIET,
                debounce=_LONGEST,
                rust_timeout=_LOOK,
                yield_on_timeout=True,
                raise_interrupt=False,
            ):
                paths = {path for _, path in changes}
                if not begun:
                    begun = True
                    paths.update(code.newer(self._since))
                if paths:
                    self._changed(sorted(paths))
        except Exception as error:  # noqa: BLE001 - the system may have no watches left
            logger.error(
                "Changes are not watched any more: %s. Restart the worker to load new code; if "
                "there are too many folders to watch, set WATCHFILES_FORCE_POLLING=true.", error,
            )  # fmt: skip


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
        self._loading = paths
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
        for frame in self._inbox.feed(data):
            if isinstance(frame, frames.Broken):
                self._give_up()
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


def wait_for_change(folder: str) -> list[str]:
    """Block until code below *folder* changes; returns what has."""
    from watchfiles import watch

    for changes in watch(folder, watch_filter=Code((folder,)), step=_QUIET, debounce=_LONGEST):
        return sorted({path for _, path in changes})
    raise KeyboardInterrupt  # how watching ends by Ctrl-C


def _shown(paths: Sequence[str]) -> str:
    names = [os.path.relpath(each) for each in paths[:3]]
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"{', '.join(names)}{more}"


__all__ = ["Code", "Reload", "Watcher", "wait_for_change"]
