"""The signature of a single task: which task, with what arguments, sent how.

Layer 3: no IO of its own; it knows apps and tasks by the protocols here. A signature is a
dictionary of plain data, so it can be an argument, a result or JSON, and be made a signature
again by :func:`signature`. Chains, groups and chords are signatures, too: :mod:`celeriac.canvas`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, cast

from celeriac.canvas.cycles import ENDLESS
from celeriac.canvas.home import Home
from celeriac.canvas.plain import args_of, call_text, listed, mapping_of, plain_of
from celeriac.canvas.sending import Sending
from celeriac.canvas.stamping import Stamping
from celeriac.exceptions import ImproperlyConfigured
from celeriac.later import Absent
from celeriac.sensitive import Mask
from celeriac.stamps import are_stamps

__all__ = ["Home", "Signature", "maybe_signature", "signature", "subtask"]

R = TypeVar("R")
S = TypeVar("S", bound="type[Signature[Any]]")


class Signature(dict[str, Any], Sending[R], Stamping, Generic[R]):
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

    #: Kinds of workflows by name: what ``subtask_type`` says in a dictionary.
    TYPES: ClassVar[dict[str, type[Signature[Any]]]] = {}

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
            super().__init__(plain_of(task))
            return
        if not isinstance(task, str):
            if not isinstance(getattr(task, "name", None), str):
                raise TypeError(
                    "a signature is made of a task, its name, or the dictionary that one was, not "
                    f"of {task!r}"
                )
            self._task = task
            self._app = app if app is not None else getattr(task, "app", None)
        super().__init__(
            task=task if isinstance(task, str) else task.name,
            args=args_of(args),
            kwargs=mapping_of("kwargs", kwargs),
            options={**mapping_of("options", options), **options_more},
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
    def from_dict(cls, value: Mapping[str, Any], app: Any = None) -> Signature[Any]:
        """Make a signature, or a workflow, of the dictionary it was, after JSON for example."""
        kind = value.get("subtask_type")
        if kind is None:
            return Signature(value, app=app)
        known = cls.TYPES.get(kind) if isinstance(kind, str) else None
        if known is None:
            raise TypeError(
                f"this dictionary says that it was a workflow of kind {kind!r}; there are "
                f"{', '.join(sorted(cls.TYPES))}"
            )
        try:
            return known.from_dict(value, app=app)
        except RecursionError:
            raise ValueError(ENDLESS) from None

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[S], S]:
        """Decorate a class of workflows of your own: dictionaries of that ``subtask_type`` become
        instances of it. *name* is by default the class's."""

        def register(subclass: S) -> S:
            cls.TYPES[name or subclass.__name__] = subclass
            return subclass

        return register

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
    def subtask_type(self) -> str | None:
        """What kind of workflow it is, such as ``chain``; None for a single task."""
        return cast("str | None", self["subtask_type"])

    @property
    def root_id(self) -> str | None:
        """The id of the first task of the tree, if an option or :meth:`freeze` has set it."""
        return cast("str | None", self.options.get("root_id"))

    @property
    def parent_id(self) -> str | None:
        """The id of the task before it, if an option or :meth:`freeze` has set it."""
        return cast("str | None", self.options.get("parent_id"))

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
        held = self.held()
        return self.app.tasks[self.task] if held is None else held

    def held(self) -> Any:
        """Return the task it was made of, unless it was given the name of another since."""
        task = self._task
        return None if task is None or task.name != self["task"] else task

    @property
    def own_app(self) -> Any:
        """The app it was made for, or None where the current one will do."""
        return self._app

    def bind(self, app: Any) -> None:
        """Let it belong to *app*, unless that is None."""
        if app is not None:
            self._app = app

    def plain(self, stamped: bool = False) -> tuple[Any, tuple[Any, ...], dict[str, Any]] | None:
        """Return task, arguments and keyword arguments, to be read at once and not kept.

        None if it has options (with *stamped* other than stamps), or is not as a task made it: then
        :meth:`merged` is to be asked.
        """
        task, args, kwargs, options = self._task, self["args"], self["kwargs"], self["options"]
        if (
            task is None
            or (options and not (stamped and are_stamps(options)))
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
            self.held() or self.task,
            merged_args,
            merged_kwargs,
            merged_options,
            immutable=self.immutable,
            app=self._app,
        )
        return copy

    partial = clone

    def settled(self) -> Signature[Any]:
        """Return a copy whose parts can be given ids; see the same of ``chunks``."""
        return self.clone()

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

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the task id and return the result object for it, before anything is sent.

        An id that is fixed already stays, and so does a group. The others are options that it is
        sent with.
        """
        from celeriac.ids import new_task_id

        options = self.options
        options.setdefault("task_id", _id or new_task_id())
        if group_id is not None:
            options.setdefault("group_id", group_id)
        given = {
            "chord": chord, "root_id": root_id, "parent_id": parent_id, "group_index": group_index,
        }  # fmt: skip
        options.update((name, value) for name, value in given.items() if value is not None)
        return self.AsyncResult(options["task_id"])

    # -- links ---------------------------------------------------------------------------------

    def link(self, callback: Any) -> Any:
        """Have *callback*, a signature, run with the result once this has succeeded; return it."""
        return self.append_to_list_option("link", _linked(callback, "link()"))

    def link_error(self, errback: Any) -> Any:
        """Have *errback*, a signature, run once this has failed; return it.

        Its task is called with the failed task's id, or, if it takes that many arguments, with
        request, exception and traceback.
        """
        return self.append_to_list_option("link_error", _linked(errback, "link_error()"))

    def on_error(self, errback: Any) -> Self:
        """Do what :meth:`link_error` does, and return this signature."""
        self.link_error(errback)
        return self

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Append *value* to the option *key*, a list, unless one that is equal is there already;
        return it."""
        kept = listed(self.options.get(key))
        if value not in kept:
            self.options[key] = [*kept, value]
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Append *value*, or all of them if it is a list, to the option *key*."""
        self.options[key] = [*listed(self.options.get(key)), *listed(value)]

    def linked(self, key: str) -> list[Signature[Any]]:
        """Return what the option *key* links, as signatures."""
        return [maybe_signature(each, self._app) for each in listed(self.options.get(key))]

    def flatten_links(self) -> list[Signature[Any]]:
        """Return this signature and all that is linked to it, their links behind each.

        Raises ``ValueError`` for one that is linked to itself.
        """
        found: list[Signature[Any]] = []
        todo: list[tuple[Any, tuple[int, ...]]] = [(self, ())]
        while todo:
            value, before = todo.pop()
            if id(value) in before:
                raise ValueError("this canvas contains itself")
            each = maybe_signature(value, self._app)
            found.append(each)
            links = reversed(listed(each.options.get("link")))
            todo.extend((link, (*before, id(value))) for link in links)
        return found

    def merged(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        """Return what a call with these would be sent with. An immutable one ignores arguments."""
        if self.immutable:
            return self.args, dict(self.kwargs), self.with_options(options)
        return (
            (*args, *self.args),
            {**self.kwargs, **(kwargs or {})},
            self.with_options(options),
        )

    # -- joining -------------------------------------------------------------------------------

    def __or__(self, other: object) -> Any:
        """Return what runs *other* after this, with its result; see ``canvas.joining``."""
        return NotImplemented if Home.join is None else Home.join(self, other)

    def __ror__(self, other: object) -> Any:
        return NotImplemented if Home.join is None else Home.join(other, self)

    def __ior__(self, other: object) -> Any:
        return self.__or__(other)  # not a dictionary's: this one must stay what it is

    if not TYPE_CHECKING:  # type checkers shall find names that are not there
        election = Absent("")

    # -- looks ---------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return call_text(self.task, *self._shown(self.args, self.kwargs))

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call that it would be with more arguments, as text."""
        return call_text(self.task, *self._shown((*args, *self.args), {**self.kwargs, **kwargs}))

    def _shown(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments as they may be shown: without what the task hides."""
        task = self.held()
        if task is None:
            try:
                known = self.app.tasks
            except ImproperlyConfigured:  # no app, so no task that hides anything
                return args, kwargs
            task = known.get(self.task)
        mask: Mask | None = getattr(task, "mask", None)
        if mask is None:
            return args, kwargs
        return (mask if self.immutable else mask.partial(args, kwargs)).plain(args, kwargs)

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
        made = varies if isinstance(varies, Signature) else Signature.from_dict(varies, app=app)
        return made.clone(*args, **kwargs) if args or kwargs else made
    made = Signature(varies, *args, **kwargs)
    made.bind(app)
    return made


subtask = signature


def maybe_signature(value: Any, app: Any = None, clone: bool = False) -> Any:
    """Return a signature for a dictionary that was one; anything else comes back as it is.

    With *clone* a signature is copied.
    """
    if isinstance(value, Signature):
        return value.clone() if clone else value
    if isinstance(value, Mapping) and "task" in value:
        return signature(value, app=app)
    return value


def _linked(value: Any, what: str) -> Any:
    """Return *value* if it may be linked, or raise ``TypeError``."""
    if isinstance(value, Mapping) and "task" in value:
        return value
    raise TypeError(f"{what} takes a signature, such as task.s(…), not {value!r}")
