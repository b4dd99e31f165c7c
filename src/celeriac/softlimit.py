"""The soft time limit of a coroutine: ``SoftTimeLimitExceeded`` at the point where it awaits.

Layer 4, for the runner. asyncio can cancel a task but not throw anything else into it. So the
coroutine is driven by an awaitable that turns the cancellation which the timer asked for into the
exception.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any

from celeriac.exceptions import SoftTimeLimitExceeded

if TYPE_CHECKING:
    import asyncio

__all__ = ["limited", "was_cancelled"]


async def limited(coroutine: Coroutine[Any, Any, Any], seconds: float) -> Any:
    """Await *coroutine*; throw ``SoftTimeLimitExceeded`` into it, once, after *seconds*."""
    import asyncio

    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    driver = _Driver(coroutine, seconds, task)
    timer = asyncio.get_running_loop().call_later(seconds, driver.fire)
    try:
        return await driver
    finally:
        timer.cancel()


def was_cancelled(error: BaseException) -> bool:
    """Is *error* the end of the present asyncio task because somebody cancelled that, rather than
    something it awaited? For whoever cancelled it there is no outcome to be had then."""
    import asyncio

    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


class _Driver:
    """Drives a coroutine step by step."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], seconds: float, task: asyncio.Task[Any]
    ) -> None:
        self._coroutine = coroutine
        self._seconds = seconds
        self._task = task
        self._fired = False

    def fire(self) -> None:
        """Ask for the cancellation that becomes the exception."""
        self._fired = True
        self._task.cancel()

    def __await__(self) -> Generator[Any, Any, Any]:
        from asyncio import CancelledError

        error: BaseException | None = None
        while True:
            try:
                step = self._coroutine.send(None) if error is None else self._thrown(error)
            except StopIteration as stop:
                return stop.value
            error = None
            try:
                yield step
            except GeneratorExit:
                self._coroutine.close()
                raise
            except CancelledError as cancelled:
                error = cancelled
                if self._fired:
                    self._fired = False
                    self._task.uncancel()
                    error = SoftTimeLimitExceeded(self._seconds)
            except BaseException as other:  # noqa: BLE001 - whatever it is, it is the coroutine's
                error = other

    def _thrown(self, error: BaseException) -> Any:
        return self._coroutine.throw(error)
