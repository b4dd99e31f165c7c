"""Commands: what is done to tasks from outside the worker.

Layer 4. Each is one call of the store, durable where it says so; no worker has to listen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from celeriac.records import RevokeEffect

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["Control"]

_SIGNAL: Final = "SIGTERM"


class Control:
    """The commands of an app: ``app.control``."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    def revoke(
        self,
        task_id: str | Iterable[str],
        terminate: bool = False,
        signal: str | None = None,
    ) -> dict[str, RevokeEffect]:
        """See that tasks do not run, or not again; return what each id met.

        It is kept in the store, so it holds for tasks that are not there yet, for workers that
        are not running, and across restarts. A task that runs is left to end unless *terminate*
        says to end it with *signal* (default ``SIGTERM``).
        """
        ids = [task_id] if isinstance(task_id, str) else [str(each) for each in task_id]
        how = (signal or _SIGNAL) if terminate else None
        return self._app.store.queue.revoke(ids, how)

    def terminate(
        self, task_id: str | Iterable[str], signal: str | None = None
    ) -> dict[str, RevokeEffect]:
        """Revoke tasks and end those that run: ``revoke(task_id, terminate=True)``."""
        return self.revoke(task_id, terminate=True, signal=signal)

    def purge(self, queues: Iterable[str] | None = None) -> int:
        """End all tasks that wait in *queues* (default: the default queue); return how many."""
        names = [self._app.conf.task_default_queue] if queues is None else list(queues)
        return self._app.store.queue.purge(names)

    discard_all = purge
