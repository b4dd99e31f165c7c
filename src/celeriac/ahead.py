"""Ahead: what comes after a run, as signatures.

Layer 4; for ``self.request.chain``, ``callbacks``, ``errbacks`` and ``chord``. A message carries
the ids of what its task's end releases, and no more: what stands behind them is read from the store
when somebody asks, and from there on only. Nothing that runs beside the task, or has run before it,
is read. What has no part is not there either: a group of nothing, and, where nothing follows a
group, the places of groups in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from celeriac.canvas import Signature, chain, group
from celeriac.client import verify
from celeriac.flowparts import Part, Parts, line_from
from celeriac.message import Edges, Header, decode
from celeriac.serialization import decode as decode_value
from celeriac.stamps import NAMES
from celeriac.workflow import COLLECT

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.flowtree import Tree
    from celeriac.records import Record
    from celeriac.upstream import Reader

__all__ = ["Ahead"]

#: Records that are read at once.
_PAGE: Final = 500
_NO_EDGES: Final = Edges()
#: Built-in tasks that are signatures of kinds of their own.
_KINDS: Final = {"celery.map": "xmap", "celery.starmap": "xstarmap"}
#: Options of a call that its header has under the same name.
_SAME: Final = ("queue", "expires", "time_limit", "soft_time_limit", "ignore_result", "headers")


class Ahead:
    """What comes after the task with this header. Each is read once, when it is asked for.

    Reading raises what the store raises, and ``SecurityError`` or ``DecodeError`` for a message
    that is not signed as it must be, or cannot be read.
    """

    def __init__(self, app: Celeriac, header: Header, reader: Reader) -> None:
        self._app = app
        self._header = header
        self._reader = reader

    @cached_property
    def chain(self) -> list[Signature[Any]]:
        """The steps that remain of the chain that it is a step of, the next one last."""
        parts, line = self._own
        made: Any = chain(*self._canvases(parts, line[1:]))
        steps = made.tasks if made.subtask_type == "chain" else [made]
        return list(reversed(steps))

    @cached_property
    def callbacks(self) -> list[Signature[Any]]:
        """What was linked to it."""
        parts, line = self._own
        return [made for each in line[:1] for made in self._under(parts, each, "callback")]

    @cached_property
    def errbacks(self) -> list[Signature[Any]]:
        """What is called if it fails: its own errbacks, and those of the chain that it is in."""
        parts, line = self._own
        found: list[Signature[Any]] = []
        for at, step in enumerate(line):
            part = parts.of.get(step.id)
            if part is not None:
                only = None if at == 0 else part.edges.failure
                found += self._under(parts, step, "errback", only)
        return found

    @cached_property
    def chord(self) -> Signature[Any] | None:
        """The body of the chord whose header it is in, with what follows that."""
        edges = self._header.edges or _NO_EDGES
        member = edges.join or edges.within
        body = None if member is None else self._reader.body(member[0])
        record = None if body is None else self._reader.record(body)
        if record is None:
            return None
        steps = self._canvases(*self._from(record))
        if not steps:
            return Signature(COLLECT, app=self._app)
        return steps[0] if len(steps) == 1 else chain(*steps)

    # -- reading ---------------------------------------------------------------------------------

    @cached_property
    def _own(self) -> tuple[Parts, list[Tree]]:
        """The task with all that its end may release, and the line that it begins then."""
        record = self._reader.record(self._header.id)
        if record is None:  # discarded while it runs
            return Parts("", ()), []
        return self._from(record)

    def _from(self, first: Record) -> tuple[Parts, list[Tree]]:
        parts = Parts(self._header.flow or self._header.id, self._read(first))
        return parts, line_from(parts, first.id)

    def _read(self, first: Record) -> Iterable[Record]:
        """Read *first* and all that its end may release, up to the join that it is in itself."""
        found = {first.id: first}
        edges = Part(first).edges
        around = edges.join or edges.within
        joins = {None if around is None else around[0]}
        todo = deque([edges])
        while todo:
            wanted: list[str] = []
            while todo and len(wanted) < _PAGE:
                edges = todo.popleft()
                wanted += (*edges.success, *edges.own, *edges.failure)
                if edges.join is not None and edges.join[0] not in joins:
                    joins.add(edges.join[0])
                    body = self._reader.body(edges.join[0])
                    wanted += () if body is None else (body,)
            new = [id for id in dict.fromkeys(wanted) if id not in found]
            for at in range(0, len(new), _PAGE):
                for each in self._reader.records(new[at : at + _PAGE]):
                    if each is not None:
                        found[each.id] = each
                        todo.append(Part(each).edges)
        return found.values()

    # -- signatures ------------------------------------------------------------------------------

    def _canvases(self, parts: Parts, trees: Iterable[Tree]) -> list[Signature[Any]]:
        return [made for each in trees if (made := self._canvas(parts, each)) is not None]

    def _canvas(self, parts: Parts, tree: Tree) -> Signature[Any] | None:
        """The canvas that *tree* was; None for what only holds a list, or is no longer kept."""
        if tree.kind == "group":
            members = self._canvases(parts, tree.children)
            # With its id, as all are; and with an option one of one member stays a group.
            return group(members, app=self._app, task_id=tree.id)
        if tree.kind == "chain":
            made: Signature[Any] = chain(*self._canvases(parts, tree.children))
            return made
        part = parts.of.get(tree.id)
        if part is None or tree.task == COLLECT:
            return None
        signature = self._signature(part)
        for option, role in (("link", "callback"), ("link_error", "errback")):
            linked = self._under(parts, tree, role)
            if linked:
                signature.options[option] = linked
        return signature

    def _under(
        self, parts: Parts, tree: Tree, role: str, only: Sequence[str] | None = None
    ) -> list[Signature[Any]]:
        """What stands under a task in this role; with *only*, what begins with one of these."""
        wanted = [
            each
            for each in tree.children
            if each.role == role and (only is None or _first(each) in only)
        ]
        return self._canvases(parts, wanted)

    def _signature(self, part: Part) -> Signature[Any]:
        """The signature of one part."""
        if part.record.wire is None:
            return Signature(part.record.task, app=self._app, task_id=part.id)
        message = decode(part.record.wire)
        verify(message, self._app.signer)
        header, edges = message.header, part.edges
        args, kwargs = decode_value(
            header.serializer, message.content(), self._app.conf.accept_content
        )
        options = {name: getattr(header, name) for name in _SAME}
        options |= {
            "task_id": part.id,
            "priority": header.priority or None,
            "eta": header.eta,
            "countdown": edges.delay or None,
            "expires": edges.lasts or header.expires,
        }
        if header.stamps:
            options |= {NAMES: list(header.stamps), **header.stamps}
        gets = edges.gathers is not None and not edges.immutable
        plain = {
            "task": header.task,
            "args": args,
            "kwargs": kwargs,
            "options": {name: value for name, value in options.items() if value is not None},
            "subtask_type": _KINDS.get(header.task),
            "immutable": edges.takes is None and edges.told is None and not gets,
        }
        made: Signature[Any] = Signature.from_dict(plain, app=self._app)
        return made


def _first(tree: Tree) -> str:
    """The id of what a line begins with."""
    return tree.children[0].id if tree.kind == "chain" else tree.id
