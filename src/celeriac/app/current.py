"""Which app and which task are the current ones, and tasks that belong to every app.

Layer 4. The current app is one per process, so that every thread of a web server finds it; it is
the last one made with ``set_as_current`` (the default).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    ParamSpec,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from celeriac.canvas.signature import Home
from celeriac.context import current
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.app.making import BoundDecorator, Decorator
    from celeriac.app.options import TaskOptions
    from celeriac.app.task import AsyncTask, Task

__all__ = [
    "Proxy",
    "app_or_default",
    "bugreport",
    "current_app",
    "current_task",
    "find_app",
    "find_task",
    "forget_app",
    "get_current_app",
    "running_task",
    "set_current_app",
    "shared",
    "shared_task",
]

P = ParamSpec("P")
R = TypeVar("R")

_apps: list[Celeriac] = []
#: (function, options) of every shared task; each app takes them over (``Celeriac.tasks``).
shared: Final[list[tuple[Callable[..., Any], dict[str, Any]]]] = []


def get_current_app() -> Celeriac:
    """Return the current app; raise ``ImproperlyConfigured`` if none was made."""
    if not _apps:
        raise ImproperlyConfigured(
            "There is no app in this process. Make one, app = Celeriac('tasks'), or import the "
            "module that makes yours before tasks are sent."
        )
    return _apps[-1]


def set_current_app(app: Celeriac) -> None:
    """Make *app* the current one."""
    forget_app(app)
    _apps.append(app)


def forget_app(app: Celeriac) -> None:
    """Let *app* be current no longer; the one before it is again."""
    _apps[:] = [each for each in _apps if each is not app]


def app_or_default(app: Celeriac | None = None) -> Celeriac:
    """Return *app*, or the current one."""
    return get_current_app() if app is None else app


def bugreport(app: Celeriac | None = None) -> str:
    """Return what ``celeriac report`` prints of *app*, by default of the current one."""
    return app_or_default(app).bugreport()


def find_task(name: str) -> Any:
    """Return the current app's task *name*; what a pickled task becomes."""
    return get_current_app().tasks[name]


def find_app(module: str, name: str) -> Any:
    """Return the app that *module* holds as *name*; what a pickled app becomes."""
    from importlib import import_module

    return getattr(import_module(module), name)


class Proxy:
    """Stands for an object that is looked up at each use."""

    __slots__ = ("_Proxy__find", "_Proxy__name", "__weakref__")

    def __init__(self, find: Callable[[], Any], name: str) -> None:
        object.__setattr__(self, "_Proxy__find", find)
        object.__setattr__(self, "_Proxy__name", name)

    def _get_current_object(self) -> Any:
        """Return the object it stands for just now."""
        return self.__find()

    @property
    def __class__(self) -> Any:
        # isinstance(proxy, Task) is true, as it is for what it stands for.
        try:
            return type(self.__find())
        except ImproperlyConfigured:
            return Proxy

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError("the class of a proxy cannot be set")

    @property
    def __dict__(self) -> Any:  # type: ignore[override]  # that of the object
        return self.__find().__dict__

    @property
    def __wrapped__(self) -> Any:
        return self.__find().__wrapped__

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__find(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__find(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__find(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object it stands for."""
        return self.__find()(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return bool(self.__find() == _behind(other))

    def __hash__(self) -> int:
        return hash(self.__find())

    def __bool__(self) -> bool:
        return self.__find() is not None

    def __dir__(self) -> list[str]:
        return dir(self.__find())

    def __repr__(self) -> str:
        try:
            return repr(self.__find())
        except ImproperlyConfigured:
            return f"<{self.__name}: no app yet>"


def _behind(value: object) -> object:
    return value._get_current_object() if type(value) is Proxy else value  # noqa: SLF001 - ours


def running_task() -> Any:
    """Return the task in whose body we are; None outside."""
    run = current()
    return None if run is None else run.owner


#: The current app, and the task in whose body we are (None outside).
current_app = cast("Celeriac", Proxy(get_current_app, "current_app"))
current_task = cast("Task[..., Any] | None", Proxy(running_task, "current_task"))


@overload
def shared_task(fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
@overload
def shared_task(fun: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(*, bind: Literal[True], **options: Unpack[TaskOptions]) -> BoundDecorator: ...
@overload
def shared_task(*, bind: Literal[False] = ..., **options: Unpack[TaskOptions]) -> Decorator: ...
def shared_task(*args: Any, **options: Any) -> Any:
    """Make a task of every app in this process, those made later included.

    For libraries and reusable packages, which do not know the app. Takes what ``app.task`` takes;
    what it returns is the current app's task, looked up at each use.
    """

    def decorate(fun: Callable[..., Any]) -> Any:
        from celeriac.app.making import check_definition

        check_definition(fun, options)
        shared.append((fun, options))

        def find() -> Any:
            app = get_current_app()
            return app.tasks[app.name_of(fun, options)]

        return Proxy(find, f"shared task {fun.__module__}.{fun.__qualname__}")

    if len(args) == 1 and callable(args[0]) and not options:
        return decorate(args[0])
    if args:
        raise TypeError("shared_task takes one function; options are keywords")
    return decorate


# Signatures made from plain data find their app here; their layer must not import this one.
Home.current = get_current_app
Home.flows = lambda: import_module("celeriac.flows")
