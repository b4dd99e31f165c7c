"""Tasks that can be asked to stop, and look whether they were.

Layer 7. ``result.abort()`` is a durable mark in the store: a revoke that ends no process. A task
that has not begun ends REVOKED; one that runs goes on until it sees ``self.is_aborted()`` and
returns. What it returns then is its result, as it is in Celery::

    @app.task(bind=True, base=AbortableTask)
    def export(self, pages):
        for number, page in enumerate(pages):
            if self.is_aborted():
                return number
            write(page)

    result = export.delay(pages)
    result.abort()
"""

from __future__ import annotations

from typing import Any, Final, ParamSpec, TypeVar

from celeriac import states
from celeriac.app.task import Task
from celeriac.records import Record
from celeriac.result import AsyncResult

__all__ = ["ABORTED", "AbortableAsyncResult", "AbortableTask"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

#: The state of a task that was told to stop and has not ended yet.
ABORTED: Final = "ABORTED"


class AbortableAsyncResult(AsyncResult[R_co]):
    """The result of a task that can be told to stop."""

    @property
    def state(self) -> str:
        """``ABORTED`` from :meth:`abort` until the task has ended, else as any result's."""
        found = super().state
        if found in states.READY_STATES or not self.is_aborted():
            return found
        return ABORTED

    status = state

    def is_aborted(self) -> bool:
        """Whether the task was told to stop and has not ended in another way since."""
        return _is_aborted(self.app.store.inspection.get([self.id])[0])

    def abort(self) -> None:
        """Tell the task to stop. It is kept in the store, whether a worker runs or not.

        A task that has not begun does not run. When one that runs stops, and whether it does, is
        up to its body.
        """
        self.app.control.revoke(self.id)


class AbortableTask(Task[P, R]):
    """Base of tasks that look, every now and then, whether they were told to stop."""

    def _send(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> AsyncResult[R]:
        sent = super()._send(args, kwargs, options)
        if type(sent) is not AsyncResult:
            return sent  # it has run already, here
        return AbortableAsyncResult(sent.id, self.app, sent.ignored)

    def AsyncResult(self, task_id: str) -> AbortableAsyncResult[R]:  # noqa: N802 - Celery's name
        """Return the result object of a call that was sent."""
        return AbortableAsyncResult(task_id, self.app)

    def is_aborted(self, task_id: str | None = None) -> bool:
        """Whether this run, or the task *task_id*, was told to stop.

        It reads the store: call it often enough to stop soon, and not in the innermost loop. In a
        coroutine write ``await asyncio.to_thread(self.is_aborted)``. False outside a worker.
        """
        id = task_id or self.request.id
        return id is not None and self.AsyncResult(id).is_aborted()


def _is_aborted(record: Record | None) -> bool:
    if record is None:
        return False
    if record.state in states.TERMINAL:
        return record.state == states.CANCELLED
    return record.revoked
