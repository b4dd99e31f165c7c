"""Results: what came of a call, seen from the caller.

Layer 4. An :class:`AsyncResult` is an id and the app whose store knows it; it reads when asked
and keeps what cannot change any more. Its sister ``EagerResult`` is in ``eager``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from celeriac import states
from celeriac.bodies import unseal
from celeriac.client import verify
from celeriac.clock import SYSTEM
from celeriac.context import allow_join_result, current
from celeriac.exceptions import (
    ResultNotFound,
    Retry,
    TimeoutError,
)
from celeriac.failures import from_reason, revive
from celeriac.later import absent, missing
from celeriac.message import decode as decode_message
from celeriac.outcome import ResultBody
from celeriac.records import Record, StoredResult
from celeriac.serialization import decode

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.eager import EagerResult

__all__ = ["AsyncResult", "EagerResult", "allow_join_result"]

R_co = TypeVar("R_co", covariant=True)

#: How long an ``aget()`` holds a thread at a time; a cancelled one lets it go after this long.
_SLICE: Final = 1.0

_FLOWS: Final = "Workflows are not in this version."
#: What Celery's results have besides, and what to do instead.
_LATER: Final = {
    **dict.fromkeys(("collect", "get_leaf", "iterdeps", "graph", "build_graph"), _FLOWS),
    "then": "Let the task send what comes next, or await the result.",
    "revoke_by_stamped_headers": "Revoke by id: app.control.revoke([…]).",
    **dict.fromkeys(("backend", "supports_native_join", "throw"), ""),
}

_FALLBACKS: Final = {
    states.FAILED: "TaskFailed",
    states.DEAD: "DeadTaskError",
    states.CANCELLED: "TaskRevokedError",
    states.EXPIRED: "TaskRevokedError",
    states.REFUSED: "Reject",
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
    ) -> R_co:
        """Wait until the task has ended and return what it returned.

        Args:
            timeout: seconds to wait at most; None waits for as long as it takes.
            propagate: raise what the task raised. False returns the exception instead.
            interval: without meaning here; the store wakes whoever waits.
            follow_parents: without meaning for a single task.
            disable_sync_subtasks: refuse to wait inside a task.

        Raises:
            ResultNotFound: no such task is known; it never was, or its record has expired. Or
                ``forget()`` has dropped its result.
            TimeoutError: it had not ended in time; the text says what it is doing. Also a
                built-in ``TimeoutError``.
            TaskFailed: the task failed. Also an instance of the class it raised, where that is a
                common built-in or one the app knows (``app.register_exception``, ``throws``,
                ``autoretry_for``).
            TaskRevokedError: it was revoked or expired.
            RuntimeError: this is inside a task, which would keep its executor busy.
        """
        self._refuse_inside_task(disable_sync_subtasks)
        ended = self._ended
        if ended is None:
            found = self.app.store.results.wait([self.id], timeout)
            if self.id not in found:
                raise self._timed_out(timeout)
            ended = self._keep(found[self.id])
        return self._value(ended, propagate)

    wait = get

    async def aget(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - the name that get() has
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
    ) -> R_co:
        """Wait like :meth:`get` without blocking the event loop; ``await result`` is the same."""
        import asyncio

        self._refuse_inside_task(disable_sync_subtasks)
        deadline = None if timeout is None else SYSTEM.monotonic() + timeout
        while self._ended is None:
            left = _SLICE if deadline is None else min(_SLICE, deadline - SYSTEM.monotonic())
            found = await asyncio.to_thread(self.app.store.results.wait, [self.id], max(0.0, left))
            if self.id in found:
                self._keep(found[self.id])
            elif deadline is not None and SYSTEM.monotonic() >= deadline:
                raise await asyncio.to_thread(self._timed_out, timeout)
        return self._value(self._ended, propagate)

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
    def traceback(self) -> str | None:
        """The traceback as text if the task failed, from the process that ran it."""
        body = self._body(self._read())
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
        return self._arguments()[0]

    @property
    def kwargs(self) -> Any:
        """The keyword arguments it was sent with."""
        return self._arguments()[1]

    @property
    def worker(self) -> str | None:
        """The name of the worker that holds it, while one does."""
        record = self._record()
        if record is None or record.owner is None:
            return None
        views = self.app.store.inspection.workers()
        return next((each.manifest.hostname for each in views if each.owner == record.owner), None)

    @property
    def children(self) -> None:
        """None: workflows are not in this version."""
        return None

    @property
    def parent(self) -> None:
        """None: workflows are not in this version."""
        return None

    def ready(self) -> bool:
        """Whether it has ended, however."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Whether it has ended well."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Whether it has failed."""
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """Whether the store knows the task."""
        return self._read() is not None

    # -- acting --------------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop the result. Nothing happens to a task that has not ended."""
        self._ended = None
        self.app.store.results.forget([self.id])

    def revoke(self, terminate: bool = False, signal: str | None = None) -> None:
        """See that the task does not run, or not again.

        If it runs, it is left to end, unless *terminate* says to end it with *signal*, by name
        (default ``SIGTERM``).
        """
        self.app.control.revoke(self.id, terminate=terminate, signal=signal)

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
        found = self.app.store.results.get_many([self.id])[0]
        if found is not None and found.state in states.TERMINAL:
            self._ended = found
        return found

    def _keep(self, found: StoredResult | None) -> StoredResult:
        if found is None:
            raise ResultNotFound(self.id)
        self._ended = found
        return found

    def _body(self, found: StoredResult | None) -> ResultBody | None:
        if found is None or found.body is None:
            return None
        return unseal(found.body, self.id, self.app.signer)

    def _value(self, ended: StoredResult, propagate: bool) -> R_co:
        if ended.forgotten:
            raise ResultNotFound(self.id, forgotten=True)
        value = self._result(ended)
        if propagate and ended.state in _FALLBACKS:
            raise value
        return cast(R_co, value)

    def _result(self, found: StoredResult | None) -> Any:
        if found is None:
            return None
        if found.state in states.TERMINAL:
            return self._outcome(found)
        if found.custom_state is not None and found.meta is not None:
            return self._loaded(unseal(found.meta, self.id, self.app.signer))
        if found.retries and found.reason:
            return Retry(found.reason)
        return None

    def _outcome(self, ended: StoredResult) -> Any:
        body = self._body(ended)
        if body is not None and body.failure is not None and ended.state == states.FAILED:
            return revive(body.failure, self.app.known_exception)
        if ended.state in _FALLBACKS:
            failed = ended.state in {states.FAILED, states.DEAD}
            return from_reason(ended.reason, _FALLBACKS[ended.state], failed)
        if body is None or body.value is None or ended.state != states.SUCCEEDED:
            return None
        return self._loaded(body)

    def _loaded(self, body: ResultBody) -> Any:
        conf = self.app.conf
        accept = conf.result_accept_content or conf.accept_content
        return None if body.value is None else decode(body.serializer, body.value, accept)

    def _record(self) -> Record | None:
        return self.app.store.inspection.get([self.id])[0]

    def _arguments(self) -> tuple[Any, Any]:
        record = self._record()
        if record is None or record.wire is None:
            return None, None
        message = decode_message(record.wire)
        verify(message, self.app.signer)
        accept = self.app.conf.accept_content
        args, kwargs = decode(message.header.serializer, message.payload, accept)
        return args, kwargs

    def _timed_out(self, timeout: float | None) -> TimeoutError:
        from celeriac.control.inspect import situation
        from celeriac.control.why import explain

        text = f"Task {self.id} had not ended after {timeout:g} s."
        seen = situation(self.app.store, self.id, self.app.client.wall())
        return TimeoutError(text if seen is None else f"{text} {explain(seen).reason}")

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
}


def __getattr__(name: str) -> object:
    if name == "EagerResult":  # it comes with the runner, which a client does not need
        from celeriac.eager import EagerResult

        return EagerResult
    raise absent(__name__, name, _LATER_NAMES)
