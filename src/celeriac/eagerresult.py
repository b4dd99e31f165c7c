"""The results of eager runs.

Layer 4; made by ``eager``, for whoever calls ``apply()``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from celeriac import states
from celeriac.checks import check_callable
from celeriac.declined import check_on_message
from celeriac.exceptions import TaskRevokedError
from celeriac.progress import Progress
from celeriac.records import Record, StoredResult
from celeriac.result import AsyncResult, refuse_inside_task

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.flowtree import Tree

__all__ = ["EagerResult", "EagerRun"]

R_co = TypeVar("R_co", covariant=True)


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
        #: In an eager workflow: results of what its success released.
        self.released: tuple[AsyncResult[Any], ...] = ()

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
        """Results of the tasks that it sent, or ran eagerly itself, in that order, and of what
        its success released in its workflow. A pickled result does not have the latter."""
        return [*self._run.children, *self.released]

    def tree(self) -> Tree:
        """Return this run alone as a tree: nothing else is stored."""
        from celeriac.flowtree import Tree

        ended = self._done.timestamp()
        return Tree(
            kind="task", id=self.id, role="workflow", state=self._state, task=self._of or "",
            retries=self.retries, ended_at=ended, progress=self.progress, counts={self._state: 1},
        )  # fmt: skip

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
            refuse_inside_task(self.id, disable_sync_subtasks)
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

    @property
    def ended(self) -> bool:
        """True: the run is over."""
        return True

    @property
    def raises(self) -> bool:
        """Whether :meth:`get` raises."""
        return self._state != states.SUCCESS and isinstance(self._held, BaseException)

    def forget(self) -> None:
        """Do nothing: nothing is stored."""

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """Make :meth:`get` raise ``TaskRevokedError``; the run itself is over."""
        self._state = states.REVOKED
        self._held = TaskRevokedError("revoked")

    def __reduce__(self) -> tuple[Any, ...]:
        line: list[tuple[Any, ...]] = []
        each: Any = self
        while isinstance(each, EagerResult):
            line.append((each.id, each._held, each._state, each._text, each._of, each._run))  # noqa: SLF001 - ours
            each = each.parent
        return _again, (line, each)

    def _read(self) -> StoredResult | None:
        return None

    def _record(self) -> Record | None:
        return None


def _again(line: list[tuple[Any, ...]], before: Any) -> Any:
    """Make a result, and those before it, of what they were pickled as."""
    for *fields, run in reversed(line):
        made: EagerResult[Any] = EagerResult(*fields, run=run)
        made.parent, before = before, made
    return before
