"""The built-in tasks: what workflows need to run besides the application's own.

Layer 4. Every app and every worker knows them. They are found by name, and do not show where an
application's tasks are listed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.records import BUILT_IN

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.app.task import Task

__all__ = ["collect", "make"]


def make(app: Celeriac) -> dict[str, Task[..., Any]]:
    """Return the built-in tasks of *app* by name."""
    from celeriac.app.making import build

    def mapped(task: Mapping[str, Any], it: Iterable[Any]) -> list[Any]:
        """Call a task with each value; see ``Task.map``."""
        return _calls(app.tasks[task["task"]], [(each,) for each in it])

    def starmapped(task: Mapping[str, Any], it: Iterable[Sequence[Any]]) -> list[Any]:
        """Call a task with each list of arguments; see ``Task.starmap``."""
        return _calls(app.tasks[task["task"]], [tuple(each) for each in it])

    bodies: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "celeriac.collect": (collect, {"ignore_result": False}),
        # What they call may hide its arguments, so theirs are never shown.
        "celery.map": (mapped, {"sensitive": ["it"]}),
        "celery.starmap": (starmapped, {"sensitive": ["it"]}),
    }
    assert bodies.keys() == BUILT_IN, "workers are told these names"
    return {name: build(app, body, name, options) for name, (body, options) in bodies.items()}


def collect(results: list[Any]) -> list[Any]:
    """Return the results of a group, where something needs them as one value."""
    return results


_NO_KEYWORDS: Final[dict[str, Any]] = {}


def _calls(task: Task[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Call *task* with each of these, one after the other."""
    convert = task.arguments.convert
    if not inspect.iscoroutinefunction(task.run):
        return [task(*convert(each, _NO_KEYWORDS)[0]) for each in calls]
    import asyncio

    async def run() -> list[Any]:
        return [await task(*convert(each, _NO_KEYWORDS)[0]) for each in calls]

    return asyncio.run(run())
