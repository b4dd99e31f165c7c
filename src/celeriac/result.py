"""Results: what came of a call, seen from the caller.

Layer 4. An :class:`AsyncResult` is an id and the app whose store knows it; it reads when asked
and keeps what cannot change any more. Its sister ``EagerResult`` is in ``eager``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast
from weakref import ref

from celeriac import states
from celeriac.checks import check_callable
from celeriac.context import allow_join_result, current, denied_join_result
from celeriac.declined import check_on_message
from celeriac.ends import RAISES, arguments_of, body_of, meaning_of, progress_of
from celeriac.exceptions import (
    IncompleteStream,
    ResultNotFound,
)
from celeriac.later import absent, missing
from celeriac.progress import Progress
from celeriac.records import Record, StoredResult
from celeriac.waits import Wait

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.eager import EagerResult

__all__ = ["AsyncResult", "EagerResult", "allow_join_result", "denied_join_result"]

R_co = TypeVar("R_co", covariant=True)

_FLOWS: Final = "Workflows are not in this version."
#: What Celery's results have besides, and what to do instead.
_LATER: Final = {
    **dict.fromkeys(("graph", "build_graph"), _FLOWS),
    "revoke_by_stamped_headers": "Revoke by id: app.control.revoke([…]).",
    "backend": "Results are read from app.results.",
}


class AsyncResult(Generic[R_co]):
    """The result of a call that was sent: ask it for state and value.

    Args:
        id: the task's id.
        app: whose store knows it; by default the current app.
        ignored: the call asked that its result be dropped; ``get()`` then returns None.
    """

    def __init__(self, id: str, app: Celeriac | None = None, ignored: bool = False) -> None:
        _check_id(id)
        self.id = id
        self.ignored = ignored
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
        self._refuse_inside_task(disable_sync_subtasks)
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

        self._refuse_inside_task(disable_sync_subtasks)
        ended = self._ended
        if ended is None:
            wait = Wait(self.app, self.id, timeout)
            found = await wait.end()
            if not found:
                raise await asyncio.to_thread(wait.timed_out)
            ended = self._keep(found[self.id])
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

    @property
    def children(self) -> list[AsyncResult[Any]] | None:
        """Results of the tasks that it sent, in that order; None as long as it has not ended.

        At most 1000 are kept, and none where its result is not kept, its option ``trail`` is
        False, or they were sent with ``add_to_parent=False``.
        """
        found = self._read()
        if found is None or found.state not in states.TERMINAL:
            return None
        body = body_of(self.app, found)
        return [AsyncResult(id, self.app) for id in body.children] if body is not None else []

    @property
    def parent(self) -> None:
        """None: workflows are not in this version."""
        return None

    def iterdeps(
        self, intermediate: bool = False
    ) -> Iterator[tuple[AsyncResult[Any] | None, AsyncResult[Any]]]:
        """Yield this result and those of all tasks that came of it, each behind its parent.

        Raises ``IncompleteStream`` at one that has not ended, unless *intermediate*: then what it
        may still send is left out.
        """
        waiting: deque[tuple[AsyncResult[Any] | None, AsyncResult[Any]]] = deque([(None, self)])
        while waiting:
            parent, node = waiting.popleft()
            yield parent, node
            children = node.children
            if children is None and not intermediate:
                raise IncompleteStream(f"task {node.id} has not ended, and may still send others")
            waiting.extend((node, child) for child in children or ())

    def collect(
        self, intermediate: bool = False, **options: Any
    ) -> Iterator[tuple[AsyncResult[Any], Any]]:
        """Yield (result, value) of this task and of all that came of it, waiting for each.

        *options* are those of :meth:`get`.
        """
        waiting: deque[AsyncResult[Any]] = deque([self])
        while waiting:
            node = waiting.popleft()
            yield node, node.get(**options)
            waiting.extend(node.children or ())

    def get_leaf(self) -> Any:
        """Return the value of the last task that came of this one."""
        return deque(self.collect(), maxlen=1)[0][1]

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
        """Drop the result. Nothing happens to a task that has not ended."""
        self._ended = None
        self.app.results.forget([self.id])

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
        """See that the task does not run, or not again.

        If it runs, it is left to end, unless *terminate* says to end it with *signal*, by name
        (default ``SIGTERM``). *connection*, *wait* and *timeout* are Celery's, and without meaning:
        the store keeps the revoke, and has it when this returns.
        """
        self.app.control.revoke(self.id, terminate=terminate, signal=signal)

    async def arevoke(self, terminate: bool = False, signal: str | None = None) -> None:
        """:meth:`revoke` without blocking the event loop."""
        import asyncio

        await asyncio.to_thread(self.revoke, terminate=terminate, signal=signal)

    # -- data ----------------------------------------------------------------------------------

    def as_tuple(self) -> tuple[tuple[str, None], None]:
        """Return Celery's plain form, ``((id, parent), children)``."""
        return (self.id, None), None

    def as_list(self) -> list[str]:
        """Return the id in a list."""
        return [self.id]

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
        return type(self), (self.id, None, self.ignored)

    if not TYPE_CHECKING:  # type checkers shall find names that are not there

        def __getattr__(self, name: str) -> Any:
            raise missing("result", name, _LATER)

    # -- private -------------------------------------------------------------------------------

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
        return self._keep(found[self.id])

    def _keep(self, found: StoredResult | None) -> StoredResult:
        if found is None:
            raise ResultNotFound(self.id)
        self._ended = found
        return found

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

    def _refuse_inside_task(self, disabled: bool) -> None:
        run = current()
        if disabled and run is not None and not run.called_directly and not run.joins_allowed:
            raise RuntimeError(
                f"Task {run.task}[{run.id}] waits for the result of another task ({self.id}). "
                "It would keep its executor busy meanwhile, and if all do so nobody is left to "
                "run the other. Send what comes next from the other task, or say that it is "
                "meant: get(disable_sync_subtasks=False)"
            )


def _check_id(id: object) -> None:
    if not isinstance(id, str) or not id:
        raise ValueError(f"a result needs the id of a task, not {id!r}")


_LATER_NAMES: Final = {
    **dict.fromkeys(("GroupResult", "ResultSet"), "Keep the AsyncResult objects in a list."),
    **dict.fromkeys(("ResultBase", "result_from_tuple"), ""),
    "assert_will_not_block": "get() refuses inside a task by itself.",
}


def __getattr__(name: str) -> object:
    if name == "EagerResult":  # it comes with the runner, which a client does not need
        from celeriac.eager import EagerResult

        return EagerResult
    raise absent(__name__, name, _LATER_NAMES)
