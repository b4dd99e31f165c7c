"""A graph of what depends on what, as ``AsyncResult.graph`` returns it.

Layer 1: standard library only. The members are those of Celery's ``DependencyGraph``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

__all__ = ["CycleError", "DependencyGraph"]


class CycleError(Exception):
    """Something in the graph depends on itself."""


class DependencyGraph:
    """A directed graph without cycles. An edge leads from what came of a thing to that thing.

    Args:
        it: pairs of a node and the nodes that it depends on.
        formatter: returns the text of a node for :meth:`to_dot`; by default ``str``.
    """

    def __init__(
        self, it: Iterable[tuple[Any, Iterable[Any]]] | None = None,
        formatter: Callable[[Any], str] | None = None,
    ) -> None:  # fmt: skip
        self.formatter = formatter or str
        self.adjacent: dict[Any, list[Any]] = {}
        if it is not None:
            self.update(it)

    def add_arc(self, node: Any) -> None:
        """Add a node."""
        self.adjacent.setdefault(node, [])

    def add_edge(self, a: Any, b: Any) -> None:
        """Let *a* depend on *b*; both must be there."""
        self.adjacent[a].append(b)

    def connect(self, graph: DependencyGraph) -> None:
        """Add nodes and edges of another graph."""
        self.adjacent.update(graph.adjacent)

    def update(self, it: Iterable[tuple[Any, Iterable[Any]]]) -> None:
        """Add pairs of a node and the nodes that it depends on."""
        pairs = [(node, list(depends)) for node, depends in it]
        for node, _ in pairs:
            self.add_arc(node)
        for node, depends in pairs:
            for each in depends:
                self.add_edge(node, each)

    def topsort(self) -> list[Any]:
        """Return the nodes, each behind those that it depends on; raises :class:`CycleError`."""
        order: list[Any] = []
        done: set[Any] = set()
        for start in self.adjacent:
            todo: list[tuple[Any, bool]] = [(start, False)]
            open_: set[Any] = set()
            while todo:
                node, leaving = todo.pop()
                if leaving:
                    open_.discard(node)
                    if node not in done:
                        done.add(node)
                        order.append(node)
                elif node in open_:
                    raise CycleError(f"{node} depends on itself")
                elif node not in done:
                    open_.add(node)
                    todo.append((node, True))
                    todo.extend((each, False) for each in self.adjacent.get(node, ()))
        return order

    def valency_of(self, node: Any) -> int:
        """Return how many edges there are on the ways from *node*, and 1 more."""
        valency, todo, seen = 1, [node], {node}
        while todo:
            for each in self.adjacent.get(todo.pop(), ()):
                valency += 1
                if each not in seen:
                    seen.add(each)
                    todo.append(each)
        return valency

    def edges(self) -> list[Any]:
        """Return the nodes that depend on others."""
        return [node for node, depends in self.adjacent.items() if depends]

    def to_dot(self, file: TextIO) -> None:
        """Write the graph in the language of Graphviz."""

        def quoted(node: Any) -> str:
            text = self.formatter(node).replace("\\", "\\\\").replace('"', '\\"')
            return f'"{text}"'

        file.write("digraph dependencies {\n")
        for node, depends in self.adjacent.items():
            if not depends:
                file.write(f"  {quoted(node)};\n")
            file.writelines(f"  {quoted(each)} -> {quoted(node)};\n" for each in depends)
        file.write("}\n")

    def items(self) -> Iterable[tuple[Any, list[Any]]]:
        """Return pairs of a node and what it depends on."""
        return self.adjacent.items()

    iteritems = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __len__(self) -> int:
        return len(self.adjacent)

    def __contains__(self, node: object) -> bool:
        return node in self.adjacent

    def __getitem__(self, node: Any) -> list[Any]:
        return self.adjacent[node]

    def __repr__(self) -> str:
        return "\n".join(f"{node}({self.valency_of(node)})" for node in self.adjacent)
