"""Hearers: who is told of a task's runs, its own handlers and the receivers of signals.

Layer 4; for the runner. What is called is worked out once per task, so that a run nobody listens
to costs nothing. Whatever a handler or a receiver raises is logged and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from celeriac import signals, states
from celeriac.exceptions import Retry
from celeriac.failures import ExceptionInfo, capture, shown
from celeriac.logs import TASK

if TYPE_CHECKING:
    from celeriac.app.task import Task
    from celeriac.context import Context
    from celeriac.signals import Signal

__all__ = ["HANDLERS", "Hearers"]

log: Final = logging.getLogger(TASK)

#: The methods of a task that are called at moments of its runs.
HANDLERS: Final = ("before_start", "on_success", "on_failure", "on_retry", "after_return")
_EACH_RUN: Final = (
    "task_prerun", "task_postrun", "task_success", "task_failure", "task_retry",
    "task_internal_error",
)  # fmt: skip


class Hearers:
    """Those who hear of runs of *task*, as long as ``signals.version()`` is *version*."""

    __slots__ = ("at_failure", "at_retry", "at_success", "heard", "prerun", "task", "version")

    def __init__(self, task: Task[..., Any]) -> None:
        self.version = signals.version()
        self.task = task
        #: Names of handlers that are defined, and of signals that somebody is connected to.
        self.heard = frozenset(
            [each for each in HANDLERS if task.overrides(each)]
            + [each for each in _EACH_RUN if getattr(signals, each).has_listeners(task)]
        )
        self.prerun = "task_prerun" in self.heard
        ends = {"after_return", "task_postrun"}
        self.at_success = not self.heard.isdisjoint(ends | {"on_success", "task_success"})
        self.at_failure = not self.heard.isdisjoint(ends | {"on_failure", "task_failure"})
        self.at_retry = not self.heard.isdisjoint({"task_postrun", "on_retry", "task_retry"})

    def begins(self, context: Context) -> None:
        """A run is about to begin."""
        self._send(
            signals.task_prerun, context, task_id=context.id, task=self.task,
            args=context.args, kwargs=context.kwargs,
        )  # fmt: skip

    def succeeded(self, context: Context, value: Any, runtime: float) -> None:
        """The body has returned *value* after *runtime* seconds."""
        if "on_success" in self.heard:
            call = self.task.on_success
            self._call(context, call, value, context.id, context.args, context.kwargs)
        self._send(signals.task_success, context, result=value, runtime=runtime)
        self._after(context, states.SUCCESS, value, None)
        self.ended(context, states.SUCCESS, value)

    def failed(
        self, context: Context, error: BaseException, info: ExceptionInfo, *, lost: bool = False
    ) -> None:
        """The run has failed; *lost*: with its executor, and in another process than this."""
        if "on_failure" in self.heard:
            call = self.task.on_failure
            self._call(context, call, error, context.id, context.args, context.kwargs, info)
        self._send(
            signals.task_failure, context, task_id=context.id, exception=error, args=context.args,
            kwargs=context.kwargs, traceback=error.__traceback__, einfo=info,
        )  # fmt: skip
        self._after(context, states.FAILURE, error, info)
        if not lost:
            self.ended(context, states.FAILURE, error)

    def retried(
        self, context: Context, error: BaseException, wait: float = 0.0, *, lost: bool = False
    ) -> None:
        """The run is to be repeated; *error* is a ``Retry`` or what led to one, *wait* the seconds
        until then where *error* does not say. *lost* as in :meth:`failed`."""
        retry = error if isinstance(error, Retry) else Retry(exc=error, when=wait)
        reason = retry.exc if isinstance(retry.exc, BaseException) else error
        info = ExceptionInfo(reason, capture(reason).traceback)
        if "on_retry" in self.heard:
            call = self.task.on_retry
            self._call(context, call, reason, context.id, context.args, context.kwargs, info)
        self._send(signals.task_retry, context, request=context, reason=retry, einfo=info)
        if not lost:
            self.ended(context, states.RETRY, retry)

    def ended(self, context: Context, state: str, value: Any) -> None:
        """The run is over, whatever came of it."""
        self._send(
            signals.task_postrun, context, task_id=context.id, task=self.task, args=context.args,
            kwargs=context.kwargs, retval=value, state=state,
        )  # fmt: skip

    def _after(self, context: Context, status: str, value: Any, info: ExceptionInfo | None) -> None:
        if "after_return" in self.heard:
            call = self.task.after_return
            self._call(context, call, status, value, context.id, context.args, context.kwargs, info)

    def _send(self, signal: Signal, context: Context, **named: Any) -> None:
        if signal.name not in self.heard:
            return
        try:
            signal.send(self.task, **named)
        except BaseException as error:  # noqa: BLE001 - a receiver may even end the process
            log.error(
                "Task %s[%s]: a receiver of %s raised %s; the task's state stands",
                context.task, context.id, signal.name, shown(error),
            )  # fmt: skip

    def _call(self, context: Context, call: Callable[..., Any], *args: Any) -> None:
        """Call a handler. What it raises is logged and changes nothing."""
        try:
            call(*args)
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything
            text = capture(error, skip=1).traceback
            name = getattr(call, "__name__", "a handler")
            log.error(
                "Task %s[%s]: %s raised %s; the task's state stands\n%s",
                context.task, context.id, name, shown(error), text.rstrip(),
            )  # fmt: skip
            self._send(
                signals.task_internal_error, context, task_id=context.id, args=context.args,
                kwargs=context.kwargs, request=context, exception=error,
                traceback=error.__traceback__, einfo=ExceptionInfo(error, text),
            )  # fmt: skip
