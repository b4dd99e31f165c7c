"""Results: what came of a call, seen from the caller.

Layer 4. An :class:`AsyncResult` is an id and the app whose store knows it; it reads when asked
and keeps what cannot change any more. Its sister ``EagerResult`` is in ``eager``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast
from weakref import ref

from celeriac import states
from celeriac.checks import check_callable
from celeriac.context import allow_join_result, current, denied_join_result
from celeriac.declined import check_on_message
from celeriac.ends import RAISES, arguments_of, body_of, meaning_of, progress_of
from celeriac.exceptions import ResultNotFound, TimeoutError
from celeriac.later import absent, missing
from celeriac.lineage import Lineage
from celeriac.progress import Progress
from celeriac.records import Record, StoredResult
from celeriac.waits import Wait

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.eager import EagerResult
    from celeriac.groupresult import GroupResult, result_from_tuple
    from celeriac.resultset import ResultSet

__all__ = [
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultSet",
    "allow_join_result",
    "denied_join_result",
    "refuse_inside_task",
    "result_from_tuple",
]

R_co = TypeVar("R_co", covariant=True)

#: What Celery's results have besides, and what to do instead.
_LATER: Final = {
    "backend": "Results are read from app.results.",
}


class AsyncResult(Lineage, Generic[R_co]):
    """The result of a call that was sent: ask it for state and value.

    Args:
        id: the task's id.
        app: whose store knows it; by default the current app.
        ignored: the call asked that its result be dropped; ``get()`` then returns None.
        parent: in a workflow, the result of the task, or of the group, before it.
    """

    def __init__(
        self, id: str, app: Celeriac | None = None, ignored: bool = False, parent: Any = None
    ) -> None:
        _check_id(id)
        self.id = id
        self.ignored = ignored
        #: In a workflow: the result of the task, or of the group, before this one.
        self.parent: Any = parent
        self._app = app
        self._ended: StoredResult | None = None

    @property
    def app(self) -> Celeriac:
        """The app whose store knows the task."""
        if self._app is None:
            from celeriac.app.current import get_current_app

            self._app = get_current_app()
        return self._app

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.id

    # -- waiting -------------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        follow_parents: bool = True,
        disable_sync_subtasks: bool = True,
        no_ack: bool = True,
        callback: Callable[..., Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        on_message: None = None,
    ) -> R_co:
        """Wait until the task has ended and return what it returned.

        Args:
            timeout: seconds to wait at most; None waits for as long as it takes.
            propagate: raise what the task raised. False returns the exception instead.
            interval: seconds between two calls of *on_interval*; without it of no meaning, since
                the store wakes whoever waits.
            follow_parents: without meaning for a single task.
            disable_sync_subtasks: refuse to wait inside a task.
            no_ack: without meaning here.
            callback: called with id and value before the value is returned.
            on_interval: called every *interval* seconds while it waits.
            on_message: refused by name, unless it is None: there are no messages on the way.

        Raises:
            ResultNotFound: no such task is known; it never was, or its record has expired. Or
                ``forget()`` has dropped its result.
            TimeoutError: it had not ended in time; the text says what it is doing, or that the
                store is away. Also a built-in ``TimeoutError``.
            OperationalError: the store cannot be reached and never was by this process. One that
                goes away is waited for, for as long as *timeout* says, and the log tells so.
            TaskFailed: the task failed. Also an instance of the class it raised, where that is a
                common built-in or one the app knows (``app.register_exception``, ``throws``,
                ``autoretry_for``).
            TaskRevokedError: it was revoked or expired.
            RuntimeError: this is inside a task, which would keep its executor busy.
        """
        check_on_message(on_message)
        refuse_inside_task(self.id, disable_sync_subtasks)
        ended = self._ended
        if ended is None:
            ended = self._wait(timeout, interval, on_interval)
        value = self._value(ended, propagate)
        if callback is not None:
            callback(self.id, value)
        return value

    wait = get

    def then(
        self,
        callback: Callable[[AsyncResult[R_co]], Any],
        on_error: Callable[[AsyncResult[R_co]], Any] | None = None,
        weak: bool = False,
    ) -> AsyncResult[R_co]:
        """Call *callback* with this result once the task has succeeded, *on_error* if it has not.

        The call comes from another thread, and only as long as this process lives: what must
        happen belongs into a task. What the callback raises is logged. With *weak* the result is
        forgotten where nobody else keeps it. Returns this result.
        """
        from celeriac.watcher import watch

        check_callable(callback, "callback")
        check_callable(on_error, "on_error", optional=True)
        known: Callable[[], AsyncResult[R_co] | None] = ref(self) if weak else lambda: self

        def ended(found: StoredResult | None) -> None:
            result = known()
            if result is None:
                return
            told = callback if found is not None and result.successful() else on_error
            if told is not None:
                told(result)

        watch(self.app, self.id, ended)
        return self

    async def aget(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - the name that get() has
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
    ) -> R_co:
        """Wait like :meth:`get` without blocking the event loop; ``await result`` is the same."""
        import asyncio

        refuse_inside_task(self.id, disable_sync_subtasks)
        ended = self._ended
        if ended is None:
            wait = Wait(self.app, self.id, timeout)
            found = await wait.end()
            if not found:
                raise await asyncio.to_thread(wait.timed_out)
            ended = self.keep(found[self.id])
        return self._value(ended, propagate)

    def __await__(self) -> Generator[Any, None, R_co]:
        return self.aget().__await__()

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[..., Any] | None = None
    ) -> Any:
        """Raise what the task raised if it has ended so; return its result."""
        found = self._read()
        value = self._result(found)
        if callback is not None:
            callback(self.id, value)
        if propagate and isinstance(value, BaseException) and self.state in states.PROPAGATE_STATES:
            raise value
        return value

    throw = maybe_throw
    #: What :meth:`get` raises when time is up: ``except result.TimeoutError``.
    TimeoutError = TimeoutError
    #: Waiting for many is one read here.
    supports_native_join = True

    # -- reading -------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """The state, one of ``celeriac.states`` or one set by ``update_state``.

        ``PENDING`` also where no such task is known; :meth:`get` tells the two apart.
        """
        found = self._read()
        if found is None:
            return states.PENDING
        return states.visible(found.state, found.retries, found.custom_state)

    status = state

    @property
    def result(self) -> Any:
        """The value, the exception if it failed, the metadata of ``update_state``, or None."""
        return self._result(self._read())

    info = result

    @property
    def progress(self) -> Progress | None:
        """What its last run said last by ``self.progress()``; None as long as it has not.

        It stays when the task has ended, and tells how far it came, unless its result is dropped.
        """
        return progress_of(self.app, self._read())

    @property
    def traceback(self) -> str | None:
        """The traceback as text if the task failed, from the process that ran it."""
        body = body_of(self.app, self._read())
        return body.failure.traceback or None if body is not None and body.failure else None

    @property
    def date_done(self) -> datetime | None:
        """When it ended, in UTC; None before."""
        found = self._read()
        if found is None or found.ended_at is None:
            return None
        return datetime.fromtimestamp(found.ended_at, UTC)

    @property
    def retries(self) -> int:
        """How often it was repeated on request."""
        found = self._read()
        return 0 if found is None else found.retries

    @property
    def name(self) -> str | None:
        """The task's name, None if no such task is known."""
        record = self._record()
        return None if record is None else record.task

    @property
    def queue(self) -> str | None:
        """The queue it was sent to."""
        record = self._record()
        return None if record is None else record.queue

    @property
    def args(self) -> Any:
        """The positional arguments it was sent with."""
        return arguments_of(self.app, self._record())[0]

    @property
    def kwargs(self) -> Any:
        """The keyword arguments it was sent with."""
        return arguments_of(self.app, self._record())[1]

    @property
    def worker(self) -> str | None:
        """The name of the worker that has it or had it last; None as long as none had."""
        record = self._record()
        return None if record is None else record.worker

    def ready(self) -> bool:
        """Whether it has ended, however."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Whether it has ended well."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Whether it has failed."""
        return self.state == states.FAILURE

    async def aready(self) -> bool:
        """:meth:`ready` without blocking the event loop."""
        import asyncio

        return await asyncio.to_thread(self.ready)

    def exists(self) -> bool:
        """Whether the store knows the task."""
        return self._read() is not None

    # -- acting --------------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop the result, and those of the tasks before it in its chain. Nothing happens to a
        task that has not ended."""
        from celeriac.groupresult import tasks_of_all

        line = {self.id: self} if self.parent is None else tasks_of_all(self)
        for each in line.values():
            each.drop()
        self.app.results.forget([*line])

    async def aforget(self) -> None:
        """:meth:`forget` without blocking the event loop."""
        import asyncio

        await asyncio.to_thread(self.forget)

    def revoke(
        self,
        connection: None = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """See that the task does not run, or not again, nor what was to run before it and has not.

        If it runs, it is left to end, unless *terminate* says to end it with *signal*, by name
        (default ``SIGTERM``). *connection*, *wait* and *timeout* are Celery's, and without meaning:
        the store keeps the revoke, and has it when this returns.
        """
        ids: Any = self.id
        if self.parent is not None:
            from celeriac.groupresult import tasks_of_all

            ids = [*tasks_of_all(self)]
        self.app.control.revoke(ids, terminate=terminate, signal=signal)

    def revoke_by_stamped_headers(
        self, headers: Mapping[str, Any], connection: None = None, terminate: bool = False,
        signal: str | None = None, wait: bool = False, timeout: float | None = None,
    ) -> None:  # fmt: skip
        """Revoke tasks by stamps, whether this is one of them or not; see the same of
        ``app.control``. *connection*, *wait* and *timeout* are as for :meth:`revoke`."""
        self.app.control.revoke_by_stamped_headers(headers, terminate=terminate, signal=signal)

    async def arevoke(self, terminate: bool = False, signal: str | None = None) -> None:
        """:meth:`revoke` without blocking the event loop."""
        import asyncio

        await asyncio.to_thread(self.revoke, terminate=terminate, signal=signal)

    # -- data ----------------------------------------------------------------------------------

    def as_tuple(self) -> tuple[tuple[str, Any], None]:
        """Return Celery's plain form, ``((id, parent), None)``; see ``result_from_tuple``."""
        from celeriac.groupresult import tuple_of

        return cast("tuple[tuple[str, Any], None]", tuple_of(self))

    def as_list(self) -> list[str]:
        """Return its id, and the ids of those before it, in a list."""
        from celeriac.groupresult import ids_of_line

        return ids_of_line(self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return bool(other.id == self.id)
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.parent is None:
            return type(self), (self.id, None, self.ignored)
        return _unpickled, (self.as_tuple(), self.ignored)

    if not TYPE_CHECKING:  # type checkers shall find names that are not there

        def __getattr__(self, name: str) -> Any:
            raise missing("result", name, _LATER)

    # -- private -------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether it is known to have ended; asks nobody."""
        return self._ended is not None

    @property
    def raises(self) -> bool:
        """Whether it is known to have ended in a way that :meth:`get` raises; asks nobody."""
        ended = self._ended
        return ended is not None and (ended.forgotten or ended.state in RAISES)

    def keep(self, found: StoredResult | None) -> StoredResult:
        """Keep what the store says of its end; raises ``ResultNotFound`` for nothing."""
        if found is None:
            raise ResultNotFound(self.id)
        self._ended = found
        return found

    def drop(self) -> None:
        """Keep nothing: the store is to be asked again."""
        self._ended = None

    def _read(self) -> StoredResult | None:
        if self._ended is not None:
            return self._ended
        found = self.app.results.get_many([self.id])[0]
        if found is not None and found.state in states.TERMINAL:
            self._ended = found
        return found

    def _wait(
        self, timeout: float | None, interval: float, on_interval: Callable[[], Any] | None
    ) -> StoredResult:
        wait = Wait(self.app, self.id, timeout)
        while not (found := wait.step(None if on_interval is None else interval)):
            if wait.over:
                raise wait.timed_out()
            if on_interval is not None:
                on_interval()
        return self.keep(found[self.id])

    def _value(self, ended: StoredResult, propagate: bool) -> R_co:
        if ended.forgotten:
            raise ResultNotFound(self.id, forgotten=True)
        value = self._result(ended)
        if propagate and ended.state in RAISES:
            raise value
        return cast(R_co, value)

    def _result(self, found: StoredResult | None) -> Any:
        return meaning_of(self.app, found)

    def _record(self) -> Record | None:
        return self.app.store.inspection.get([self.id])[0]


def refuse_inside_task(what: str, disabled: bool) -> None:
    """Raise ``RuntimeError`` inside a task that is about to wait for *what*, another one's id."""
    run = current()
    if disabled and run is not None and not run.called_directly and not run.joins_allowed:
        raise RuntimeError(
            f"Task {run.task}[{run.id}] waits for the result of another task ({what}). "
            "It would keep its executor busy meanwhile, and if all do so nobody is left to "
            "run the other. Send what comes next from the other task, or say that it is "
            "meant: get(disable_sync_subtasks=False)"
        )


def _unpickled(value: Any, ignored: bool) -> Any:
    """Make a result with those before it of what it was pickled as."""
    from celeriac.groupresult import result_from_tuple

    made = result_from_tuple(value)
    made.ignored = ignored
    return made


def _check_id(id: object) -> None:
    if not isinstance(id, str) or not id:
        raise ValueError(f"a result needs the id of a task, not {id!r}")


_LATER_NAMES: Final = {
    "ResultBase": "Results are AsyncResult, GroupResult and EagerResult.",
    "assert_will_not_block": "get() refuses inside a task by itself.",
}


def __getattr__(name: str) -> object:
    if name == "EagerResult":  # it comes with the runner, which a client does not need
        from celeriac.eager import EagerResult

        return EagerResult
    if name in {"GroupResult", "ResultSet", "result_from_tuple"}:
        from celeriac import groupresult

        return getattr(groupresult, name)
    raise absent(__name__, name, _LATER_NAMES)
