"""Here: a runner in a process that is the caller's, not an executor's.

Layer 4; for eager runs, replays and the tools for tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celeriac.clock import SYSTEM
from celeriac.context import Context, Update
from celeriac.exceptions import Ignore, OperationalError
from celeriac.interrupt import soft_limit
from celeriac.outcome import Outcome
from celeriac.prepared import Prepared
from celeriac.records import Delivery
from celeriac.runner import Runner
from celeriac.upstream import Reader

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["Here"]


class Here(Runner):
    """A runner in a process that is the caller's; the last exception is kept on it.

    ``KeyboardInterrupt``, ``SystemExit`` and a test's own signals to its runner pass through:
    they are meant for the process. An ``async def`` task runs here even where this thread is in
    an event loop already: that one waits meanwhile, and the task runs on another, in a thread.
    """

    def __init__(
        self,
        app: Celeriac,
        hostname: str,
        *,
        update: Update | None = None,
        reader: Reader | None = None,
    ) -> None:
        super().__init__(app, hostname, update=update, limiter=soft_limit, reader=reader)
        self.error: BaseException | None = None

    def close(self) -> None:
        """End the event loop, if one was needed, and what tasks have left running on it."""
        if self._loop is not None:
            _apart(super().close)

    def _on_loop(self, prepared: Prepared, context: Context) -> Any:
        return _apart(super()._on_loop, prepared, context)

    def _refused(
        self, delivery: Delivery, error: BaseException, prepared: Prepared | None = None
    ) -> Outcome:
        self.error = error
        return super()._refused(delivery, error, prepared)

    def _out_of_reach(self, delivery: Delivery, error: OperationalError) -> Outcome:
        return self._refused(delivery, error)  # nobody would run it again

    def _failed(self, prepared: Prepared, context: Context, error: BaseException) -> Outcome:
        if not isinstance(error, Exception) and not self._is_the_tasks(error):
            raise error
        replaced = context.replaced
        if isinstance(replaced, tuple) and isinstance(error, Ignore):  # it was run here
            context.replaced = None
            return self._succeeded(prepared, context, replaced[0], SYSTEM.monotonic())
        self.error = error
        return super()._failed(prepared, context, error)

    def _failure(self, prepared: Prepared, context: Context, error: BaseException) -> Outcome:
        self.error = error  # perhaps what a policy raised in place of the task's own
        return super()._failure(prepared, context, error)

    def _is_the_tasks(self, error: BaseException) -> bool:
        """Whether it is a cancellation in a loop that is ours: nobody outside can have asked."""
        if self._loop is None:
            return False
        import asyncio

        return isinstance(error, asyncio.CancelledError)


def _apart(call: Callable[..., Any], *args: Any) -> Any:
    """Call it, in a thread of its own if this one is inside an event loop; wait for it."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call(*args)
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    with ThreadPoolExecutor(1, "celeriac-eager") as threads:
        return threads.submit(copy_context().run, call, *args).result()
