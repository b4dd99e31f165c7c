"""The signature of a single task: which task, with what arguments, sent how.

Layer 3: no IO of its own; it knows apps and tasks by the protocols here. A signature is a
dictionary of plain data, so it can be an argument, a result or JSON, and be made a signature
again by :func:`signature`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, Protocol, Self, TypeVar, cast

from celeriac.exceptions import ImproperlyConfigured, NotInThisVersion
from celeriac.later import Absent

__all__ = ["App", "Home", "Signature", "maybe_signature", "signature", "subtask"]

R = TypeVar("R")

_FLOWS: Final = "Until workflows are, let the first task call the next one's delay()."


class App(Protocol):
    """What a signature needs of an app."""

    @property
    def tasks(self) -> Mapping[str, Any]:
        """The registry."""

    def send_task(self, name: str, args: Any, kwargs: Any, **options: Any) -> Any:
        """Send a call by name."""


class Home:
    """Where a signature that was made from plain data finds its app.

    The app package fills this in when it is loaded; this layer must not import it.
    """

    current: Callable[[], App] | None = None


class Signature(dict[str, Any], Generic[R]):
    """A call as a value: ``add.s(2, 2)``; ``add.s(2, 2).delay()`` sends it.

    It is a dictionary with the keys ``task``, ``args``, ``kwargs``, ``options``,
    ``subtask_type`` and ``immutable``. Arguments given when it is sent go before the stored ones,
    keyword arguments and options go over them, unless it is immutable.

    Args:
        task: a task, a task's name, or a dictionary that was a signature.
        args: positional arguments.
        kwargs: keyword arguments.
        options: options of ``apply_async``.
        immutable: take no arguments when sent.
        app: the app it belongs to; by default the task's, else the current one.
        options_more: further options.
    """

    def __init__(
        self,
        task: Any = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        immutable: bool = False,
        app: Any = None,
        **options_more: Any,
    ) -> None:
        self._app = app
        self._task: Any = None
        if isinstance(task, Mapping):
            super().__init__(_plain(task))
            return
        if not isinstance(task, str):
            self._task = task
            self._app = app if app is not None else getattr(task, "app", None)
        super().__init__(
            task=task if isinstance(task, str) else task.name,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **options_more},
            subtask_type=None,
            immutable=immutable,
        )

    @classmethod
    def of_call(
        cls, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], immutable: bool
    ) -> Self:
        """Make the signature of a call as *task* was just given it, without a look or a copy."""
        made = cls.__new__(cls)
        made._app = task.app  # noqa: SLF001 - it is one of ours
        made._task = task  # noqa: SLF001
        made.update(
            {
                "task": task.name,
                "args": args,
                "kwargs": kwargs,
                "options": {},
                "subtask_type": None,
                "immutable": immutable,
            }
        )
        return made

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], app: Any = None) -> Self:
        """Make a signature of the dictionary it was, after JSON for example."""
        return cls(value, app=app)

    # -- reading -------------------------------------------------------------------------------

    @property
    def task(self) -> str:
        """The task's name."""
        return cast(str, self["task"])

    @task.setter
    def task(self, name: str) -> None:
        self["task"] = name

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task

    @property
    def args(self) -> tuple[Any, ...]:
        """The stored positional arguments."""
        return tuple(self["args"])

    @args.setter
    def args(self, args: Sequence[Any]) -> None:
        self["args"] = tuple(args)

    @property
    def kwargs(self) -> dict[str, Any]:
        """The stored keyword arguments."""
        return cast(dict[str, Any], self["kwargs"])

    @kwargs.setter
    def kwargs(self, kwargs: Mapping[str, Any]) -> None:
        self["kwargs"] = dict(kwargs)

    @property
    def options(self) -> dict[str, Any]:
        """The stored options."""
        return cast(dict[str, Any], self["options"])

    @options.setter
    def options(self, options: Mapping[str, Any]) -> None:
        self["options"] = dict(options)

    @property
    def immutable(self) -> bool:
        """Whether arguments given when it is sent are refused."""
        return bool(self["immutable"])

    @immutable.setter
    def immutable(self, immutable: bool) -> None:
        self["immutable"] = immutable

    @property
    def subtask_type(self) -> None:
        """None: what kind of workflow it is; this version has none."""
        return None

    @property
    def id(self) -> str | None:
        """The task id it will have, if :meth:`freeze` or an option has fixed one."""
        return cast("str | None", self.options.get("task_id"))

    @id.setter  # noqa: A003 - the name Celery users know
    def id(self, task_id: str) -> None:
        self.options["task_id"] = task_id

    @property
    def app(self) -> Any:
        """The app it belongs to."""
        if self._app is None:
            if Home.current is None:
                raise ImproperlyConfigured(
                    f"The signature of {self.task!r} belongs to no app. Import the module that "
                    "makes yours first, or pass it: signature(…, app=app)."
                )
            return Home.current()
        return self._app

    @property
    def type(self) -> Any:
        """The task itself; raises ``NotRegistered`` if the app does not know the name."""
        held = self._held()
        return self.app.tasks[self.task] if held is None else held

    def _held(self) -> Any:
        """The task it was made of, unless it was given the name of another since."""
        task = self._task
        return None if task is None or task.name != self["task"] else task

    def bind(self, app: Any) -> None:
        """Let it belong to *app*, unless that is None."""
        if app is not None:
            self._app = app

    def plain(self) -> tuple[Any, tuple[Any, ...], dict[str, Any]] | None:
        """Return task, arguments and keyword arguments, to be read at once and not kept.

        None if it has options, or is not as a task made it: then :meth:`merged` is to be asked.
        """
        task, args, kwargs = self._task, self["args"], self["kwargs"]
        if (
            task is None
            or self["options"]
            or self["task"] != task.name
            or type(args) is not tuple
            or type(kwargs) is not dict
        ):
            return None
        return task, args, kwargs

    # -- changing ------------------------------------------------------------------------------

    def clone(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None,
              **options: Any) -> Signature[R]:  # fmt: skip
        """Return a copy with *args* before the stored ones, the others over them."""
        merged_args, merged_kwargs, merged_options = self.merged(args, kwargs, options)
        copy: Signature[R] = Signature(
            self._held() or self.task,
            merged_args,
            merged_kwargs,
            merged_options,
            immutable=self.immutable,
            app=self._app,
        )
        return copy

    partial = clone

    def replace(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Signature[R]:
        """Return a copy in which what is given takes the place of what was stored."""
        copy = self.clone()
        if args is not None:
            copy["args"] = tuple(args)
        if kwargs is not None:
            copy["kwargs"] = dict(kwargs)
        if options is not None:
            copy["options"] = dict(options)
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Self:
        """Store *options* (and whether it is immutable) and return the signature itself."""
        if immutable is not None:
            self["immutable"] = immutable
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Store whether arguments given when it is sent are refused."""
        self["immutable"] = immutable

    def freeze(self, _id: str | None = None) -> Any:
        """Fix the task id and return the result object for it, before anything is sent."""
        from celeriac.ids import new_task_id

        self.options.setdefault("task_id", _id or new_task_id())
        return self.AsyncResult(self.options["task_id"])

    def merged(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        """Return what a call with these would be sent with. An immutable one ignores arguments."""
        if self.immutable:
            return self.args, dict(self.kwargs), {**self.options, **(options or {})}
        return (
            (*args, *self.args),
            {**self.kwargs, **(kwargs or {})},
            {**self.options, **(options or {})},
        )

    # -- running -------------------------------------------------------------------------------

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Send it with more arguments; see the task's ``delay``."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send it with more arguments and options; see the task's ``apply_async``."""
        merged_args, merged_kwargs, merged_options = self.merged(args or (), kwargs, options)
        if self._held() is None and self.task not in self.app.tasks:
            return self.app.send_task(self.task, merged_args, merged_kwargs, **merged_options)
        return self.type.apply_async(merged_args, merged_kwargs, **merged_options)

    def apply(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run it in this process; see the task's ``apply``."""
        merged_args, merged_kwargs, merged_options = self.merged(args or (), kwargs, options)
        return self.type.apply(merged_args, merged_kwargs, **merged_options)

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Call the task like a function, with more arguments."""
        merged_args, merged_kwargs, _ = self.merged(args, kwargs)
        return cast(R, self.type(*merged_args, **merged_kwargs))

    def AsyncResult(self, task_id: str) -> Any:  # noqa: N802 - the name Celery users know
        """Return the result object for *task_id*."""
        return self.app.AsyncResult(task_id)

    def __invert__(self) -> R:
        """Send it and wait for what it returns: ``~add.s(2, 2)`` is 4."""
        return cast(R, self.apply_async().get())

    # -- not in this version -------------------------------------------------------------------

    def __or__(self, other: object) -> NoReturn:
        raise _later("A chain (signature | signature)")

    def __ror__(self, other: object) -> NoReturn:
        raise _later("A chain (signature | signature)")

    def __ior__(self, other: object) -> NoReturn:
        raise _later("A chain (signature | signature)")

    if not TYPE_CHECKING:  # type checkers shall find names that are not there
        link = Absent(_FLOWS)
        link_error = Absent(_FLOWS)
        on_error = Absent(_FLOWS)
        flatten_links = Absent(_FLOWS)
        append_to_list_option = Absent(_FLOWS)
        extend_list_option = Absent(_FLOWS)
        root_id = Absent(_FLOWS)
        parent_id = Absent(_FLOWS)
        register_type = Absent(_FLOWS)
        TYPES = Absent(_FLOWS)
        stamp = Absent("Pass headers={…} to apply_async().")
        stamp_links = Absent("Pass headers={…} to apply_async().")
        election = Absent("")

    # -- looks ---------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return _call(self.task, *self._shown(self.args, self.kwargs))

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call that it would be with more arguments, as text."""
        return _call(self.task, *self._shown((*args, *self.args), {**self.kwargs, **kwargs}))

    def _shown(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments as they may be shown: without what the task hides."""
        task = self._held()
        if task is None and self._app is not None and self.task in self._app.tasks:
            task = self._app.tasks[self.task]
        mask = getattr(task, "mask", None)
        return (args, kwargs) if mask is None else mask.plain(args, kwargs)

    def __json__(self) -> dict[str, Any]:
        return dict(self)

    def __copy__(self) -> Self:
        return cast(Self, self.clone())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copy = self.__copy__()
        memo[id(self)] = copy
        copy.update(deepcopy(dict(self), memo))
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return signature, (dict(self),)


def signature(varies: Any, *args: Any, **kwargs: Any) -> Signature[Any]:
    """Make a signature of a task, a task's name, or the dictionary that a signature was.

    A signature is returned as it is, if nothing else is given.
    """
    app: Any = kwargs.pop("app", None)
    if isinstance(varies, Signature) and not args and not kwargs:
        return varies
    if isinstance(varies, Mapping):
        made: Signature[Any] = Signature(varies, app=app)
        return made.clone(*args, **kwargs) if args or kwargs else made
    made = Signature(varies, *args, **kwargs)
    made.bind(app)
    return made


subtask = signature


def maybe_signature(value: Any, app: Any = None) -> Any:
    """Return a signature for a dictionary that was one; anything else comes back as it is."""
    if isinstance(value, Mapping) and not isinstance(value, Signature) and "task" in value:
        return signature(value, app=app)
    return value


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    kind = value.get("subtask_type")
    if kind is not None:
        raise NotInThisVersion(f"A signature of kind {kind!r}", "Only single tasks are.")
    if not isinstance(value.get("task"), str):
        raise TypeError("this dictionary was no signature: it has no task name under 'task'")
    return {
        "task": value["task"],
        "args": tuple(value.get("args") or ()),
        "kwargs": dict(value.get("kwargs") or {}),
        "options": dict(value.get("options") or {}),
        "subtask_type": None,
        "immutable": bool(value.get("immutable", False)),
    }


def _call(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    words = [repr(each) for each in args]
    words += [f"{name}={value!r}" for name, value in kwargs.items()]
    return f"{task}({', '.join(words)})"


def _later(what: str) -> NotInThisVersion:
    return NotInThisVersion(what, _FLOWS)
