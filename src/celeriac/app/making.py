"""Making a task of a function.

Layer 4. One class and one instance for each function; ``app.task`` and ``shared_task`` use it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from celeriac.app.options import TASK_OPTIONS, check_task_options
from celeriac.app.task import AsyncTask, Task
from celeriac.arguments import Arguments

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = [
    "BoundDecorator",
    "Decorator",
    "build",
    "check_definition",
    "checked_base",
    "instance",
    "place",
    "same",
]

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
    base, problems = options.get("base") or Task, list[Exception]()
    if not name or name == "<lambda>":
        text = "its function has no name of its own; give it one: app.task(name='…')"
        name, problems = place(fun), [TypeError(text)]
    try:
        checked_base(base, "base")
    except TypeError as error:
        problems.append(error)
        base = Task
    if options.get("bind") and not _takes_the_task(fun):
        problems.append(
            TypeError(
                "bind=True, and its function takes no arguments: give it a first parameter for "
                "the task, such as self"
            )
        )
    problems += _unknown_names(fun, options)
    check_task_options(name, options, base, problems)


def checked_base(base: Any, what: str) -> type[Task[..., Any]]:
    """Return *base*, a class that tasks can derive from, or raise ``TypeError``."""
    if not (isinstance(base, type) and issubclass(base, Task)):
        raise TypeError(f"{what} is {base!r}, which is not derived from Task")
    return base


def _unknown_names(fun: Callable[..., Any], options: Mapping[str, Any]) -> list[Exception]:
    """What is wrong with the names in ``sensitive``, as far as the function tells."""
    names = options.get("sensitive")
    if not isinstance(names, list | tuple | set | frozenset):
        return []
    try:
        Arguments(fun, skip_first=bool(options.get("bind"))).mask(names)
    except ValueError as error:
        return [error]
    return []


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
    body = fun
    if attributes.get("pydantic"):
        from celeriac.app.models import validating

        body = validating(app, fun, name, attributes)
    cls = type(
        getattr(fun, "__name__", "task"),
        (base,),
        {
            **attributes,
            "app": app,
            "name": name,
            "run": body if bound else staticmethod(body),
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


def instance(
    app: Celeriac, given: Task[..., Any] | type[Task[..., Any]], options: Mapping[str, Any]
) -> Task[..., Any]:
    """Return the task of *app* that a class derived from ``Task``, or its instance, becomes.

    Raises:
        TypeError: it is no such class, or defines no ``run``.
        ValueError: an option that its class or *options* give has a wrong value.
    """
    cls = given if isinstance(given, type) else type(given)
    if not issubclass(cls, Task):
        raise TypeError(
            f"register_task() takes a class derived from Task, or an instance of one, not {given!r}"
        )
    if cls.run is Task.run:
        raise TypeError(f"the task class {cls.__qualname__} defines no run()")
    task = given() if isinstance(given, type) else given
    if not task.name:
        task.name = app.gen_task_name(cls.__name__, cls.__module__)
    written = {
        name: getattr(each, name)
        for each in reversed(cls.__mro__[: cls.__mro__.index(Task)])
        for name in vars(each)
        if name in TASK_OPTIONS and name not in {"name", "base", "bind"}
    }
    for name, value in check_task_options(task.name, {**written, **options}, cls).items():
        setattr(task, name, value)
    task.app = app
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
    """Where *fun*, a function or a task made of one, is defined, for people."""
    made_of = getattr(fun, "__wrapped__", fun)
    name = getattr(made_of, "__qualname__", None) or type(made_of).__qualname__
    code = getattr(made_of, "__code__", None)
    if code is not None:
        return f"{name} ({code.co_filename}:{code.co_firstlineno})"
    file = getattr(sys.modules.get(type(made_of).__module__), "__file__", None)
    return f"{name} ({file})" if file else name
