"""Waiting for one result as ``get()`` and ``aget()`` do: until it has ended or time is over.

Layer 4; for ``result``. A store that goes away meanwhile is waited out, within the same time: what
is waited for goes on, or waits itself, and is there when the store is back.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from celeriac.backoff import reconnect
from celeriac.clock import SYSTEM
from celeriac.exceptions import OperationalError, TimeoutError

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.records import StoredResult

__all__ = ["Wait"]

_log = logging.getLogger(__name__)

#: An awaited wait goes on in parts, each of which looks anew: seconds for which the thread of one
#: that was cancelled may stay, first and at most.
_FIRST_PART: Final = 1.0
_LONGEST_PART: Final = 30.0
#: A process says this often that it waits for a store, however many threads do.
_TELL_SECONDS: Final = 30.0
#: Tries after which the pauses between them do not grow any more.
_LONGEST_PAUSE: Final = 4


class Wait:
    """One call of ``get()``.

    Args:
        app: whose store knows the task.
        id: the task's, or those of several: one that has ended will do.
        timeout: seconds from now; None waits for as long as it takes.
    """

    #: When this process said last that it waits for a store.
    _told: ClassVar[float] = float("-inf")

    def __init__(self, app: Celeriac, id: str | Sequence[str], timeout: float | None) -> None:
        self._app = app
        self._ids: Sequence[str] = [id] if isinstance(id, str) else id
        self._id = self._ids[0]
        self._timeout = timeout
        self._until = None if timeout is None else SYSTEM.monotonic() + timeout
        #: The store waited to the end, by its own clock.
        self._spent = False
        #: Why the store did not answer when it was asked last, and how often it did not.
        self._away: OperationalError | None = None
        self._tries = 0

    @property
    def over(self) -> bool:
        """Whether its time is up."""
        return self._spent or (self._until is not None and SYSTEM.monotonic() >= self._until)

    def step(self, most: float | None = None) -> dict[str, StoredResult | None]:
        """Wait for *most* seconds at most, or to the end; what ``Results.wait`` returns.

        Raises ``OperationalError`` if the store cannot be reached and never was.
        """
        left = self._left(most)
        try:
            found = self._app.results.wait(self._ids, left)
        except OperationalError as error:
            if not error.outage:
                raise
            self._away = error
            self._tell(error)
            pause, left = reconnect(min(self._tries, _LONGEST_PAUSE)), self._left(most)
            self._tries += 1
            time.sleep(pause if left is None else min(pause, left))
            return {}
        self._away, self._tries = None, 0
        self._spent = left is not None and left != most and not found
        return found

    async def end(self) -> dict[str, StoredResult | None]:
        """Wait to the end without blocking the event loop; empty if it is over.

        On a thread of its own: the few that ``asyncio.to_thread`` shares would be taken by as many
        waits, and whoever came after them, look-ups of host names included, would stand in a line.
        """
        import asyncio

        loop = asyncio.get_running_loop()
        ended: asyncio.Future[dict[str, StoredResult | None]] = loop.create_future()

        def tell(found: dict[str, StoredResult | None], error: BaseException | None) -> None:
            if ended.done():  # cancelled
                return
            if error is None:
                ended.set_result(found)
            else:
                ended.set_exception(error)

        def run() -> None:
            found: dict[str, StoredResult | None] = {}
            problem, part = None, _FIRST_PART
            try:
                while True:
                    found = self.step(part)
                    if found or self.over or ended.done():
                        break
                    part = min(2 * part, _LONGEST_PART)
            except BaseException as error:  # noqa: BLE001 - raised where it is awaited
                problem = error
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(tell, found, problem)

        run_in = contextvars.copy_context().run
        threading.Thread(target=run_in, args=(run,), name="await", daemon=True).start()
        return await ended

    def timed_out(self) -> TimeoutError:
        """What to raise once it is over; the text says what the task, or the store, is doing."""
        from celeriac.control.inspect import situation
        from celeriac.control.why import explain

        text = f"Task {self._id} had not ended after {self._timeout:g} s."
        away = self._away
        if away is None:
            try:
                seen = situation(self._app.store, self._id, self._app.client.wall())
            except OperationalError as error:
                away = error
            else:
                return TimeoutError(text if seen is None else f"{text} {explain(seen).reason}")
        late = TimeoutError(f"{text} Whether it has by now is not known: {away}")
        late.__cause__ = away
        return late

    def _left(self, most: float | None) -> float | None:
        if self._until is None:
            return most
        left = max(0.0, self._until - SYSTEM.monotonic())
        return left if most is None else min(most, left)

    def _tell(self, error: OperationalError) -> None:
        now = SYSTEM.monotonic()
        if now - Wait._told < _TELL_SECONDS:
            return
        Wait._told = now
        left = self._left(None)
        _log.warning(
            "The store does not answer; who waits for results (such as of task %s) goes on waiting "
            "%s: %s", self._id,
            "without end, as get() has no timeout" if left is None else f"up to {left:.0f} s",
            error,
        )  # fmt: skip
