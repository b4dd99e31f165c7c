"""Lineage: what came of a task, and of that, as far as it goes.

Layer 4. The part of :class:`~celeriac.result.AsyncResult` that follows results to their children.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from celeriac import states
from celeriac.ends import body_of
from celeriac.exceptions import IncompleteStream
from celeriac.graph import DependencyGraph

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.flowtree import Tree
    from celeriac.records import StoredResult
    from celeriac.result import AsyncResult

__all__ = ["Lineage"]


class Lineage:
    """See the module's docstring. What it needs of a result is declared here."""

    if TYPE_CHECKING:
        id: str

        @property
        def app(self) -> Celeriac:
            """See ``AsyncResult``."""

        def _read(self) -> StoredResult | None: ...

    @property
    def children(self) -> list[AsyncResult[Any]] | None:
        """Results of the tasks that it sent, in that order; None as long as it has not ended.

        At most 1000 are kept, and none where its result is not kept, its option ``trail`` is
        False, or they were sent with ``add_to_parent=False``.
        """
        found = self._read()
        if found is None or found.state not in states.TERMINAL:
            return None
        from celeriac.result import AsyncResult

        body = body_of(self.app, found)
        return [AsyncResult(id, self.app) for id in body.children] if body is not None else []

    def iterdeps(
        self, intermediate: bool = False
    ) -> Iterator[tuple[AsyncResult[Any] | None, AsyncResult[Any]]]:
        """Yield this result and those of all tasks that came of it, each behind its parent.

        Raises ``IncompleteStream`` at one that has not ended, unless *intermediate*: then what it
        may still send is left out.
        """
        first = cast("AsyncResult[Any]", self)
        waiting: deque[tuple[AsyncResult[Any] | None, AsyncResult[Any]]] = deque([(None, first)])
        while waiting:
            parent, node = waiting.popleft()
            yield parent, node
            children = node.children
            if children is None and not intermediate:
                raise IncompleteStream(f"task {node.id} has not ended, and may still send others")
            waiting.extend((node, child) for child in children or ())

    @property
    def graph(self) -> DependencyGraph:
        """What came of this task: :meth:`build_graph` as it stands now."""
        return self.build_graph(intermediate=True)

    def build_graph(
        self, intermediate: bool = False, formatter: Callable[[Any], str] | None = None
    ) -> DependencyGraph:
        """Return the graph of this result and all that came of it, each depending on its parent.

        Raises ``IncompleteStream`` as :meth:`iterdeps` does.
        """
        made = DependencyGraph(formatter=formatter)
        for parent, node in self.iterdeps(intermediate=intermediate):
            made.add_arc(node)
            if parent is not None:
                made.add_edge(node, parent)
        return made

    def collect(
        self, intermediate: bool = False, **options: Any
    ) -> Iterator[tuple[AsyncResult[Any], Any]]:
        """Yield (result, value) of this task and of all that came of it, waiting for each.

        *options* are those of :meth:`get`.
        """
        waiting: deque[AsyncResult[Any]] = deque([cast("AsyncResult[Any]", self)])
        while waiting:
            node = waiting.popleft()
            yield node, node.get(**options)
            waiting.extend(node.children or ())

    def tree(self) -> Tree:
        """Return the workflow that it is in as a tree, as it stands now.

        It says of each task whether it has ended, and why it has not. A task of no workflow is a
        tree of one.

        Raises ``ResultNotFound`` if nothing of it is known.
        """
        from celeriac.control.flowreading import tree_of

        return tree_of(self.app, self.id)

    async def atree(self) -> Tree:
        """:meth:`tree` without blocking the event loop."""
        import asyncio

        return await asyncio.to_thread(self.tree)

    def get_leaf(self) -> Any:
        """Return the value of the last task that came of this one."""
        return deque(self.collect(), maxlen=1)[0][1]
