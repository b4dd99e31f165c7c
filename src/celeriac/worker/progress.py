"""What tasks say of themselves by ``update_state``, on its way to the store.

Layer 5.
"""

from __future__ import annotations

from celeriac.records import Fence

#: (fence, state, metadata) of an ``update_state``.
Update = tuple[Fence, str, bytes | None]


class Updates:
    """Only the newest of each task counts, and only one lane brings them to the store at a time:
    of two that were under way at once the older could come last, and stay. Not safe from several
    threads; the dispatch guards it."""

    def __init__(self) -> None:
        self._newest: dict[str, Update] = {}
        self._under_way = False

    def __bool__(self) -> bool:
        return bool(self._newest)

    def note(self, update: Update) -> None:
        """Keep *update*; it replaces an older one of the same task."""
        self._newest[update[0].id] = update

    @property
    def ready(self) -> bool:
        """Is there something, and nobody on the way with others?"""
        return bool(self._newest) and not self._under_way

    def take(self) -> list[Update]:
        """Take what is ready. Whoever was given something says :meth:`arrived` in the end."""
        if not self.ready:
            return []
        self._under_way = True
        taken, self._newest = list(self._newest.values()), {}
        return taken

    def arrived(self) -> None:
        """The store has what was taken, or will never have it."""
        self._under_way = False


__all__ = ["Update", "Updates"]
