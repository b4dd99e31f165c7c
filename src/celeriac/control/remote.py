"""Commands: what is done to tasks from outside the worker.

Layer 4. Each is one call of the store, durable where it says so; no worker has to listen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from celeriac.later import missing
from celeriac.records import RevokeEffect

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["Control"]

_SIGNAL: Final = "SIGTERM"

_SEE: Final = "Ask the store: `celeriac -A APP status`."
_OWN: Final = "Stop or start workers by their processes: SIGTERM ends one warmly."
#: What Celery's control has besides, and what to do instead.
_LATER: Final = {
    **dict.fromkeys(("inspect", "ping", "heartbeat"), _SEE),
    **dict.fromkeys(("shutdown", "pool_restart", "pool_grow", "pool_shrink", "autoscale"), _OWN),
    **dict.fromkeys(("add_consumer", "cancel_consumer"), "Start a worker with -Q QUEUES."),
    "time_limit": "Set time_limit on the task.",
    "revoke_by_stamped_headers": "Revoke by id: app.control.revoke([…]).",
    **dict.fromkeys(("broadcast", "rate_limit", "enable_events", "disable_events"), ""),
    **dict.fromkeys(("election", "mailbox"), ""),
}


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

    if not TYPE_CHECKING:  # type checkers shall find names that are not there

        def __getattr__(self, name: str) -> Any:
            raise missing("app.control", name, _LATER)
