"""``task_annotations``: options of tasks that the settings set.

Layer 4. The app gives its tasks what the setting says when the settings are read, and each task
that is made later when it is made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from celeriac.app.options import check_task_options
from celeriac.app.symbols import find_symbol
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.app.task import Task

__all__ = ["annotate", "foreseen", "sources", "unmet"]

#: Words of the decorator that are no option of a task that exists.
_FIXED: Final = ("name", "base", "bind")


class _Map:
    """A mapping of task names, or ``*`` for every task, to options."""

    def __init__(self, known: Mapping[str, Mapping[str, Any]]) -> None:
        self._known = known

    def annotate(self, task: Task[..., Any]) -> Mapping[str, Any] | None:
        """The options of this task."""
        return self._known.get(task.name)

    def annotate_any(self) -> Mapping[str, Any] | None:
        """The options of every task."""
        return self._known.get("*")


def sources(setting: Any) -> tuple[Any, ...]:
    """Return what ``task_annotations`` holds as objects with ``annotate`` or ``annotate_any``.

    Names are imported, and classes called; ``ImproperlyConfigured`` if that cannot be done.
    """
    if setting is None:
        return ()
    listed = setting if isinstance(setting, list | tuple) else (setting,)
    return tuple(map(_source, listed))


def foreseen(setting: Any) -> tuple[Any, ...]:
    """Return what is known of *setting* before the settings are read, as :func:`sources` does.

    Nothing if it names what is to be imported: that may need the module that is being read.
    """
    listed = setting if isinstance(setting, list | tuple) else (setting,)
    return () if any(isinstance(each, str) for each in listed) else sources(setting)


def unmet(setting: Any, names: Collection[str]) -> list[str]:
    """Return the names of tasks in *setting* that are not among *names*."""
    listed = setting if isinstance(setting, list | tuple) else (setting,)
    asked = {name: None for each in listed if isinstance(each, Mapping) for name in each}
    return [name for name in asked if name != "*" and name not in names]


def _source(given: Any) -> Any:
    if isinstance(given, Mapping):
        return _Map(given)
    made = find_symbol(given, "task_annotations") if isinstance(given, str) else given
    if isinstance(made, type):
        made = made()
    if not any(callable(getattr(made, each, None)) for each in ("annotate", "annotate_any")):
        raise ImproperlyConfigured(
            f"task_annotations: {given!r} is no mapping and has neither annotate(task) nor "
            "annotate_any()"
        )
    return made


def annotate(task: Task[..., Any], known: tuple[Any, ...]) -> None:
    """Give *task* its options; those for every task first, so that its own go over them.

    Raises:
        ImproperlyConfigured: an option that there is not, or that has a wrong value.
    """
    for method, arguments in (("annotate_any", ()), ("annotate", (task,))):
        found = (getattr(each, method, None) for each in known)
        answers = (ask(*arguments) for ask in found if ask is not None)
        chosen = next((each for each in answers if each), None)
        if chosen is not None:
            _apply(task, chosen)


def _apply(task: Task[..., Any], options: Mapping[str, Any]) -> None:
    wrong = [each for each in options if each in _FIXED or not each.isidentifier()]
    if wrong:
        raise ImproperlyConfigured(
            f"task_annotations for {task.name!r}: {wrong[0]!r} is no option of a task that exists"
        )
    try:
        attributes = check_task_options(task.name, options, type(task))
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"task_annotations: {error}") from error
    for name, value in attributes.items():
        # A function becomes a method, so it belongs to the class.
        setattr(
            type(task) if callable(value) and not isinstance(value, type) else task, name, value
        )
