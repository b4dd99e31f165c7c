"""What running a task needs to know, worked out once for many runs.

Layer 4; for ``runner`` and those that change what it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celeriac.hearers import Hearers

if TYPE_CHECKING:
    from celeriac.app.task import Task

__all__ = ["Prepared"]


class Prepared:
    """What running a task needs to know, worked out once per task."""

    __slots__ = (
        "before", "call", "compression", "custom", "hearers", "ignored", "is_async",
        "keep_errors", "mask", "repr_max", "serializer", "task",
    )  # fmt: skip

    def __init__(self, task: Task[..., Any]) -> None:
        import inspect

        from celeriac.app.task import Task as Base

        conf = task.app.conf
        self.task = task
        self.mask = task.mask
        self.custom = type(task).__call__ is not Base.__call__ and not _inherits_call(task)
        self.call: Callable[..., Any] = task if self.custom else task.run
        self.is_async = inspect.iscoroutinefunction(task.run)
        self.hearers = Hearers(task)
        self.before = task.overrides("before_start")
        self.ignored = not task.keeps_result()
        asked = task.store_errors_even_if_ignored
        self.keep_errors = task.app.keeps_results and (
            conf.task_store_errors_even_if_ignored if asked is None else asked
        )
        self.repr_max = task.resultrepr_maxsize
        self.serializer = conf.result_serializer
        self.compression = conf.result_compression

    @property
    def soft(self) -> float | None:
        """The soft time limit, in seconds; remote control may change it between two runs."""
        soft = self.task.soft_time_limit
        return self.task.app.conf.task_soft_time_limit if soft is None else soft


def _inherits_call(task: Task[..., Any]) -> bool:
    from celeriac.app.task import AsyncTask

    return type(task).__call__ is AsyncTask.__call__
