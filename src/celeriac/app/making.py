"""Making a task of a function.

Layer 4. One class and one instance for each function; ``app.task`` and ``shared_task`` use it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from celeriac.app.options import check_task_options
from celeriac.app.task import AsyncTask, Task

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["BoundDecorator", "Decorator", "build", "check_definition", "place", "same"]

P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """What ``app.task(...)`` returns."""

    @overload
    def __call__(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[P, R], /) -> Task[P, R]: ...


class BoundDecorator(Protocol):
    """What ``app.task(bind=True, ...)`` returns: the task is the function's first argument."""

    @overload
    def __call__(
        self, fun: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...


def check_definition(fun: Any, options: Mapping[str, Any]) -> None:
    """Raise if no task can be made of *fun* with *options*: for all that is wrong, at once.

    ``TypeError``, ``ValueError`` or ``NotInThisVersion`` for one thing, ``ImproperlyConfigured``
    with its ``problems`` for several.
    """
    if not callable(fun):
        raise TypeError(f"a task is made of a function, not of {fun!r}")
    if isinstance(fun, type):
        raise TypeError(
            f"{fun.__name__} is a class: register an instance of a class derived from Task with "
            "app.register_task(), or decorate a function"
        )
    name = options.get("name") or getattr(fun, "__name__", None)
    if not name or name == "<lambda>":
        raise TypeError(f"{fun!r} has no name of its own; give it one: app.task(name='…')")
    base, problems = options.get("base") or Task, list[Exception]()
    if not (isinstance(base, type) and issubclass(base, Task)):
        problems.append(TypeError(f"base is {base!r}, which is not derived from Task"))
        base = Task
    if options.get("bind") and not _takes_the_task(fun):
        problems.append(
            TypeError(
                "bind=True, and its function takes no arguments: give it a first parameter for "
                "the task, such as self"
            )
        )
    check_task_options(name, options, base, problems)


def _takes_the_task(fun: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(fun).parameters.values()
    except (TypeError, ValueError):  # written in C, and does not say
        return True
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    return any(each.kind not in named for each in parameters)


def build(
    app: Celeriac, fun: Callable[..., Any], name: str, options: Mapping[str, Any]
) -> Task[..., Any]:
    """Return the task of *app* that *fun* becomes."""
    base = options.get("base") or Task
    attributes = check_task_options(name, options, base)
    bound = bool(attributes.pop("bind", False))
    for option in ("name", "base"):
        attributes.pop(option, None)
    if base is Task and inspect.iscoroutinefunction(fun):
        base = AsyncTask
    cls = type(
        getattr(fun, "__name__", "task"),
        (base,),
        {
            **attributes,
            "app": app,
            "name": name,
            "run": fun if bound else staticmethod(fun),
            "bound": bound,
            "__doc__": fun.__doc__,
            "__module__": fun.__module__,
            "__qualname__": getattr(fun, "__qualname__", name),
        },
    )
    task: Task[..., Any] = cls()
    task.__dict__.update(
        __wrapped__=fun,
        __name__=getattr(fun, "__name__", name),
        __qualname__=getattr(fun, "__qualname__", name),
        __module__=fun.__module__,
        __doc__=fun.__doc__,
    )
    return task


def same(task: Task[..., Any], fun: Callable[..., Any]) -> bool:
    """Whether *task* was made of *fun*, or of the same lines before a reload."""
    made_of = task.__dict__.get("__wrapped__")
    if made_of is fun:
        return True
    codes = [getattr(each, "__code__", None) for each in (made_of, fun)]
    if None in codes:
        return False
    places = [(code.co_filename, code.co_firstlineno) for code in codes if code is not None]
    return places[0] == places[1]


def place(fun: Any) -> str:
    """Where *fun* is defined, for people."""
    code = getattr(fun, "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return f"{getattr(fun, '__qualname__', fun)}{where}"
