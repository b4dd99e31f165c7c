"""Replay: a recorded task once more, in this process, beside its record.

Layer 4; for ``celeriac replay``. The runner that workers use runs the recorded message; the store
is read and never written to: record, result and whatever waits for them stay as they are. What
the task itself does it does, sending other tasks included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from socket import gethostname
from typing import TYPE_CHECKING, Any

import msgspec

from celeriac import signals, states
from celeriac.app.inside import Inside
from celeriac.client import verify
from celeriac.context import Context
from celeriac.control.flowreading import flow_of
from celeriac.eager import value_of
from celeriac.exceptions import NotReplayable, ResultNotFound, Retry
from celeriac.failures import ExceptionInfo, capture, describe, our_frames
from celeriac.hearers import Hearers
from celeriac.here import Here
from celeriac.message import Edges, Header, compose, decode
from celeriac.outcome import Outcome
from celeriac.prepared import Prepared
from celeriac.records import Delivery, Record
from celeriac.sensitive import Hider

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.app.task import Task

__all__ = ["Recorded", "Replayed", "find", "replay"]

#: Hears a state with its metadata, or None with the progress.
Heard = Callable[[str | None, Any], None]


@dataclass(frozen=True)
class Recorded:
    """A task as it was recorded, ready to be run once more."""

    record: Record
    task: Task[..., Any]
    delivery: Delivery


@dataclass(frozen=True)
class Replayed:
    """What came of a replay. *text* and *traceback* are without what the task hides."""

    outcome: Outcome
    value: Any
    #: What the task raised, None if it returned.
    error: BaseException | None = None
    text: str = ""
    traceback: str = ""
    #: (task, id, queue) of each task that was sent, in that order.
    sent: list[tuple[str, str, str]] = field(default_factory=list)
    context: Context | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the task has returned."""
        return self.outcome.state == states.SUCCEEDED


def find(app: Celeriac, id: str) -> Recorded:
    """Return the recorded task *id*.

    Raises ``ResultNotFound`` for an id that is not known, ``NotReplayable`` if its arguments or its
    inputs are not kept, ``NotRegistered`` for a task that this application does not define,
    ``SecurityError`` for a message that is not signed as it must be.
    """
    record = app.store.inspection.get([id])[0]
    if record is None:
        if flow_of(app.store, id) is not None:
            raise NotReplayable(
                f"{id} is a group, and runs nothing itself: replay one of its members, which "
                f"`celeriac tree {id}` names"
            )
        raise ResultNotFound(id)
    if record.wire is None:
        raise NotReplayable(
            f"Task {id} ({record.task}) has ended as {states.visible(record.state)}, and its "
            "arguments are not kept: of a task whose result is ignored only its end is. Run it "
            f"with arguments of your own: app.tasks[{record.task!r}].apply(args=[…]) in `celeriac "
            "shell`. To have the next ones kept, let the task keep its result (ignore_result=False)"
        )
    message = decode(record.wire)
    verify(message, app.signer)
    header = message.header
    task = app.tasks[header.task]
    if header.edges is not None:
        _check_inputs(app, header, header.edges)
    # What was too late for a worker is what somebody wants to see now.
    unbound = compose(msgspec.structs.replace(header, expires=None), message.payload)
    delivery = Delivery(
        id, max(record.attempt, 1), "", unbound.encode(), record.queue,
        record.retries, record.crashes, record.losses,
    )  # fmt: skip
    return Recorded(record, task, delivery)


def _check_inputs(app: Celeriac, header: Header, edges: Edges) -> None:
    """Raise ``NotReplayable`` unless there is all that the task takes from other parts."""
    results = app.store.results
    what = f"Task {header.id} ({header.task}) takes"
    by_hand = (
        "Replay the task that made it, and run this one with that value: "
        f"app.tasks[{header.task!r}].apply(args=[…]) in `celeriac shell`"
    )
    if edges.takes is not None:
        found = results.get_many([edges.takes])[0]
        whose = f"{what} the result of task {edges.takes}"
        if found is None or (found.state == states.SUCCEEDED and found.body is None):
            raise NotReplayable(f"{whose}, which has expired or was dropped. {by_hand}")
        if found.state != states.SUCCEEDED:
            raise NotReplayable(
                f"{whose}, which is {states.visible(found.state)}: there is no result to take. "
                f"See: celeriac why {edges.takes}"
            )
    if edges.told is not None and app.store.inspection.get([edges.told])[0] is None:
        raise NotReplayable(
            f"Task {header.id} ({header.task}) is told of the end of task {edges.told}, which has "
            f"expired. {by_hand}"
        )
    if edges.gathers is not None:
        members = results.join_results(edges.gathers)
        join = app.store.inspection.join(edges.gathers)
        whose = f"{what} the results of join {edges.gathers}"
        if join is None:
            raise NotReplayable(f"{whose}, which has expired. {by_hand}")
        missing = sum(each is None or each.body is None for each in members)
        if missing or join.size != len(members):
            size = "?" if join.size is None else join.size
            raise NotReplayable(
                f"{whose}, of which {len(members) - missing} of {size} are there: the others "
                f"failed, have not ended, have expired or were dropped. {by_hand}"
            )


def replay(app: Celeriac, recorded: Recorded, heard: Heard, limits: bool = True) -> Replayed:
    """Run *recorded* here, and return what came of it.

    Args:
        app: the application.
        recorded: what :func:`find` returned.
        heard: called with what ``update_state`` and ``progress`` would have shown.
        limits: raise the soft time limit; the hard one is not enforced.
    """
    runner = _Runner(app, heard, limits=limits)
    sent: list[tuple[str, str, str]] = []

    def note_sent(headers: Any = None, routing_key: Any = None, **_: Any) -> None:
        sent.append((headers["task"], headers["id"], routing_key))

    signals.after_task_publish.connect(note_sent, weak=False)
    try:
        outcome = runner.run(recorded.delivery)
    finally:
        signals.after_task_publish.disconnect(note_sent)
        runner.close()
    error = runner.error
    if outcome.state == states.SUCCEEDED or error is None:
        value = value_of(app, recorded.delivery.id, outcome, error)
        return Replayed(outcome, value, sent=sent, context=runner.context)
    cause = _cause(error)
    reason = cause.exc if isinstance(cause, Retry) else None
    text = describe(reason if isinstance(reason, BaseException) else cause)
    traceback = capture(cause, skip=our_frames(cause)).traceback
    hider = _hider(runner, recorded.delivery)
    if hider is not None:
        text, traceback = hider(text), hider(traceback)
    return Replayed(outcome, None, cause, text, traceback, sent, runner.context)


def _hider(runner: _Runner, delivery: Delivery) -> Hider | None:
    """What takes out of texts what the task hides: in what it takes, too, if it has begun."""
    return (runner.context or runner.read(delivery)[1]).hider


def _cause(error: BaseException) -> BaseException:
    """What led to a repeat, if that was raised; else what ended the run."""
    if not isinstance(error, Retry):
        return error
    for each in (error.exc, error.__cause__, error.__context__):
        if isinstance(each, BaseException) and each.__traceback__ is not None:
            return each
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        if frame.tb_next.tb_frame.f_globals.get("__name__") == Inside.__module__:
            frame.tb_next = None  # the inside of self.retry() explains nothing
            break
        frame = frame.tb_next
    return error


class _Runner(Here):
    """Runs beside a record: nothing is shown to a store, and nobody is told of an end."""

    def __init__(self, app: Celeriac, heard: Heard, *, limits: bool) -> None:
        super().__init__(app, f"replay@{gethostname()}")
        self._heard = heard
        self.context: Context | None = None
        if not limits:
            self._limiter = None

    def _begin(self, delivery: Delivery) -> Outcome | tuple[Prepared, Context]:
        begun = super()._begin(delivery)
        if not isinstance(begun, Outcome):
            self.context = begun[1]
            self.context.__dict__.update(is_eager=True, is_replay=True, heard=self._heard)
        return begun

    def _current(self, name: str) -> Prepared:
        prepared = super()._current(name)
        if not isinstance(prepared.hearers, _Around):
            prepared.hearers = _Around(prepared.task)
        return prepared

    def _log_failure(
        self, prepared: Prepared, context: Context, error: BaseException, text: str
    ) -> None:
        """Whoever asked for the replay is told."""

    def _is_the_tasks(self, error: BaseException) -> bool:
        return isinstance(error, SystemExit) or super()._is_the_tasks(error)


class _Around(Hearers):
    """Those who prepare a run and clear up after it are called: ``task_prerun``, ``task_postrun``.
    Those who are told how it ended are not: it has not ended, and they might act on it."""

    def succeeded(self, context: Context, value: Any, runtime: float) -> None:
        self.ended(context, states.SUCCESS, value)

    def failed(
        self, context: Context, error: BaseException, info: ExceptionInfo, *, lost: bool = False
    ) -> None:
        self.ended(context, states.FAILURE, error)

    def retried(
        self, context: Context, error: BaseException, wait: float = 0.0, *, lost: bool = False
    ) -> None:
        self.ended(context, states.RETRY, error)
