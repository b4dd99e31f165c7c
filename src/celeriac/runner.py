"""The runner: from a delivery to an outcome, running the task in between.

Layer 4. Executors use it in worker processes, ``eager`` in the caller's. It holds no lease and
writes to no store: what came of a run is returned as a value. Whatever user code raises, the
runner returns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from celeriac import policies, signals, states
from celeriac.bodies import compressed, seal
from celeriac.calls import Calls, is_taken
from celeriac.clock import SYSTEM
from celeriac.context import Context, Update, children_of, enter, from_delivery, last_word, leave
from celeriac.exceptions import (
    CeleryError,
    EncodeError,
    Ignore,
    ImproperlyConfigured,
    InvalidTaskError,
    NotRegistered,
    OperationalError,
    Reject,
    ResultTooLarge,
)
from celeriac.failures import (
    ExceptionInfo,
    capture,
    describe,
    from_reason,
    our_frames,
    shown,
)
from celeriac.logs import TASK
from celeriac.message import Header, decode
from celeriac.outcome import Failure, Outcome, ResultBody
from celeriac.policies.base import Policy
from celeriac.policies.predicates import put_back
from celeriac.prepared import Prepared
from celeriac.records import Delivery
from celeriac.sensitive import Hider
from celeriac.serialization import encode as encode_value
from celeriac.upstream import Reader

if TYPE_CHECKING:
    import asyncio

    from celeriac.app.base import Celeriac
    from celeriac.app.task import Task

__all__ = ["REPEATED", "Limiter", "Runner"]

#: Makes the context manager that raises ``SoftTimeLimitExceeded`` after so many seconds.
Limiter = Callable[[float], AbstractContextManager[None]]

log: Final = logging.getLogger(TASK)
_monotonic: Final = SYSTEM.monotonic

_REPR_MAX: Final = 1024
_STARTS: Final = tuple(
    each for each in policies.DEFAULT if type(each).on_start is not Policy.on_start
)
_ERRORS: Final = tuple(
    each for each in policies.DEFAULT if type(each).on_error is not Policy.on_error
)
_NO_RUN: Final = Context()
REPEATED: Final = frozenset({states.SCHEDULED, states.QUEUED, states.WAITING})


class Runner:
    """Runs deliveries for one executor.

    Args:
        app: whose tasks these are.
        hostname: the worker's name, for ``self.request.hostname``.
        update: writes a state set by ``update_state``; None where there is nowhere to write.
        limiter: raises the soft time limit in synchronous tasks; None where that cannot be done.
        reader: where what a call takes from other ones is read; by default the app's stores.
    """

    def __init__(
        self,
        app: Celeriac,
        hostname: str = "",
        *,
        update: Update | None = None,
        limiter: Limiter | None = None,
        reader: Reader | None = None,
    ) -> None:
        self._app = self.app = app
        self._calls = Calls(app, reader)
        self.hostname = hostname
        self._update = update
        self._limiter = limiter
        self._prepared: dict[str, Prepared] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- runs ----------------------------------------------------------------------------------

    def run(self, delivery: Delivery) -> Outcome:
        """Run *delivery* to its end, on this thread; an ``async def`` task on our own loop."""
        begun = self._begin(delivery)
        if isinstance(begun, Outcome):
            return begun
        prepared, context = begun
        token = enter(context, prepared.task)
        if prepared.hearers.prerun:
            prepared.hearers.begins(context)
        started = _monotonic()
        try:
            try:
                value = self._call(prepared, context)
            except BaseException as error:  # noqa: BLE001 - a task may raise anything
                return self._failed(prepared, context, error)
            return self._succeeded(prepared, context, value, started)
        finally:
            leave(token)

    async def arun(self, delivery: Delivery) -> Outcome:
        """Run *delivery* as a coroutine; a synchronous task in a thread."""
        import asyncio

        from celeriac.softlimit import was_cancelled

        begun = self._begin(delivery)
        if isinstance(begun, Outcome):
            return begun
        prepared, context = begun
        token = enter(context, prepared.task)
        if prepared.hearers.prerun:
            prepared.hearers.begins(context)
        started = _monotonic()
        try:
            try:
                if prepared.is_async:
                    value = await self._await(prepared, context)
                else:
                    value = await asyncio.to_thread(self._call, prepared, context)
            except BaseException as error:
                if was_cancelled(error):
                    raise
                return self._failed(prepared, context, error)
            return self._succeeded(prepared, context, value, started)
        finally:
            leave(token)

    def read(self, delivery: Delivery) -> tuple[Task[..., Any], Context]:
        """Return whose call *delivery* is, and the context that a run of it would have.

        Raises ``CeleryError`` for what is no message, or of a name that is not known here.
        """
        message = decode(delivery.wire)
        header = message.header
        task = self._app.tasks[header.task]
        context = from_delivery(delivery, header, self.hostname, *self._calls.as_sent(delivery))
        context.owner = task
        context.ahead = self._calls.ahead(header)
        if task.mask is not None:
            given = (0,) if header.edges is None else header.edges.given
            context.hider = task.mask.behind(given).hider(context.args, context.kwargs)
        return task, context

    def run_hook(self, delivery: Delivery, outcome: Outcome) -> None:
        """Call the handlers of a task whose executor died, for what the supervisor decided."""
        try:
            task, context = self.read(delivery)
            args, kwargs = self._calls.arguments(task, delivery, decode(delivery.wire))
        except Exception as problem:  # noqa: BLE001 - a message or module may be anything
            log.error("No handler was called for task %s: %s", delivery.id, describe(problem))
            return
        context.args, context.kwargs = args, kwargs
        prepared = self._current(task.name)
        reason = outcome.reason
        if reason.startswith("Retry "):
            reason = reason.partition(": ")[2]
        error = from_reason(reason, "WorkerLostError")
        token = enter(context, prepared.task)
        try:
            if outcome.charge == "retry" and outcome.state in REPEATED:
                prepared.hearers.retried(context, error, outcome.delay, lost=True)
            elif outcome.state in {states.FAILED, states.DEAD}:
                prepared.hearers.failed(context, error, ExceptionInfo(error, reason), lost=True)
        finally:
            leave(token)

    def close(self) -> None:
        """End the event loop, if one was needed, and what tasks have left running on it."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        loop.run_until_complete(_cancel_all(loop))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    # -- before --------------------------------------------------------------------------------

    def _begin(self, delivery: Delivery) -> Outcome | tuple[Prepared, Context]:
        """Return what to run, or the outcome of what cannot be."""
        try:
            message = decode(delivery.wire)
            header = message.header
            prepared = self._current(header.task)
        except CeleryError as error:
            self._tell_unfit(delivery, error)
            return self._refused(delivery, error)
        try:
            args, kwargs = self._calls.arguments(prepared.task, delivery, message)
        except Exception as error:  # noqa: BLE001 - a class that arguments become may raise anything
            blank = Context(id=header.id, task=header.task, hider=self._hider(prepared, delivery))
            token = enter(blank, prepared.task)  # so that the error tells nothing that is hidden
            try:
                if isinstance(error, OperationalError):
                    return self._out_of_reach(delivery, error)
                refused = self._refused(delivery, error, prepared)
                self._tell_refused(prepared, delivery, header, error)
            finally:
                leave(token)
            return refused
        context = from_delivery(delivery, header, self.hostname, args, kwargs)
        if header.edges is not None:
            context.ahead = self._calls.ahead(header)
        if header.edges is not None and header.edges.given != (0,):
            context.given = len(args) - len(self._calls.as_sent(delivery)[0])
        if prepared.mask is not None:
            context.hider = self._hider(prepared, delivery, context)
        context.write = self._update
        context.ignore_result = self._ignored(prepared, header)
        now = self._app.client.wall()
        for policy in _STARTS:
            outcome = policy.on_start(prepared.task, context, now)
            if outcome is not None:
                log.info("Discarding task %s[%s]: %s", header.task, header.id, outcome.reason)
                return outcome
        return prepared, context

    def _hider(
        self, prepared: Prepared, delivery: Delivery, context: Context | None = None
    ) -> Hider | None:
        """What takes out of texts the arguments that the task hides; all, if there is no *context*
        because they do not fit the task, so that nobody knows which they are."""
        if prepared.mask is None:
            return None
        args, kwargs = self._calls.as_sent(delivery)
        if context is None:
            return Hider((args, kwargs))
        return prepared.mask.hider((*context.args[: context.given], *args), kwargs)

    def _current(self, name: str) -> Prepared:
        """What is known of the task *name*, worked out anew if receivers came or went."""
        prepared = self._prepared.get(name)
        if prepared is None or prepared.hearers.version != signals.version():
            prepared = self._prepared[name] = Prepared(self._app.tasks[name])
        return prepared

    def _refused(
        self, delivery: Delivery, error: BaseException, prepared: Prepared | None = None
    ) -> Outcome:
        """The outcome of a delivery that cannot be run: its message or name is not good."""
        log.error("Task %s cannot be run: %s", delivery.id, describe(error))
        keep = self._app.keeps_results and (prepared is None or not prepared.ignored)
        return Outcome(
            states.FAILED,
            body=self._failure_body(capture(error), delivery.id) if keep else None,
            keep=keep,
            reason=describe(error),
        )

    def _out_of_reach(self, delivery: Delivery, error: OperationalError) -> Outcome:
        """The outcome where what a call takes from others cannot be read, since the store is away:
        its body has not begun, and may when the store is back."""
        log.warning("Task %s cannot begin yet, it is put back: %s", delivery.id, describe(error))
        return put_back(delivery.attempt, f"not begun: {describe(error)}")

    def _failure_body(self, failure: Failure, id: str, run: Context = _NO_RUN) -> bytes:
        """The stored form of *failure*, without its traceback if it would be refused for size."""
        whole = ResultBody(failure=failure, children=children_of(run), progress=last_word(run))
        body = seal(whole, id, self._app.signer)
        if len(body) <= self._app.conf.result_max:
            return body
        short = Failure(failure.type[:200], failure.message[:200])
        return seal(ResultBody(failure=short), id, self._app.signer)

    # -- the body ------------------------------------------------------------------------------

    def _call(self, prepared: Prepared, context: Context) -> Any:
        """Run the task's body and return what it returned."""
        if prepared.before:
            prepared.task.before_start(context.id or "", context.args, context.kwargs)
        soft = context.soft_time_limit or prepared.soft
        if prepared.is_async:
            return self._on_loop(prepared, context)
        context.entering = prepared.custom
        if soft is None or self._limiter is None:
            return prepared.call(*context.args, **context.kwargs)
        with self._limiter(soft):
            return prepared.call(*context.args, **context.kwargs)

    def _on_loop(self, prepared: Prepared, context: Context) -> Any:
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(self._coroutine(prepared, context))

    async def _await(self, prepared: Prepared, context: Context) -> Any:
        if prepared.before:
            prepared.task.before_start(context.id or "", context.args, context.kwargs)
        return await self._coroutine(prepared, context)

    async def _coroutine(self, prepared: Prepared, context: Context) -> Any:
        from celeriac.softlimit import limited

        context.entering = prepared.custom
        soft = context.soft_time_limit or prepared.soft
        coroutine = prepared.call(*context.args, **context.kwargs)
        return await (coroutine if soft is None else limited(coroutine, soft))

    # -- after ---------------------------------------------------------------------------------

    def _ignored(self, prepared: Prepared, header: Header) -> bool:
        if header.ignore_result is None:
            return prepared.ignored
        return not prepared.task.keeps_result(header.ignore_result)

    def _succeeded(
        self, prepared: Prepared, context: Context, value: Any, started: float
    ) -> Outcome:
        if context.asked is not None:  # retry(throw=False): the repeat was asked for
            return self._failed(prepared, context, context.asked)
        if context.replaced is not None:  # replace() was called, and its exception kept back
            return self._failed(prepared, context, Ignore())
        runtime = _monotonic() - started
        id = context.id or ""
        outcome = Outcome(states.SUCCEEDED, keep=False)
        if not context.ignore_result or is_taken(context.header):
            try:
                data = encode_value(prepared.serializer, value, "result")
                whole = ResultBody(
                    prepared.serializer, data, None, children_of(context), "", last_word(context)
                )
                if prepared.compression:
                    whole = compressed(whole, prepared.compression, id)
                body = seal(whole, id, self._app.signer)
                most = self._app.conf.result_max  # of the body, as the store counts
                if len(body) > most:
                    raise ResultTooLarge(len(body), most, id)
            except (EncodeError, ImproperlyConfigured, ResultTooLarge) as error:
                return self._failed(prepared, context, error)
            outcome = Outcome(states.SUCCEEDED, body, keep=not context.ignore_result)
        if context.added is not None:
            outcome = context.added.joined_to(outcome)
        if prepared.hearers.at_success:
            prepared.hearers.succeeded(context, value, runtime)
        if log.isEnabledFor(logging.INFO):
            text = _shown(value, prepared.repr_max)
            log.info("Task %s[%s] succeeded in %.6gs: %s", context.task, id, runtime, text)
        return outcome

    def _failed(self, prepared: Prepared, context: Context, error: BaseException) -> Outcome:
        """Ask the policies what becomes of a run that raised; a failure if none of them knows, or
        one of them raises: options and exceptions are user code's, and must not end an executor."""
        try:
            outcome = _decided(prepared.task, context, error)
        except BaseException as problem:  # noqa: BLE001 - it becomes the failure
            return self._failure(prepared, context, problem)
        if outcome is None:
            return self._failure(prepared, context, error)
        self._repeated(prepared, context, error, outcome)
        return outcome

    def _failure(self, prepared: Prepared, context: Context, error: BaseException) -> Outcome:
        """Keep *error*, log it and tell those who want to hear of it."""
        failure = capture(error, skip=our_frames(error))
        keep = prepared.keep_errors or not context.ignore_result
        id = context.id or ""
        self._log_failure(prepared, context, error, failure.traceback)
        if prepared.hearers.at_failure:
            prepared.hearers.failed(context, error, ExceptionInfo(error, failure.traceback))
        return Outcome(
            states.FAILED,
            body=self._failure_body(failure, id, context) if keep else None,
            keep=keep,
            reason=describe(error),
        )

    def _repeated(
        self, prepared: Prepared, context: Context, error: BaseException, outcome: Outcome
    ) -> None:
        """Log, and call handlers, for an end that is not a failure."""
        name, id = context.task, context.id
        hearers = prepared.hearers
        if isinstance(error, Ignore):
            what = "ignored" if outcome.state == states.SKIPPED else "replaced"
            log.info("Task %s[%s] %s", name, id, what)
            hearers.ended(context, states.IGNORED, error)
        elif isinstance(error, Reject):
            if outcome.state == states.SCHEDULED:
                log.warning(
                    "Task %s[%s] rejected and put back, due in %.1f s", name, id, outcome.delay
                )
            else:
                log.info("Task %s[%s] rejected", name, id)
            hearers.ended(context, states.REJECTED, error)
        else:
            log.info("Task %s[%s] retry: %s", name, id, outcome.reason)
            if hearers.at_retry:
                hearers.retried(context, error, outcome.delay)

    def _log_failure(
        self, prepared: Prepared, context: Context, error: BaseException, text: str
    ) -> None:
        name, id = context.task, context.id
        if isinstance(error, prepared.task.throws):
            log.info("Task %s[%s] raised expected: %s", name, id, shown(error))
        else:
            log.error(
                "Task %s[%s] raised unexpected: %s\n%s", name, id, shown(error), text.rstrip()
            )

    # -- those who hear of what cannot be run -----------------------------------------------------

    def _tell_unfit(self, delivery: Delivery, error: CeleryError) -> None:
        """What came is no message, or of a name that is not known here."""
        if isinstance(error, NotRegistered):
            message = decode(delivery.wire)
            name = message.header.task
            signals.task_unknown.send(self, message=message, exc=error, name=name, id=delivery.id)
        else:
            signals.task_rejected.send(self, message=delivery.wire, exc=error)

    def _tell_refused(
        self, prepared: Prepared, delivery: Delivery, header: Header, error: BaseException
    ) -> None:
        """The task is known, and cannot be called with what came: a run that fails at once."""
        if isinstance(error, InvalidTaskError):
            signals.task_rejected.send(self, message=decode(delivery.wire), exc=error)
        hearers = prepared.hearers
        if not (hearers.at_failure or hearers.prerun):
            return
        context = from_delivery(delivery, header, self.hostname, *self._calls.as_sent(delivery))
        token = enter(context, prepared.task)
        try:
            hearers.begins(context)
            hearers.failed(context, error, ExceptionInfo(error, capture(error).traceback))
        finally:
            leave(token)


def _decided(task: Task[..., Any], context: Context, error: BaseException) -> Outcome | None:
    """What the first policy that knows says of a run that ended with *error*."""
    for policy in _ERRORS:
        outcome = policy.on_error(task, context, error)
        if outcome is not None:
            return outcome
    return None


async def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    import asyncio

    left = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for each in left:
        each.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _shown(value: Any, most: int = _REPR_MAX) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a repr may raise anything
        return f"<unprintable {type(value).__qualname__}>"
    return text if len(text) <= most else f"{text[:most]}…"
