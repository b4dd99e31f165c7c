"""Results of many calls: ``ResultSet``, and ``GroupResult`` for a group.

Layer 4. They read and wait for their results together: one read of the store, one wait for all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Self

from celeriac import states
from celeriac.checks import check_callable
from celeriac.clock import SYSTEM
from celeriac.declined import check_on_message
from celeriac.ends import progress_of
from celeriac.later import missing
from celeriac.progress import Progress, of_members
from celeriac.records import StoredResult
from celeriac.result import AsyncResult, refuse_inside_task
from celeriac.waits import Wait

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["ResultSet"]

#: Results that are read, or waited for, in one call of the store.
_TOGETHER: Final = 1000
_LATER: Final = {"backend": "Results are read from app.results."}
_monotonic: Final = SYSTEM.monotonic


class ResultSet:
    """Several results, to be read and waited for together.

    Args:
        results: results of calls, and of groups.
        app: whose store knows them; by default that of the first, else the current app.
    """

    #: Waiting for many is one call of the store here.
    supports_native_join = True

    def __init__(self, results: Iterable[Any], app: Celeriac | None = None) -> None:
        self.results: list[Any] = list(results)
        self._app = app

    @property
    def app(self) -> Celeriac:
        """The app whose store knows the tasks."""
        if self._app is None:
            from celeriac.app.current import get_current_app

            self._app = self.results[0].app if self.results else get_current_app()
        return self._app

    # -- a list of results ---------------------------------------------------------------------

    def add(self, result: Any) -> None:
        """Add a result, unless it is there."""
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: Any) -> None:
        """Remove a result, or the one with that id; raises ``KeyError`` if it is not there."""
        for at, each in enumerate(self.results):
            if result in (each, each.id):
                del self.results[at]
                return
        raise KeyError(result)

    def discard(self, result: Any) -> None:
        """Remove a result if it is there."""
        if any(result in (each, each.id) for each in self.results):
            self.remove(result)

    def update(self, results: Iterable[Any]) -> None:
        """Add those that are not there."""
        for each in results:
            self.add(each)

    def clear(self) -> None:
        """Remove all."""
        self.results[:] = []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, at: Any) -> Any:
        return self.results[at]

    def __contains__(self, result: object) -> bool:
        return result in self.results

    # -- reading -------------------------------------------------------------------------------

    def leaves(self) -> list[AsyncResult[Any]]:
        """Return the results of single tasks, those in groups, too."""
        found: list[AsyncResult[Any]] = []
        todo: list[Any] = [self]
        while todo:
            each = todo.pop()
            if isinstance(each, ResultSet):
                todo.extend(reversed(each.results))
            else:
                found.append(each)
        return found

    def every_state(self) -> list[str]:
        """Return the state of each task, read together."""
        leaves = self.leaves()
        return [
            each.state if each.ended else _visible(found)
            for each, found in zip(leaves, _seen(leaves), strict=True)
        ]

    def ready(self) -> bool:
        """Whether all have ended, however."""
        return all(each in states.READY_STATES for each in self.every_state())

    def waiting(self) -> bool:
        """Whether one has not ended."""
        return not self.ready()

    def successful(self) -> bool:
        """Whether all have ended well."""
        return all(each == states.SUCCESS for each in self.every_state())

    def failed(self) -> bool:
        """Whether one has failed."""
        return any(each == states.FAILURE for each in self.every_state())

    def completed_count(self) -> int:
        """Return how many have succeeded."""
        return sum(each == states.SUCCESS for each in self.every_state())

    @property
    def progress(self) -> Progress:
        """How far they are together, of as many as there are (``total``).

        One that has ended counts as one, however it ended; others as the fraction that they say
        themselves (``self.progress()``). Of a member that is a chain that is its last task.
        """
        leaves = self.leaves()
        members: list[tuple[float | None, Progress | None]] = []
        for each, found in zip(leaves, _seen(leaves), strict=True):
            end = each.date_done if each.ended else None
            members.append(
                (None, progress_of(each.app, found)) if end is None else (end.timestamp(), None)
            )
        return of_members(members, self.app.client.wall())

    def maybe_throw(
        self, callback: Callable[..., Any] | None = None, propagate: bool = True
    ) -> None:
        """Raise what the first one raised that has ended so."""
        leaves = self.leaves()
        _read(leaves)
        for each in leaves:
            each.maybe_throw(propagate, callback)

    throw = maybe_throw

    # -- waiting -------------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], Any] | None = None,
        no_ack: bool = True,
        on_message: None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> list[Any]:
        """Wait until all have ended and return what they returned, in their order.

        The results of a group among them are a list in the list. With *propagate* the first
        failure that is met is raised, whatever the others do. The arguments are those of
        ``AsyncResult.get``; *timeout* is for all together, *callback* is called for each.

        Raises what ``AsyncResult.get`` raises.
        """
        check_on_message(on_message)
        leaves = self.leaves()
        refuse_inside_task(self.name_of(leaves), disable_sync_subtasks)
        for _ in self._as_they_end(leaves, timeout, interval, on_interval, propagate):
            pass
        return self.values_of(propagate, callback)

    join = get
    join_native = get

    def iterate(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5
    ) -> Iterator[Any]:
        """Yield the value of each as it ends; raise failures, or yield them if not *propagate*."""
        leaves = self.leaves()
        refuse_inside_task(self.name_of(leaves), True)
        for each in self._as_they_end(leaves, timeout, interval, None, propagate):
            yield each.get(propagate=propagate)

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: None = None,
        on_interval: Callable[[], Any] | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield id and what is known (``status``, ``result``, ``traceback``, ``children``,
        ``task_id``) of each task as it ends."""
        check_on_message(on_message)
        leaves = self.leaves()
        refuse_inside_task(self.name_of(leaves), True)
        for each in self._as_they_end(leaves, timeout, interval, on_interval, propagate=False):
            yield (
                each.id,
                {
                    "task_id": each.id,
                    "status": each.state,
                    "result": each.result,
                    "traceback": each.traceback,
                    "children": each.children or [],
                },
            )

    async def aget(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - the name that get() has
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
    ) -> list[Any]:
        """Wait like :meth:`get` without blocking the event loop; ``await result`` is the same."""
        import asyncio

        leaves = self.leaves()
        refuse_inside_task(self.name_of(leaves), disable_sync_subtasks)
        until = None if timeout is None else _monotonic() + timeout
        pending = await asyncio.to_thread(_read, leaves)
        _raise_first(leaves, propagate)
        while pending:
            some = [each.id for each in pending[:_TOGETHER]]
            wait = Wait(self.app, some, None if until is None else max(0.0, until - _monotonic()))
            found = await wait.end()
            if not found:
                raise await asyncio.to_thread(wait.timed_out)
            pending = _keep(pending, found, propagate)
        return await asyncio.to_thread(self.values_of, propagate, None)

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self.aget().__await__()

    def then(
        self,
        callback: Callable[[Any], Any],
        on_error: Callable[[Any], Any] | None = None,
        weak: bool = False,
    ) -> Self:
        """Call *callback* with this once all have succeeded; *on_error* with the result of each
        that has not. See ``AsyncResult.then``. Returns this."""
        check_callable(callback, "callback")
        check_callable(on_error, "on_error", optional=True)
        left = {each.id for each in self.leaves()}
        if not left:
            callback(self)

        def ended(result: Any) -> None:
            left.discard(result.id)
            if not left:
                callback(self)

        for each in self.leaves():
            each.then(ended, on_error, weak)
        return self

    def _as_they_end(
        self, leaves: list[AsyncResult[Any]], timeout: float | None, interval: float,
        on_interval: Callable[[], Any] | None, propagate: bool,
    ) -> Iterator[AsyncResult[Any]]:  # fmt: skip
        """Yield the leaves as they end; with *propagate* raise what the first failure says."""
        until = None if timeout is None else _monotonic() + timeout
        pending = _read(leaves)
        still = {id(each) for each in pending}
        _raise_first(leaves, propagate)
        yield from (each for each in leaves if id(each) not in still)
        while pending:
            some = [each.id for each in pending[:_TOGETHER]]
            wait = Wait(self.app, some, None if until is None else max(0.0, until - _monotonic()))
            while not (found := wait.step(None if on_interval is None else interval)):
                if wait.over:
                    raise wait.timed_out()
                if on_interval is not None:
                    on_interval()
            before, pending = pending, _keep(pending, found, propagate)
            yield from (each for each in before if each.id in found)

    def values_of(self, propagate: bool, callback: Callable[[str, Any], Any] | None) -> list[Any]:
        """Return the values, in order, of results that have ended."""
        values = []
        for each in self.results:
            if isinstance(each, ResultSet):
                values.append(each.values_of(propagate, callback))
            else:
                value = each.get(propagate=propagate, disable_sync_subtasks=False)
                if callback is not None:
                    callback(each.id, value)
                values.append(value)
        return values

    def name_of(self, leaves: list[AsyncResult[Any]]) -> str:
        """What an error calls it."""
        return f"{len(leaves)} tasks"

    # -- acting --------------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop all results, and those of the tasks before each member in its chain. Nothing happens
        to tasks that have not ended, nor to what was before a group."""
        from celeriac.groupresult import tasks_of_all

        before = tasks_of_all(getattr(self, "parent", None))
        members = tasks_of_all(*self.results)
        gone = [each for id, each in members.items() if id not in before]
        for each in gone:
            each.drop()
        self.app.results.forget([each.id for each in gone])

    def revoke(
        self,
        connection: None = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """See that none of the tasks runs, or not again; see ``AsyncResult.revoke``."""
        from celeriac.groupresult import tasks_of_all

        ids = [*tasks_of_all(*self.results)]
        if ids:
            self.app.control.revoke(ids, terminate=terminate, signal=signal)

    async def arevoke(self, terminate: bool = False, signal: str | None = None) -> None:
        """:meth:`revoke` without blocking the event loop."""
        import asyncio

        await asyncio.to_thread(self.revoke, terminate=terminate, signal=signal)

    async def aready(self) -> bool:
        """:meth:`ready` without blocking the event loop."""
        import asyncio

        return await asyncio.to_thread(self.ready)

    async def aforget(self) -> None:
        """:meth:`forget` without blocking the event loop."""
        import asyncio

        await asyncio.to_thread(self.forget)

    def __eq__(self, other: object) -> bool:
        return other.results == self.results if isinstance(other, ResultSet) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # what it holds may change

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(each.id for each in self.results)}]>"

    if not TYPE_CHECKING:  # type checkers shall find names that are not there

        def __getattr__(self, name: str) -> Any:
            raise missing("result", name, _LATER)


def _seen(leaves: list[AsyncResult[Any]]) -> list[StoredResult | None]:
    """Read those that are not known to have ended, and keep which have; return what was found of
    each: None where nothing is known, or has been for longer."""
    found: list[StoredResult | None] = [None] * len(leaves)
    open_ = [at for at, each in enumerate(leaves) if not each.ended]
    for start in range(0, len(open_), _TOGETHER):
        some = open_[start : start + _TOGETHER]
        ids = [leaves[at].id for at in some]
        for at, known in zip(some, leaves[some[0]].app.results.get_many(ids), strict=True):
            found[at] = known
            if known is not None and known.state in states.TERMINAL:
                leaves[at].keep(known)
    return found


def _visible(found: StoredResult | None) -> str:
    if found is None:
        return states.PENDING
    return states.visible(found.state, found.retries, found.custom_state)


def _read(leaves: list[AsyncResult[Any]]) -> list[AsyncResult[Any]]:
    """Read those that are not known to have ended; return those that have not."""
    _seen(leaves)
    return [each for each in leaves if not each.ended]


def _keep(
    pending: list[AsyncResult[Any]], found: dict[str, StoredResult | None], propagate: bool
) -> list[AsyncResult[Any]]:
    """Give what was found to the results it is of; return the others."""
    ended = [each for each in pending if each.id in found]
    for each in ended:
        each.keep(found[each.id])
    _raise_first(ended, propagate)
    return [each for each in pending if each.id not in found]


def _raise_first(leaves: list[AsyncResult[Any]], propagate: bool) -> None:
    if propagate:
        for each in leaves:
            if each.raises:
                each.get(disable_sync_subtasks=False)
