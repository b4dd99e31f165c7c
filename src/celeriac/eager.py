"""Eager runs: a task in the process that calls it, with everything but the queue.

Layer 4; for ``Task.apply()`` and ``task_always_eager``. A call becomes the message it would have
been sent as, the runner that executors use runs what can be read of it, and the result is what
could be read of what would have been stored: what fails in production fails here. Left out are
waiting, the store, and the hard time limit, which only another process can enforce.
"""

from __future__ import annotations

from collections.abc import Mapping
from socket import gethostname
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from celeriac import states
from celeriac.bodies import unseal
from celeriac.context import Context, current, last_word
from celeriac.declined import FLOW_OPTIONS, check_options
from celeriac.eagerresult import EagerResult, EagerRun
from celeriac.exceptions import TaskRevokedError
from celeriac.failures import capture, our_frames
from celeriac.here import Here
from celeriac.message import Message
from celeriac.outcome import Outcome
from celeriac.prepared import Prepared
from celeriac.records import Delivery, StoredResult
from celeriac.result import AsyncResult
from celeriac.runner import REPEATED
from celeriac.serialization import decode
from celeriac.upstream import Reader

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.app.task import Task

__all__ = [
    "Eager",
    "EagerResult",
    "EagerRun",
    "Trial",
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
    if not FLOW_OPTIONS.isdisjoint(options):
        from celeriac.flows import apply_call

        made: EagerResult[Any] = apply_call(task, args, kwargs, options, throw)
        return made
    check_options(options, "apply()", task.app)
    trial = Trial(task, _message(task, args, kwargs, options), retries, fields, sent=False)
    trial.run()
    return trial.result(throw)


def send_here(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> EagerResult[Any]:
    """Run what was to be sent (``task_always_eager``); its arguments are checked already."""
    trial = Trial(task, _message(task, args, kwargs, options))
    trial.run()
    return trial.result()


async def asend_here(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> EagerResult[Any]:
    """Run what was to be sent, an ``async def`` task in this loop, another one in a thread."""
    if task.app.conf.strict_typing if task.typing is None else task.typing:
        task.arguments.check(args, kwargs)
    trial = Trial(task, _message(task, args, kwargs, options))
    await trial.arun()
    return trial.result()


def _message(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> Message:
    return task.app.client.message(task.name, args, kwargs, task.defaults, options)


class Trial:
    """One call, through all its runs."""

    def __init__(
        self,
        task: Task[..., Any],
        message: Message,
        retries: int = 0,
        fields: Mapping[str, Any] | None = None,
        *,
        sent: bool = True,
        reader: Reader | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        self._task = task
        self._sent = sent
        self._header = message.header
        self._delivery = delivery or Delivery(
            message.header.id, retries + 1, "", message.encode(), message.header.queue, retries
        )
        self._waits: list[float] = []
        self._outcome: Outcome | None = None
        self._runner = Eager(task.app, fields or {}, reader)

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

    @property
    def outcome(self) -> Outcome:
        """What came of the last run."""
        assert self._outcome is not None, "it has run"
        return self._outcome

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

    def __init__(
        self, app: Celeriac, fields: Mapping[str, Any], reader: Reader | None = None
    ) -> None:
        super().__init__(app, gethostname(), reader=reader)
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
