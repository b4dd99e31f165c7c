"""One task for many arguments, in few messages.

Layer 4. The part of :class:`~celeriac.app.task.Task` that makes such calls as values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from celeriac.canvas.maps import chunks, xmap, xstarmap

__all__ = ["Many"]


class Many:
    """See the module's docstring. What it needs of a task is declared here."""

    if TYPE_CHECKING:

        def s(self, *args: Any, **kwargs: Any) -> Any:
            """See ``Task``."""

    def map(self, it: Iterable[Any]) -> xmap:
        """Return the call of this task with each value of *it*, in one message: ``add.map(it)``.

        A worker runs them one after the other and returns the list of what they returned.
        """
        return xmap(self.s(), it)

    def starmap(self, it: Iterable[Any]) -> xstarmap:
        """Return the same for lists of arguments: ``add.starmap([(1, 2), (3, 4)])``."""
        return xstarmap(self.s(), it)

    def chunks(self, it: Iterable[Any], n: int) -> chunks:
        """Return a group of :meth:`starmap`, with *n* calls in each message."""
        return chunks(self.s(), it, n)
