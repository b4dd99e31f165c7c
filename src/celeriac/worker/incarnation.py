"""One incarnation of a worker: its owner id and how long it may trust its lease.

Layer 5. A worker that lost its lease never goes on under the old id: everything it held has gone
to others. It takes a new incarnation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from celeriac.ids import new_owner_id


class Incarnation:
    """The present owner id and the trust window (protocol section 5).

    The lease is trusted until the *start* of the last request that extended it + lease − margin:
    the answer may have been long under way.
    """

    def __init__(
        self,
        lease: float,
        margin: float,
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = new_owner_id,
    ) -> None:
        self._window = lease - margin
        self._clock = clock
        self._new_id = new_id
        self._lock = threading.Lock()
        self._next = ""
        self._trusted_until = 0.0
        self.owner = new_id()
        self.lost = False

    def candidate(self) -> str:
        """The id to register next: the present one, or once that is lost, a new one.

        A new id becomes the present one only when the store knows it (:meth:`begin`). Until then
        outcomes go out under the old one: were they sent under the new one, the store would
        answer that this is lost, too.
        """
        if not self.lost:
            return self.owner
        if not self._next:
            self._next = self._new_id()
        return self._next

    def begin(self, owner: str, requested_at: float) -> None:
        """The store has registered *owner*; asked for at *requested_at* (monotonic)."""
        with self._lock:
            self.owner, self._next = owner, ""
            self.lost = False
            self._trusted_until = requested_at + self._window

    def extended(self, owner: str, requested_at: float) -> None:
        """The store answered a beat for *owner* that was sent at *requested_at* (monotonic)."""
        with self._lock:
            if owner == self.owner and not self.lost:
                self._trusted_until = max(self._trusted_until, requested_at + self._window)

    def lose(self, owner: str) -> bool:
        """The store does not know *owner* any more; False if that is an earlier one."""
        with self._lock:
            if owner != self.owner:
                return False
            self.lost = True
            self._trusted_until = 0.0
            return True

    @property
    def trusted(self) -> bool:
        """May this worker claim and begin work now?"""
        return self._clock() < self._trusted_until


__all__ = ["Incarnation"]
