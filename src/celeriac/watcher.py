"""Calling back when a task ends: what ``AsyncResult.then`` stands on.

Layer 4. One thread for each app and process, and only while something is watched.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from celeriac.exceptions import OperationalError

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.records import StoredResult

__all__ = ["Callback", "Watcher", "watch"]

_log = logging.getLogger(__name__)

#: Seconds the thread waits at a time for what it knows; what is watched anew meanwhile is seen
#: after this. It begins with the short one whenever something is added, since most tasks end soon.
_SHORT: Final = 0.02
_LONG: Final = 1.0

#: Called with what the store found; None if no such task is known.
Callback = Callable[["StoredResult | None"], None]


def watch(app: Celeriac, id: str, callback: Callback) -> None:
    """Call *callback* once the task *id* has ended, or if it is not known; in another thread."""
    _watchers.setdefault(app, Watcher(app)).add(id, callback)


class Watcher:
    """Waits for ends and calls back, in its own thread, once each and in no order."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._watched: dict[str, list[Callback]] = {}
        self._nap = _SHORT
        self._thread: threading.Thread | None = None

    def add(self, id: str, callback: Callback) -> None:
        """Call *callback* once the task has ended, or if it is not known."""
        with self._lock:
            self._watched.setdefault(id, []).append(callback)
            self._nap = _SHORT
            if self._thread is None:
                # A daemon: a program that ends does not wait for tasks.
                self._thread = threading.Thread(
                    target=self._run, name="celeriac-results", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._watched:
                    self._thread = None
                    return
                ids, nap = list(self._watched), self._nap
                self._nap = min(2 * nap, _LONG)
            try:
                found = self._app.results.wait(ids, nap)
            except OperationalError as error:
                _log.warning("cannot wait for results, trying again: %s", error)
                time.sleep(_LONG)
                continue
            for id, ended in found.items():
                with self._lock:
                    callbacks = self._watched.pop(id, [])
                for callback in callbacks:
                    self._call(id, callback, ended)

    def _call(self, id: str, callback: Callback, ended: StoredResult | None) -> None:
        try:
            callback(ended)
        except Exception:  # noqa: BLE001 - logged
            # It is the application's. Raised here it would end the thread that others wait for.
            _log.exception("a callback of task %s raised", id)


_watchers: WeakKeyDictionary[Celeriac, Watcher] = WeakKeyDictionary()

if hasattr(os, "register_at_fork"):
    # The threads are not there in a child, and their locks may be held for ever.
    os.register_at_fork(after_in_child=_watchers.clear)
