"""The registry: an app's tasks by name.

Layer 4. Names in messages resolve here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from celeriac.exceptions import NotRegistered

if TYPE_CHECKING:
    from celeriac.app.task import Task

__all__ = ["TaskRegistry"]


class TaskRegistry(dict[str, "Task[..., Any]"]):
    """Tasks by name. An unknown name raises ``NotRegistered``, which says what is near."""

    def __init__(self) -> None:
        super().__init__()
        #: Called after each task that is added: a worker in this process wants to know of it.
        self.watchers: list[Callable[[], None]] = []

    def __setitem__(self, name: str, task: Task[..., Any]) -> None:
        super().__setitem__(name, task)
        for each in self.watchers:
            each()

    def __missing__(self, name: str) -> NoReturn:
        raise NotRegistered(name, list(self))

    def register(self, task: Task[..., Any]) -> None:
        """Add *task* under its name, in place of another one."""
        self[task.name] = task

    def unregister(self, name: str | Task[..., Any]) -> None:
        """Remove a task, by itself or by name; raises ``NotRegistered``."""
        wanted = name if isinstance(name, str) else name.name
        if wanted not in self:
            raise NotRegistered(wanted, list(self))
        del self[wanted]
