"""Eager runs: a task in the process that calls it, with everything but the queue.

Layer 4; for ``Task.apply()`` and ``task_always_eager``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celeriac import states
from celeriac.clock import SYSTEM
from celeriac.context import Context, enter, leave
from celeriac.exceptions import TaskRevokedError
from celeriac.failures import capture
from celeriac.ids import new_task_id
from celeriac.outcome import Outcome
from celeriac.result import EagerResult
from celeriac.runner import REPEATED, Prepared, Runner, our_frames

if TYPE_CHECKING:
    from celeriac.app.task import Task

__all__ = ["Eager", "run_here"]


def run_here(
    task: Task[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    task_id: str | None,
    throw: bool | None,
    retries: int = 0,
    headers: Mapping[str, Any] | None = None,
) -> EagerResult[Any]:
    """Run *task* in this process, repeats included and without waiting for them."""
    app = task.app
    runner = Eager(app, "localhost")
    propagate = app.conf.task_eager_propagates if throw is None else throw
    id = task_id or new_task_id()
    try:
        while True:
            context = Context(
                id=id, task=task.name, args=args, kwargs=kwargs, retries=retries,
                attempt=retries + 1, called_directly=False, is_eager=True, hostname="localhost",
                root_id=id, headers=headers, ignore_result=not task.keeps_result(),
            )  # fmt: skip
            outcome, value = runner.run_context(task, context)
            if outcome.state in REPEATED:
                retries += outcome.charge == "retry"
                again = context.asked.sig if context.asked is not None else None
                if again is not None:
                    args, kwargs = again.args, again.kwargs
                if outcome.charge == "retry":
                    continue
            break
    finally:
        runner.close()
    if propagate and isinstance(value, BaseException) and outcome.state == states.FAILED:
        raise value
    return _eager(id, task, outcome, value)


def _eager(id: str, task: Task[..., Any], outcome: Outcome, value: Any) -> EagerResult[Any]:
    state = states.visible(outcome.state)
    if outcome.state == states.EXPIRED:
        value = TaskRevokedError("expired")
    text = None
    if isinstance(value, BaseException) and outcome.state == states.FAILED:
        text = capture(value, skip=our_frames(value)).traceback
    return EagerResult(id, value, state, text, task.name)


class Eager(Runner):
    """The runner of ``apply()``: it starts from values and keeps the value itself."""

    def run_context(self, task: Task[..., Any], context: Context) -> tuple[Outcome, Any]:
        """Run *task* in *context*; return the outcome, and the value or the exception."""
        prepared = Prepared(task)
        context.ignore_result = True  # nothing is stored, so nothing encoded
        token = enter(context, task)
        started = SYSTEM.monotonic()
        try:
            try:
                task.arguments.check(context.args, dict(context.kwargs))
                context.args, context.kwargs = task.arguments.convert(
                    tuple(context.args), dict(context.kwargs)
                )
                value = self._call(prepared, context)
            except BaseException as error:
                if isinstance(error, (KeyboardInterrupt, SystemExit)):
                    raise  # this is the caller's process, and these are meant for it
                return self._failed(prepared, context, error), error
            return self._succeeded(prepared, context, value, started), value
        finally:
            leave(token)
