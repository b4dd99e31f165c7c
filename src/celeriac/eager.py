"""Eager runs: a task in the process that calls it, with everything but the queue.

Layer 4; for ``Task.apply()`` and ``task_always_eager``. A call becomes the message it would have
been sent as, the runner that executors use runs what can be read of it, and the result is what
could be read of what would have been stored: what fails in production fails here. Left out are
waiting, the store, and the hard time limit, which only another process can enforce.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from socket import gethostname
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from celeriac import states
from celeriac.bodies import unseal
from celeriac.checks import check_callable
from celeriac.context import Context, current, last_word
from celeriac.declined import check_on_message, check_options
from celeriac.exceptions import TaskRevokedError
from celeriac.failures import capture
from celeriac.here import Here
from celeriac.message import Message
from celeriac.outcome import Outcome
from celeriac.progress import Progress
from celeriac.records import Delivery, Record, StoredResult
from celeriac.result import AsyncResult
from celeriac.runner import REPEATED, Prepared, our_frames
from celeriac.serialization import decode

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.app.task import Task

__all__ = [
    "Eager",
    "EagerResult",
    "EagerRun",
    "apply_here",
    "asend_here",
    "send_here",
    "value_of",
]

R_co = TypeVar("R_co", covariant=True)


def apply_here(
    task: Task[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
    throw: bool | None = None,
    retries: int = 0,
    fields: Mapping[str, Any] | None = None,
) -> EagerResult[Any]:
    """Run a call of *task* in this process, repeats included, without waiting: ``apply()``.

    Args:
        task: whose call it is.
        args: positional arguments.
        kwargs: keyword arguments.
        options: those of ``apply_async``.
        throw: raise what the task raises; None means as ``task_eager_propagates`` says.
        retries: how often it counts as repeated already.
        fields: more of ``self.request``.
    """
    check_options(options, "apply()", task.app)
    trial = _Trial(task, _message(task, args, kwargs, options), retries, fields, sent=False)
    trial.run()
    return trial.result(throw)


def send_here(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> EagerResult[Any]:
    """Run what was to be sent (``task_always_eager``); its arguments are checked already."""
    trial = _Trial(task, _message(task, args, kwargs, options))
    trial.run()
    return trial.result()


async def asend_here(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> EagerResult[Any]:
    """Run what was to be sent, an ``async def`` task in this loop, another one in a thread."""
    if task.app.conf.strict_typing if task.typing is None else task.typing:
        task.arguments.check(args, kwargs)
    trial = _Trial(task, _message(task, args, kwargs, options))
    await trial.arun()
    return trial.result()


def _message(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> Message:
    return task.app.client.message(task.name, args, kwargs, task.defaults, options)


class _Trial:
    """One call, through all its runs."""

    def __init__(
        self,
        task: Task[..., Any],
        message: Message,
        retries: int = 0,
        fields: Mapping[str, Any] | None = None,
        *,
        sent: bool = True,
    ) -> None:
        self._task = task
        self._sent = sent
        self._header = message.header
        self._delivery = Delivery(
            message.header.id, retries + 1, "", message.encode(), message.header.queue, retries
        )
        self._waits: list[float] = []
        self._outcome: Outcome | None = None
        self._runner = Eager(task.app, fields or {})

    def run(self) -> None:
        """Run until there is nothing to repeat."""
        try:
            while self._again(self._runner.run(self._delivery)):
                pass
        finally:
            self._runner.close()

    async def arun(self) -> None:
        """Run until there is nothing to repeat, in the caller's loop."""
        while self._again(await self._runner.arun(self._delivery)):
            pass

    def _again(self, outcome: Outcome) -> bool:
        """Keep *outcome*; prepare the repeat if it asks for one."""
        self._outcome = outcome
        if outcome.state not in REPEATED or outcome.charge != "retry":
            return False
        before = self._delivery
        due = outcome.eta
        now = self._task.app.client.wall()
        self._waits.append(float(outcome.delay) if due is None else max(0.0, due - now))
        self._delivery = msgspec.structs.replace(
            before,
            attempt=before.attempt + 1,
            retries=before.retries + 1,
            wire=outcome.message or before.wire,
        )
        return True

    def result(self, throw: bool | None = None) -> EagerResult[Any]:
        """Return what came of it, or raise it."""
        app, task, outcome, runner = self._task.app, self._task, self._outcome, self._runner
        assert outcome is not None, "it has run"
        context = runner.context
        run = EagerRun(
            args=() if context is None else tuple(context.args),
            kwargs={} if context is None else dict(context.kwargs),
            queue=self._header.queue,
            retries=self._delivery.retries,
            waits=tuple(self._waits),
            children=tuple(runner.children),
            sent=self._sent,
            progress=None if context is None else last_word(context),
        )
        asked = task.store_eager_result
        if app.conf.task_store_eager_result if asked is None else asked:
            _store(app, self._header.id, outcome, run.retries)
        value = value_of(app, self._header.id, outcome, runner.error)
        text = None
        if isinstance(value, BaseException) and outcome.state == states.FAILED:
            text = capture(value, skip=our_frames(value)).traceback
            if context is not None and context.hider is not None:
                text = context.hider(text)  # the exception itself stays what was raised
        state = states.visible(outcome.state)
        made: EagerResult[Any] = EagerResult(
            self._header.id, value, state, text, task.name, run=run, app=app
        )
        outer = current()
        if outer is not None and isinstance(outer.trail, list):
            outer.trail.append(made)
        propagate = app.conf.task_eager_propagates if throw is None else throw
        if propagate and outcome.state == states.FAILED and isinstance(value, BaseException):
            raise value
        return made


def value_of(app: Celeriac, id: str, outcome: Outcome, error: BaseException | None) -> Any:
    """Return what ``get()`` returns or raises: a value as it could be read, *error* itself."""
    if outcome.state == states.EXPIRED:
        return TaskRevokedError("expired")
    if outcome.state == states.SKIPPED:
        return None
    if outcome.state != states.SUCCEEDED:
        return error
    body = None if outcome.body is None else unseal(outcome.body, id, app.signer)
    content = None if body is None else body.content()
    if body is None or content is None:
        return None
    conf = app.conf
    return decode(body.serializer, content, conf.result_accept_content or conf.accept_content)


def _store(app: Celeriac, id: str, outcome: Outcome, retries: int) -> None:
    """Keep the result where ``AsyncResult(id)`` finds it. Ends are kept, repeats are not."""
    if not outcome.terminal:
        return
    stored = StoredResult(
        id, outcome.state, retries, outcome.body, outcome.reason, app.client.wall()
    )
    app.results.put_many([stored])


class Eager(Here):
    """The runner of ``apply()``. What it ran in is kept on it, too."""

    def __init__(self, app: Celeriac, fields: Mapping[str, Any]) -> None:
        super().__init__(app, gethostname())
        self._fields = fields
        self.context: Context | None = None
        #: Results of what the task sent, or ran eagerly itself.
        self.children: list[AsyncResult[Any]] = []

    def _begin(self, delivery: Delivery) -> Outcome | tuple[Prepared, Context]:
        begun = super()._begin(delivery)
        if not isinstance(begun, Outcome):
            self.context = begun[1]
            self.context.__dict__.update(self._fields, is_eager=True, trail=self.children)
        return begun


class EagerRun(msgspec.Struct, frozen=True):
    """What an :class:`EagerResult` knows besides value and state."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    queue: str | None = None
    retries: int = 0
    #: Seconds that a worker would have waited before each repeat.
    waits: tuple[float, ...] = ()
    children: tuple[Any, ...] = ()
    sent: bool = False
    progress: Progress | None = None


_NO_RUN = EagerRun()


class EagerResult(AsyncResult[R_co], Generic[R_co]):
    """The result of a run in this process: ``task.apply()`` or ``task_always_eager``.

    It holds the value as a caller would have read it, or the exception itself.
    """

    #: Celery's flag for stores that join many results in one call.
    supports_native_join: bool = False

    def __init__(
        self,
        id: str,
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
        *,
        run: EagerRun = _NO_RUN,
        app: Celeriac | None = None,
    ) -> None:
        super().__init__(id, app)
        self._of = name
        self._text = traceback
        self._held = ret_value
        self._state = state
        self._run = run
        self._done = datetime.now(UTC)

    @property
    def state(self) -> str:
        """The state in which the run ended."""
        return self._state

    status = state

    @property
    def result(self) -> Any:
        """The value, or the exception."""
        return self._held

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback as text if the task failed."""
        return self._text

    @property
    def date_done(self) -> datetime:
        """When the run ended, in UTC."""
        return self._done

    @property
    def name(self) -> str | None:
        """The task's name."""
        return self._of

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments of the last run."""
        return self._run.args

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments of the last run."""
        return self._run.kwargs

    @property
    def queue(self) -> str | None:
        """The queue it would have been sent to."""
        return self._run.queue

    @property
    def retries(self) -> int:
        """How often it was repeated on request."""
        return self._run.retries

    @property
    def waits(self) -> tuple[float, ...]:
        """Seconds that a worker would have waited before each repeat."""
        return self._run.waits

    @property
    def progress(self) -> Progress | None:
        """What its last run said last by ``self.progress()``; None if it has not."""
        return self._run.progress

    @property
    def children(self) -> list[AsyncResult[Any]]:
        """Results of the tasks that it sent, or ran eagerly itself, in that order."""
        return list(self._run.children)

    @property
    def worker(self) -> None:
        """None: no worker ran it."""
        return None

    def ready(self) -> bool:
        """Return True: the run is over."""
        return True

    def exists(self) -> bool:
        """Return True: it is here."""
        return True

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
        """Return the value, or raise the exception (with *propagate* False: return it).

        Inside a task it is refused if it was to be sent (``task_always_eager``): a worker would
        refuse it, too. What ``apply()`` returned may be read anywhere.
        """
        check_on_message(on_message)
        if self._run.sent:
            self._refuse_inside_task(disable_sync_subtasks)
        if propagate and self._state != states.SUCCESS and isinstance(self._held, BaseException):
            raise self._held
        value = cast(R_co, self._held)
        if callback is not None:
            callback(self.id, value)
        return value

    wait = get

    def then(
        self,
        callback: Callable[[AsyncResult[R_co]], Any],
        on_error: Callable[[AsyncResult[R_co]], Any] | None = None,
        weak: bool = False,
    ) -> EagerResult[R_co]:
        """Call *callback* with this result at once, or *on_error* if the task has not succeeded."""
        check_callable(callback, "callback")
        check_callable(on_error, "on_error", optional=True)
        told = callback if self.successful() else on_error
        if told is not None:
            told(self)
        return self

    async def aget(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - the name that get() has
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
    ) -> R_co:
        """Return at once what :meth:`get` does."""
        return self.get(propagate=propagate, disable_sync_subtasks=disable_sync_subtasks)

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[..., Any] | None = None
    ) -> Any:
        """Raise what the task raised; return its result."""
        if callback is not None:
            callback(self.id, self._held)
        if propagate and self._state in states.PROPAGATE_STATES:
            raise self._held
        return self._held

    throw = maybe_throw

    def forget(self) -> None:
        """Do nothing: nothing is stored."""

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """Make :meth:`get` raise ``TaskRevokedError``; the run itself is over."""
        self._state = states.REVOKED
        self._held = TaskRevokedError("revoked")

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.id, self._held, self._state, self._text, self._of, self._run)

    def _read(self) -> StoredResult | None:
        return None

    def _record(self) -> Record | None:
        return None


def _again(
    id: str, value: Any, state: str, text: str | None, name: str | None, run: EagerRun
) -> EagerResult[Any]:
    """Make a result of what one was pickled as."""
    return EagerResult(id, value, state, text, name, run=run)
