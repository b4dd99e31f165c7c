"""The task: a function that can be sent to a worker.

Layer 4. ``app.task`` makes one class and one instance of it for each function, so that what a
base class keeps on ``self`` is kept once per process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, ParamSpec, TypeVar, cast

from celeriac import signals
from celeriac.app.inside import Inside
from celeriac.app.many import Many
from celeriac.app.options import LATER_MEMBERS, limits_of, rate_of
from celeriac.arguments import Arguments
from celeriac.canvas.signature import Signature
from celeriac.client import Defaults, checked_call
from celeriac.context import Context, enter, leave, note_child, running
from celeriac.declined import FLOW_OPTIONS
from celeriac.exceptions import MaxRetriesExceededError, OperationalError
from celeriac.forms import Form, form_of
from celeriac.later import missing
from celeriac.policies.results import keeps
from celeriac.policies.retries import waits_on_time_limit
from celeriac.records import TaskFacts
from celeriac.result import AsyncResult
from celeriac.sensitive import Mask

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.result import EagerResult

__all__ = ["AsyncTask", "Context", "Task"]

P = ParamSpec("P")
R = TypeVar("R")

_NONE: Final[dict[str, Any]] = {}


class _Setting:
    """An option that is the setting's, as it stands, where the task says nothing itself."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    def __get__(self, task: Task[..., Any] | None, owner: type) -> Any:
        app = None if task is None else task.__dict__.get("app") or getattr(owner, "app", None)
        return None if app is None else getattr(app.conf, self._setting)


#: These options, by name.
_FROM_SETTINGS: Final[dict[str, _Setting]] = {}


def _setting(name: str) -> Any:
    return _Setting(name)


class Task(Inside, Many, Generic[P, R]):
    """A task. ``delay()`` and ``apply_async()`` send it, calling it runs it here and now.

    The attributes are its options; None means as the settings say, and then what they say is
    read. A base class of your own (``base=``) may define handlers and anything else.
    """

    #: The app it belongs to.
    app: Celeriac
    #: Its name on the wire and in the registry; by default ``module.function``.
    name: str = ""
    #: How often it may be repeated; None for ever.
    max_retries: int | None = 3
    #: Seconds before a repeat that says no other time.
    default_retry_delay: float = 180.0
    #: Exceptions that repeat it, and those that do not, which are looked at first.
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    #: ``max_retries``, ``countdown`` (seconds) or ``eta`` of automatic repeats.
    retry_kwargs: Mapping[str, Any] = {}
    #: True or a factor in seconds: wait ``factor * 2**retries`` before an automatic repeat.
    retry_backoff: bool | float = False
    #: Longest such wait in seconds.
    retry_backoff_max: float = 600.0
    #: Draw the wait from 0 to what it would be, so that tasks that failed together part.
    retry_jitter: bool = True
    #: False: at most once. A task whose worker dies then fails with ``WorkerLostError``.
    acks_late: bool | None = _setting("task_acks_late")
    #: False: fail at the first crash of the executor instead of running again.
    reject_on_worker_lost: bool | None = _setting("task_reject_on_worker_lost")
    #: Seconds after which it is stopped for good, or ``SoftTimeLimitExceeded`` is raised in it.
    time_limit: float | None = _setting("task_time_limit")
    soft_time_limit: float | None = _setting("task_soft_time_limit")
    #: Keep no result.
    ignore_result: bool | None = _setting("task_ignore_result")
    track_started: bool | None = _setting("task_track_started")
    #: Seconds from sending, or a moment, after which it is not begun any more.
    expires: float | timedelta | datetime | None = None
    #: 0 to 9, 9 the most urgent.
    priority: int | None = _setting("task_default_priority")
    #: How many of it one worker may begin: ``'10/s'``, ``'100/m'``, ``'5/h'`` or a number a second;
    #: 0 for no limit.
    rate_limit: str | float | None = _setting("task_default_rate_limit")
    #: The queue it is sent to.
    queue: str | None = None
    #: ``json`` or ``msgpack``.
    serializer: str | None = _setting("task_serializer")
    #: What the arguments are made smaller with: ``gzip``, ``bzip2``, ``lzma`` or ``zstd``.
    compression: str | None = _setting("task_compression")
    #: Keep failures of a task whose results are not kept.
    store_errors_even_if_ignored: bool | None = _setting("task_store_errors_even_if_ignored")
    #: Validate arguments that are annotated with a pydantic model, and dump a returned one.
    pydantic: bool = False
    #: Convert nothing; what ``info.context`` holds besides app and task; of ``model_dump()``.
    pydantic_strict: bool = False
    pydantic_context: Mapping[str, Any] | None = None
    pydantic_dump_kwargs: Mapping[str, Any] | None = None
    #: Characters of a result that its log line shows.
    resultrepr_maxsize: int = 1024
    #: Keep results of eager runs in the store, too.
    store_eager_result: bool | None = _setting("task_store_eager_result")
    #: Arguments that are never shown: True for all, or their names. Logs, errors, events and
    #: listings then have ``***`` in their place; the message itself holds them.
    sensitive: bool | Sequence[str] = False
    #: Remember what it sends: ``AsyncResult.children``.
    trail: bool = True
    #: Exceptions that are expected: logged in one line, without a traceback.
    throws: tuple[type[BaseException], ...] = ()
    #: Check arguments against the function's signature when it is sent.
    typing: bool | None = _setting("strict_typing")
    #: Celery's class attribute for base classes; it means nothing here.
    abstract: ClassVar[bool] = True

    MaxRetriesExceededError: ClassVar[type[MaxRetriesExceededError]] = MaxRetriesExceededError
    #: What sending raises if the store is away: ``except add.OperationalError:``.
    OperationalError: ClassVar[type[OperationalError]] = OperationalError

    #: Set by the decorator: the function, and whether it takes the task as first argument.
    __wrapped__: Callable[..., Any]
    bound: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, fallback in _FROM_SETTINGS.items():
            if name in cls.__dict__ and cls.__dict__[name] is None:
                setattr(cls, name, fallback)

    if TYPE_CHECKING:

        def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
            """The task's body."""
            ...
    else:

        def run(self, *args, **kwargs):  # noqa: ANN002, ANN003, ANN201 - typed above
            """The task's body: the decorated function, or what a class of yours defines."""
            raise NotImplementedError(f"task {self.name!r} defines no run()")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here and now, like the function it was made of."""
        run = running.get()
        if run is not None and run.owner is self and run.entering:
            # The runner called a __call__ of the application's, which has called this one.
            run.entering = False
            result: R = self.run(*args, **kwargs)
            return result
        token = enter(Context(args=args, kwargs=kwargs), self)
        try:
            return self.run(*args, **kwargs)
        finally:
            leave(token)

    # -- sending -------------------------------------------------------------------------------

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send it with these arguments; return at once, once the store has it.

        An ``apply_async`` of the application's own, of a base class or put on this task, is asked.
        """
        if type(self).apply_async is not _APPLY_ASYNC or "apply_async" in self.__dict__:
            return self.apply_async(args, kwargs)
        return self._send(args, kwargs, _NONE)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Send it with options.

        Args:
            args: positional arguments, a list or tuple.
            kwargs: keyword arguments.
            task_id: its id; by default a new one.
            options: ``countdown`` (seconds) or ``eta`` (datetime, without a zone in the setting
                ``timezone``), ``expires`` (seconds or datetime), ``queue``, ``priority`` (0 to
                9), ``time_limit`` and ``soft_time_limit`` (seconds), ``ignore_result``,
                ``serializer``, ``headers`` (plain data for ``self.request.headers``), ``retry``
                and ``retry_policy`` (for a store that is away), ``link`` and ``link_error`` (a
                signature, or several, to run once it has succeeded or failed), ``stamped_headers``
                (names of stamps, each an option of its own then).

        Raises:
            TypeError: wrong arguments for the function, or an unknown option.
            ValueError: a value that an option cannot have, times that contradict each other.
            EncodeError: an argument cannot be serialised; the text says which.
            PayloadTooLarge: the arguments are larger than ``payload_max``.
            OperationalError: the store did not acknowledge it within ``publish_timeout``.
            NotInThisVersion: an option of Celery's that is not built.
        """
        if task_id is not None:
            options["task_id"] = task_id
        return self._send(*checked_call(args, kwargs), options)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send it like :meth:`delay` without blocking the event loop."""
        return await self._asend(args, kwargs, _NONE)

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Send it like :meth:`apply_async` without blocking the event loop."""
        if task_id is not None:
            options["task_id"] = task_id
        return await self._asend(*checked_call(args, kwargs), options)

    def _send(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> AsyncResult[R]:
        app = self.app
        if not options:
            form = self.plain_form()
            if form is not None and not app.sends_in_its_own_way():
                return self._send_plain(form, args, kwargs)
        conf = app.conf
        typing = self._said[0]
        if conf.strict_typing if typing is None else typing:
            self.arguments.check(args, kwargs)
        if options and not FLOW_OPTIONS.isdisjoint(options):
            from celeriac.flows import send_call

            return cast("AsyncResult[R]", send_call(app, self, args, kwargs, options))
        if conf.task_always_eager:
            from celeriac.eager import send_here

            return send_here(self, args, kwargs, options)
        if app.sends_in_its_own_way():
            return app.send_task(self.name, args, kwargs, **options)
        client = app.client
        message = client.message(self.name, args, kwargs, self.defaults, options)
        if options:
            client.send((message,), options.get("retry"), options.get("retry_policy"))
        else:
            client.send((message,))
        header = message.header
        result: AsyncResult[R] = AsyncResult(
            header.id, app, not self.keeps_result(header.ignore_result)
        )
        if header.parent and options.get("add_to_parent", True):
            note_child(result)
        return result

    def _send_plain(
        self, form: Form, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncResult[R]:
        """:meth:`_send` of a call that *form* holds for."""
        app = self.app
        client = app.client
        message = client.plain(form, args, kwargs)
        client.send((message,))
        header = message.header
        result: AsyncResult[R] = AsyncResult(header.id, app, form.ignored)
        if header.parent:
            note_child(result)
        return result

    def plain_form(self) -> Form | None:
        """What its plain calls have in common, as task and settings are now; None if nothing."""
        conf = self.app.conf
        settled = conf.settled
        kept: tuple[object, Form | None] | None = self.__dict__.get("_formed")
        if kept is None or kept[0] is not settled:
            kept = settled, None if conf.task_always_eager else form_of(self)
            self.__dict__["_formed"] = kept
        return kept[1]

    async def _asend(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> AsyncResult[R]:
        own = type(self).apply_async is not _APPLY_ASYNC or "apply_async" in self.__dict__
        flow = options and not FLOW_OPTIONS.isdisjoint(options)
        if self.app.conf.task_always_eager and not own and not flow:
            from celeriac.eager import asend_here

            return await asend_here(self, args, kwargs, options)
        import asyncio

        if own:
            return await asyncio.to_thread(self.apply_async, args, kwargs, **options)
        return await asyncio.to_thread(self._send, args, kwargs, options)

    def apply(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        link: Any = None, link_error: Any = None, task_id: str | None = None, retries: int = 0,
        throw: bool | None = None, logfile: str | None = None, loglevel: int | None = None,
        headers: Mapping[str, Any] | None = None, **options: Any,
    ) -> EagerResult[R]:  # fmt: skip
        """Run it here as a worker would: with handlers, retries (without waiting) and a request.

        Arguments and result go through the serializer, options are those of :meth:`apply_async`.
        *throw* raises what the task raises; None means as ``task_eager_propagates`` says.
        *retries* is how often it counts as repeated already. *logfile* and *loglevel* are put on
        ``self.request``.
        """
        from celeriac.eager import apply_here

        given = {"link": link, "link_error": link_error, "task_id": task_id, "headers": headers}
        options |= {name: value for name, value in given.items() if value is not None}
        shown = {"logfile": logfile, "loglevel": loglevel}
        return apply_here(self, *checked_call(args, kwargs), options, throw, retries, shown)

    # -- signatures ----------------------------------------------------------------------------

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Return the call as a value: ``add.s(2, 2)``."""
        return Signature.of_call(self, args, kwargs, immutable=False)

    def si(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Return the call as a value that takes no more arguments."""
        return Signature.of_call(self, args, kwargs, immutable=True)

    def signature(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Signature[R]:
        """Return the call as a value, with options of ``apply_async`` (and ``immutable``)."""
        immutable = bool(options.pop("immutable", False))
        return Signature(self, args, kwargs, options, immutable=immutable, app=self.app)

    subtask = signature

    def AsyncResult(self, task_id: str) -> AsyncResult[R]:  # noqa: N802 - Celery's name
        """Return the result object of a call that was sent."""
        return AsyncResult(task_id, self.app)

    # -- what others ask of it -----------------------------------------------------------------

    @cached_property
    def arguments(self) -> Arguments:
        """What its function accepts."""
        function = self.__dict__.get("__wrapped__")
        if function is None:
            return Arguments(self.run)
        left: Collection[str] = ()
        if self.pydantic:
            from celeriac.app.models import model_parameters

            left = model_parameters(function)
        return Arguments(function, skip_first=self.bound, leave=left)

    @cached_property
    def defaults(self) -> Defaults:
        """How it is sent where a call does not say.

        Raises ``ValueError`` if its soft time limit is above the hard one.
        """
        self._limits()
        expires = self.expires
        if isinstance(expires, timedelta):
            expires = expires.total_seconds()
        return Defaults(
            queue=self.queue or "",
            priority=self.said("priority"),
            expires=expires,
            time_limit=self.said("time_limit"),
            soft_time_limit=self.said("soft_time_limit"),
            serializer=self.said("serializer") or "",
            compression=self.said("compression") or "",
            mask=self.mask,
        )

    @cached_property
    def mask(self) -> Mask | None:
        """What hides its ``sensitive`` arguments; None if it has none.

        Raises ``ValueError`` if they name no parameter.
        """
        if not self.sensitive:
            return None
        try:
            return self.arguments.mask(self.sensitive)
        except ValueError as error:
            raise ValueError(f"the task {self.name!r}: {error}") from None

    def _limits(self) -> tuple[float | None, float | None]:
        """Soft and hard time limit in seconds, the settings' where the task has none."""
        return limits_of(
            self.name, self.said("soft_time_limit"), self.said("time_limit"), self.app.conf
        )

    def said(self, option: str) -> Any:
        """What the task says itself of an option that may come from the settings, or None."""
        own = self.__dict__
        return own[option] if option in own else getattr(type(self), option)

    @cached_property
    def _said(self) -> tuple[bool | None, bool | None]:
        """What it says itself of ``typing`` and ``ignore_result``; each call asks."""
        return self.said("typing"), self.said("ignore_result")

    def keeps_result(self, asked: bool | None = None) -> bool:
        """Whether the result of a call is kept; *asked* is the call's own ``ignore_result``."""
        app = self.app
        return keeps(asked, self._said[1], app.conf.task_ignore_result, app.keeps_results)

    def overrides(self, handler: str) -> bool:
        """Whether a class of the application defines *handler* anew."""
        return getattr(type(self), handler) is not getattr(Task, handler)

    def facts(self) -> TaskFacts:
        """Return what supervisor and store must know of it without running its code.

        Raises ``ValueError`` if its soft time limit is above the hard one.
        """
        conf = self.app.conf
        soft, hard = self._limits()
        requeue = self.reject_on_worker_lost
        return TaskFacts(
            late=conf.task_acks_late if self.acks_late is None else self.acks_late,
            requeue_lost=conf.task_reject_on_worker_lost if requeue is None else requeue,
            max_crashes=conf.max_crashes,
            time_limit=hard,
            soft_time_limit=soft,
            ignore_result=not self.keeps_result(),
            retry_on_time_limit=waits_on_time_limit(self),
            hooks=any(map(self.overrides, ("on_failure", "on_retry", "after_return")))
            or signals.task_failure.has_listeners(self)
            or signals.task_retry.has_listeners(self),
            rate_limit=rate_of(self.name, self.rate_limit, conf),
            sensitive=self.mask is not None,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if value is None and name in _FROM_SETTINGS and getattr(type(self), name) is None:
            self.__dict__.pop(name, None)
        else:
            super().__setattr__(name, value)
        for kept in ("defaults", "mask", "_said", "_formed"):
            self.__dict__.pop(kept, None)  # worked out anew from the options

    if not TYPE_CHECKING:  # type checkers shall find names that are not there

        def __getattr__(self, name: str) -> Any:
            raise missing("task", name, LATER_MEMBERS)

    def __repr__(self) -> str:
        return f"<@task: {self.name} of {self.app.main or 'app'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from celeriac.app.current import find_task

        return find_task, (self.name,)


#: Ours, whatever a test puts in its place.
_APPLY_ASYNC: Final = Task.apply_async
_FROM_SETTINGS.update((name, at) for name, at in vars(Task).items() if isinstance(at, _Setting))


class AsyncTask(Task[P, R]):
    """A task made of an ``async def`` function: calling it returns a coroutine."""

    if TYPE_CHECKING:

        def __call__(  # type: ignore[override]  # the one thing that differs
            self, *args: P.args, **kwargs: P.kwargs
        ) -> Coroutine[Any, Any, R]:
            """Return the coroutine, like the function it was made of."""
            ...
