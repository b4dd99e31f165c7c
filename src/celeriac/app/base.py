"""The app: settings, tasks, a store, and the ways to send.

Layer 4. An app costs nothing until it is used: the store is opened at the first call that needs
it, once per process, so an app may be made before a web server forks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from celeriac.app import current
from celeriac.app.absent import LATER, LATER_ARGUMENTS
from celeriac.app.builtins import make as built_in
from celeriac.app.configuring import Configuring, said_once
from celeriac.app.doors import Doors
from celeriac.app.holding import Holding
from celeriac.app.making import (
    BoundDecorator,
    Decorator,
    build,
    check_definition,
    checked_base,
    instance,
    place,
    same,
)
from celeriac.app.options import TaskOptions
from celeriac.app.place import calling_module, module_name
from celeriac.app.registry import TaskRegistry
from celeriac.app.symbols import find_symbol
from celeriac.app.task import AsyncTask, Task
from celeriac.canvas.signature import Signature
from celeriac.client import Client, checked_call
from celeriac.context import note_child
from celeriac.declined import FLOW_OPTIONS
from celeriac.directions import NO_DEFAULTS
from celeriac.exceptions import (
    AlwaysEagerIgnored,
    DuplicateTaskNameWarning,
    NotInThisVersion,
)
from celeriac.failures import name_of
from celeriac.later import missing
from celeriac.policies.results import keeps
from celeriac.records import TaskFacts
from celeriac.result import AsyncResult

if TYPE_CHECKING:
    from celeriac.signing import Signer

__all__ = ["Celeriac", "Celery"]

P = ParamSpec("P")
R = TypeVar("R")


class _Unset:
    """Not given; None means something for a backend."""

    def __repr__(self) -> str:
        return "(unset)"


_UNSET: Final = _Unset()


class Celeriac(Configuring, Holding, Doors):
    """An application: its tasks, its settings and its store.

    Args:
        main: the name that stands for ``__main__`` in names of tasks.
        broker: URL of the store. By default a SQLite file, ``celeriac.db``, in the folder of the
            top-level module or package that makes the app.
        backend: URL of the store of results. Left out, results are kept beside the tasks; another
            store has them brought to it once a task has ended; None or ``disabled://`` keeps states
            and drops results.
        include: modules that a worker imports at its start.
        set_as_current: be what ``current_app`` and shared tasks use.
        settings: any setting, such as ``task_default_queue="mail"``. Besides, of Celery's:
            ``task_cls`` (a class, or its name, that all tasks derive from), ``config_source``
            (what ``config_from_object`` takes), ``changes`` (more settings, as a dictionary) and
            ``autofinalize`` (False: the tasks may not be used before ``finalize()``).

    Raises:
        ImproperlyConfigured: settings that are unknown or wrong, all of them at once.
        NotInThisVersion: a store or an argument of Celery's that is not built.
    """

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | None = None,
        backend: str | _Unset | None = _UNSET,
        include: Sequence[str] | str = (),
        set_as_current: bool = True,
        **settings: Any,
    ) -> None:
        for name in settings:
            if name in LATER_ARGUMENTS:
                raise NotInThisVersion(f"The argument {name} of Celeriac()", LATER_ARGUMENTS[name])
        if main is not None and not isinstance(main, str):
            raise TypeError(f"the first argument of Celeriac() is the app's name, not {main!r}")
        self.main = main
        self._home = calling_module()
        self._tasks: TaskRegistry = TaskRegistry(lambda: built_in(self))
        self._adopted = 0
        self._exceptions: dict[str, type[BaseException]] = {}
        self._signing: tuple[Any, str, Signer] | None = None
        if broker is not None:
            said_once(settings, "broker", "broker_url", broker)
        if not isinstance(backend, _Unset):
            said_once(settings, "backend", "result_backend", backend)
        if include:
            settings["include"] = (include,) if isinstance(include, str) else tuple(include)
        self.task_cls: Any = settings.pop("task_cls", None) or self.task_cls
        autofinalize = settings.pop("autofinalize", True)
        source = settings.pop("config_source", None), settings.pop("config_source_silent", False)
        changes = settings.pop("changes", None) or {}
        super().__init__({**changes, **settings}, self._check_stores)
        self._autofinalize = bool(autofinalize)
        if source[0] is not None:
            self.config_from_object(*source)
        self.client = Client(self)
        if set_as_current:
            self.set_current()
        self.on_init()

    #: The class that all tasks derive from, or its name; None: ``Task``.
    task_cls: Any = None

    def on_init(self) -> None:
        """Called at the end of the constructor; for classes derived from this."""

    # -- tasks ---------------------------------------------------------------------------------

    @overload
    def task(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def task(self, fun: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, *, bind: Literal[True], **options: Unpack[TaskOptions]) -> BoundDecorator: ...
    @overload
    def task(self, *, bind: Literal[False] = ..., **options: Unpack[TaskOptions]) -> Decorator: ...
    def task(self, *args: Any, **options: Any) -> Any:
        """Make a task of a function: ``@app.task`` or ``@app.task(queue="mail", …)``.

        The options are the attributes of ``Task``, and ``name``, ``base`` (a class to derive
        from), ``bind`` (pass the task as first argument) and ``retry_for`` (the same as
        ``autoretry_for``). An unknown one raises ``TypeError``, one of Celery's that is not built
        ``NotInThisVersion``. A second function under a taken name warns, and the first stays.
        """
        if len(args) == 1 and callable(args[0]):
            return self._make(args[0], options)
        if args:
            raise TypeError("app.task takes one function; options are keywords")
        return lambda fun: self._make(fun, options)

    def _make(self, fun: Callable[..., Any], options: Mapping[str, Any]) -> Task[..., Any]:
        options = self._with_base(options)
        check_definition(fun, options)
        name = self.name_of(fun, options)
        known: Task[..., Any] | None = self._tasks.get(name)
        if known is not None:
            if not same(known, fun):
                warnings.warn(
                    f"The task name {name!r} is taken by {place(known.__wrapped__)}; "
                    f"{place(fun)} is not registered. Give it another name: "
                    f"@app.task(name=…)",
                    DuplicateTaskNameWarning,
                    stacklevel=3,
                )
            return known
        task = build(self, fun, name, options)
        self._adopt(task)
        return task

    def _with_base(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Let the task derive from ``task_cls`` if there is one and it names no other class."""
        if self.task_cls is None or options.get("base"):
            return options
        if isinstance(self.task_cls, str):
            self.task_cls = find_symbol(self.task_cls, "task_cls")
        return {**options, "base": self.task_cls}

    def register_task(
        self, task: Task[..., Any] | type[Task[..., Any]], **options: Any
    ) -> Task[..., Any]:
        """Register a task that is a class of its own, or an instance of one.

        *options* are those of ``app.task`` and go over what the class says.
        """
        made = instance(self, task, options)
        known: Task[..., Any] | None = self._tasks.get(made.name)
        if known is not None and type(known) is not type(made):
            warnings.warn(
                f"The task name {made.name!r} is taken by {place(known)}, which stays; "
                f"{place(made)} is not registered. Give it another name: name = '…'",
                DuplicateTaskNameWarning,
                stacklevel=2,
            )
            return known
        self._adopt(made)
        return made

    @property
    def Task(self) -> type[Task[..., Any]]:  # noqa: N802 - the name Celery users know
        """A base class for tasks of this app."""
        base = self._with_base({}).get("base", Task)
        if getattr(base, "app", None) is self:
            return cast("type[Task[..., Any]]", base)
        return type("Task", (base,), {"app": self, "__module__": base.__module__})

    @Task.setter
    def Task(self, base: type[Task[..., Any]]) -> None:  # noqa: N802 - as above
        """Let the tasks that are made from now on derive from *base*."""
        self.task_cls = checked_base(base, "app.Task")

    @property
    def tasks(self) -> TaskRegistry:
        """Tasks by name; an unknown name raises ``NotRegistered``, which says what is near."""
        if not self._finalized:
            self.finalize(auto=True)
        if self._adopted < len(current.shared):
            waiting = current.shared[self._adopted :]
            self._adopted = len(current.shared)
            for fun, options in waiting:
                name = self.name_of(fun, options)
                if name not in self._tasks:  # the app's own task goes first
                    self._adopt(build(self, fun, name, self._with_base(options)))
        return self._tasks

    def name_of(self, fun: Callable[..., Any], options: Mapping[str, Any]) -> str:
        """Return the name that *fun* has, or would have, as a task."""
        return options.get("name") or self.gen_task_name(fun.__name__, fun.__module__)

    def gen_task_name(self, name: str, module: str) -> str:
        """Return ``module.name``, with ``main`` in place of ``__main__``."""
        if module == "__main__":
            import sys

            module = self.main or module_name(vars(sys.modules["__main__"]))
        return f"{module}.{name}" if module else name

    def facts(self) -> dict[str, TaskFacts]:
        """Return, by name, what a worker must know of the tasks without running their code."""
        tasks = self.tasks
        return {name: task.facts() for name, task in {**tasks.built_in, **tasks}.items()}

    # -- sending -------------------------------------------------------------------------------

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send a call by the task's name; its code need not be here.

        *options* are those of ``apply_async``. A name that this app does not know is sent as it is:
        a task that no worker knows waits, and ``celeriac why ID`` says so.
        """
        _check_name(name)
        if self.conf.task_always_eager:
            warnings.warn(
                "send_task() sends to a worker even if task_always_eager is set",
                AlwaysEagerIgnored,
                stacklevel=2,
            )
        if not FLOW_OPTIONS.isdisjoint(options):
            from celeriac.flows import send_call

            call = checked_call(args, kwargs)
            return cast("AsyncResult[Any]", send_call(self, name, *call, options))
        task = self._tasks.get(name)
        defaults = NO_DEFAULTS if task is None else task.defaults
        message = self.client.message(name, *checked_call(args, kwargs), defaults, options)
        self.client.send((message,), options.get("retry"), options.get("retry_policy"))
        asked, own = message.header.ignore_result, None if task is None else task.ignore_result
        kept = keeps(asked, own, self.conf.task_ignore_result, self.keeps_results)
        result: AsyncResult[Any] = AsyncResult(message.header.id, self, ignored=not kept)
        if message.header.parent and options.get("add_to_parent", True):
            note_child(result)
        return result

    def sends_in_its_own_way(self) -> bool:
        """Whether the application has a ``send_task`` of its own, which its tasks then ask."""
        return type(self).send_task is not _SEND_TASK or "send_task" in self.__dict__

    def enqueue_many(self, signatures: Iterable[Signature[Any]]) -> list[AsyncResult[Any]]:
        """Send many calls in one step of the store: all of them or none.

        ``app.enqueue_many(add.s(n, n) for n in range(1000))`` is many times as fast as a thousand
        ``delay()``, and whatever is wrong with one of them is raised before any is sent. More than
        10,000 at once, or 128 MiB of arguments, raise ``PayloadTooLarge`` on Redis: send parts.
        Workflows may be among them; theirs are the result objects they have.
        """
        from celeriac.bulk import Batch

        batch = Batch(self)
        calls = list(signatures) if self.conf.task_always_eager else signatures
        batch.extend(calls)
        if self.conf.task_always_eager:
            return [each.apply_async() for each in calls]
        messages, results = batch.finish()
        if messages:
            self.client.send(messages, joins=batch.joins)
        return results

    def signature(self, *args: Any, **kwargs: Any) -> Signature[Any]:
        """Make a signature of this app's task; see ``celeriac.signature``."""
        from celeriac.canvas.signature import signature

        return signature(*args, app=self, **kwargs)

    def AsyncResult(self, id: str) -> AsyncResult[Any]:  # noqa: N802 - Celery's name
        """Return the result object of a call that was sent."""
        return AsyncResult(id, self)

    # -- exceptions ----------------------------------------------------------------------------

    def register_exception(self, cls: type[BaseException]) -> type[BaseException]:
        """Let ``get()`` raise *cls* where a task raised it; also a decorator of the class.

        Its constructor is not called: the exception has its ``args`` and its text. Classes that a
        registered task names in ``throws`` or ``autoretry_for`` are known without this.
        """
        _check_exception(cls)
        self._exceptions[name_of(cls)] = cls
        return cls

    def known_exception(self, name: str) -> type[BaseException] | None:
        """Return the class *name* if it may be rebuilt from a stored failure."""
        known = self._exceptions.get(name)
        if known is not None:
            return known
        for task in self.tasks.values():
            for cls in (*task.throws, *task.autoretry_for):
                if name_of(cls) == name and issubclass(cls, Exception):
                    return cls
        return None

    # -- messages ------------------------------------------------------------------------------

    @property
    def signer(self) -> Signer | None:
        """Signs and verifies messages and results; None unless ``security_key`` is set."""
        key = self.conf.security_key
        if key is None:
            return None
        namespace = self.conf.namespace
        made = self._signing
        from celeriac.signing import Signer

        if made is None or made[0] is not key or made[1] != namespace:
            made = self._signing = (key, namespace, Signer.from_setting(key, namespace))
        return made[2]

    # -- life ----------------------------------------------------------------------------------

    def set_current(self) -> None:
        """Be what ``current_app`` and shared tasks use."""
        current.set_current_app(self)

    set_default = set_current

    @property
    def current_task(self) -> Any:
        """The task in whose body we are; None outside."""
        return current.running_task()

    current_worker_task = current_task

    def close(self) -> None:
        """Let go of the store, and be current no longer. The app can be used again."""
        current.forget_app(self)
        self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    if not TYPE_CHECKING:  # type checkers shall find names that are not there

        def __getattr__(self, name: str) -> Any:
            raise missing("app", name, LATER)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '(unnamed)'}>"


#: The name that Celery users import.
Celery = Celeriac
#: Ours, whatever a test puts in its place.
_SEND_TASK: Final = Celeriac.send_task


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"send_task() takes the name of a task, not {name!r}")


def _check_exception(cls: object) -> None:
    if not (isinstance(cls, type) and issubclass(cls, Exception)):
        raise TypeError(f"register_exception() takes a class of exceptions, not {cls!r}")
