"""Changes of the application's code: which files count, and when they are others than they were.

Layer 5, for ``--reload``. What the system tells of files is a hint to look at once and nothing
more. It can fail to tell: of a folder that is being made, when its queue runs over, when it has no
watches left. So the files are looked at every now and then as well, and what decides is whether
they are the ones that were there before. No save is missed for long.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

logger = logging.getLogger("celeriac.worker")

#: Milliseconds without a further change after which a group of changes counts as complete, and the
#: longest that is waited for that.
_QUIET: Final = 40
_LONGEST: Final = 400
#: Milliseconds after which the listening thread looks whether it should end.
_LOOK: Final = 250
#: Seconds between looks without a hint. Looking takes at most a fiftieth of the time, however many
#: files there are.
_PAUSE: Final = 1.0
_SHARE: Final = 50
#: Seconds by which the system's clock for files may be behind the clock of programs.
_BEHIND: Final = 0.02
_IGNORED: Final = frozenset(
    ["__pycache__", "node_modules", "site-packages", "dist-packages", "venv", "env", "build"]
)

#: What tells one state of a file from another: its date, when anything of it was last changed, its
#: size, and which file it is. Programs set dates, and systems give the number of a file that has
#: gone to the next one; the time of the last change is the system's own.
Stamp = tuple[int, int, int, int]


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

    def stamps(self) -> dict[str, Stamp]:
        """All files of code with what tells their present state from another."""
        found: dict[str, Stamp] = {}
        for root in self._folders:
            for at, folders, files in os.walk(root):
                here = Path(at)
                folders[:] = [
                    each
                    for each in folders
                    if not (each in _IGNORED or each.startswith("."))
                    and not self._is_environment(here / each)
                ]
                for name in files:
                    if name.endswith(".py") and (stamp := _stamp(path := os.path.join(at, name))):
                        found[path] = stamp
        return found

    def newer(self, since: float) -> list[str]:
        """Code that was written or put in its place after *since*, in seconds since the epoch."""
        return sorted(path for path in self.stamps() if _placed(path) > since - _BEHIND)


def _stamp(path: str) -> Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None  # it has gone meanwhile, or is a link to nowhere
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _differing(before: dict[str, Stamp], after: dict[str, Stamp]) -> list[str]:
    return sorted(
        path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    )


def _placed(path: str) -> float:
    """When it was written or, with an older date, moved here."""
    try:
        found = os.stat(path)
    except OSError:
        return 0.0
    return max(found.st_mtime, found.st_ctime)


class Watcher:
    """Calls *changed*, in a thread of its own, with the paths of code that is not what it was: of
    what changes from now on, and of what has changed *since* the code was read.

    Each path is told once for each time it was found changed, at the latest a second or so after
    the save; with many thousands of files, after a fiftieth of the time it takes to look at them.
    """

    def __init__(
        self, folders: Sequence[str], since: float, changed: Callable[[list[str]], None]
    ) -> None:
        self.folders = tuple(folders)
        self._since = since
        self._changed = changed
        self._end = threading.Event()
        self._hint = threading.Event()
        for name, body in (("reload", self._run), ("reload-hints", self._listen)):
            threading.Thread(target=body, name=name, daemon=True).start()

    def stop(self) -> None:
        """Stop watching; the threads end by themselves."""
        self._end.set()
        self._hint.set()

    def _run(self) -> None:
        code = Code(self.folders)
        known = code.stamps()
        # After the stamps: a save between the two is told twice rather than never.
        paths = code.newer(self._since)
        took = 0.0
        while not self._end.is_set():
            if paths:
                settled = self._settled(code, known)
                paths = sorted({*paths, *_differing(known, settled)})
                known = settled
                self._changed(paths)
            self._hint.wait(max(_PAUSE, _SHARE * took))
            self._hint.clear()  # before looking: what changes from here on hints anew
            begun = time.monotonic()
            found = code.stamps()
            took = time.monotonic() - begun
            paths = _differing(known, found)
            known = found

    def _settled(self, code: Code, known: dict[str, Stamp]) -> dict[str, Stamp]:
        """The files once nothing has changed for a moment: a save is several steps, even one file
        put in the place of another, and each of them would be told as a change."""
        last = time.monotonic() + _LONGEST / 1000
        while not self._end.wait(_QUIET / 1000):
            found = code.stamps()
            if found == known or time.monotonic() > last:
                return found
            known = found
        return known

    def _listen(self) -> None:
        try:
            from watchfiles import watch

            logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of each change
            for changes in watch(
                *self.folders,
                watch_filter=Code(self.folders),
                stop_event=self._end,
                step=_QUIET,
                debounce=_LONGEST,
                rust_timeout=_LOOK,
                raise_interrupt=False,
            ):
                if changes:
                    self._hint.set()
        except Exception as error:  # noqa: BLE001 - the system may have no watches left
            logger.warning(
                "The system does not tell of changes: %s. New code is loaded all the same, up to "
                "a second or two later.", error,
            )  # fmt: skip


def wait_for_change(folder: str, since: float) -> list[str]:
    """Block until code below *folder* is not what it was *since*, in seconds since the epoch;
    returns what has changed."""
    found: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
    watcher = Watcher((folder,), since, found.put)
    try:
        return found.get()
    finally:
        watcher.stop()


__all__ = ["Code", "Watcher", "wait_for_change"]
