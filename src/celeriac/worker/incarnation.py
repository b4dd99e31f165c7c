"""One incarnation of a worker: its owner id and how long it may trust its lease.

Layer 5. A worker that lost its lease never goes on under the old id: everything it held has gone
to others. It takes a new incarnation.
"""

from __future__ import annotations

import time

from celeriac.ids import new_owner_id


class Incarnation:
    """The present owner id and the trust window (protocol section 5).

    The lease is trusted until the *start* of the last request that extended it + lease − margin:
    the answer may have been long under way.
    """

    def __init__(self, lease: float, margin: float) -> None:
        self._window = lease - margin
        self.renew()

    def renew(self) -> None:
        """Take a new id; nothing is trusted until :meth:`extended`."""
        self.owner = new_owner_id()
        self.lost = False
        self._trusted_until = 0.0

    def extended(self, requested_at: float) -> None:
        """The store answered a register or beat that was sent at *requested_at* (monotonic)."""
        self._trusted_until = requested_at + self._window

    def lose(self) -> None:
        """The store does not know this owner any more."""
        self.lost = True
        self._trusted_until = 0.0

    @property
    def trusted(self) -> bool:
        """May this worker claim and begin work now?"""
        return time.monotonic() < self._trusted_until


__all__ = ["Incarnation"]
