"""The registry: an app's tasks by name.

Layer 4. Names in messages resolve here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celeriac.exceptions import NotRegistered
from celeriac.records import BUILT_IN

if TYPE_CHECKING:
    from celeriac.app.task import Task

__all__ = ["TaskRegistry"]


class TaskRegistry(dict[str, "Task[..., Any]"]):
    """Tasks by name. An unknown name raises ``NotRegistered``, which says what is near.

    Built-in tasks are found by name, and are not among those that are listed.
    """

    def __init__(self, built_in: Callable[[], dict[str, Task[..., Any]]] = dict) -> None:
        super().__init__()
        self._make = built_in
        self._made: dict[str, Task[..., Any]] | None = None
        #: Called after each task that is added: a worker in this process wants to know of it.
        self.watchers: list[Callable[[], None]] = []

    def __setitem__(self, name: str, task: Task[..., Any]) -> None:
        super().__setitem__(name, task)
        for each in self.watchers:
            each()

    def __missing__(self, name: str) -> Task[..., Any]:
        found = self.built_in.get(name) if name in BUILT_IN else None
        if found is None:
            raise NotRegistered(name, list(self))
        return found

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (name in BUILT_IN and name in self.built_in)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a task by name, a built-in one, too, or *default*."""
        return self[name] if name in self else default  # noqa: SIM401 - this is get()

    @property
    def built_in(self) -> dict[str, Task[..., Any]]:
        """The tasks that are not listed: those that workflows need."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def register(self, task: Task[..., Any]) -> None:
        """Add *task* under its name, in place of another one."""
        self[task.name] = task

    def unregister(self, name: str | Task[..., Any]) -> None:
        """Remove a task, by itself or by name; raises ``NotRegistered``."""
        wanted = name if isinstance(name, str) else name.name
        if wanted not in self:
            raise NotRegistered(wanted, list(self))
        del self[wanted]
