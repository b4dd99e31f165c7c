"""Crowds: members of one group that are plain calls, on their way into the store.

Layer 4; for ``streaming``. Headers of many members are mostly one task with many arguments. Such a
member has no options but stamps, no callbacks and nothing before it, so that all there is to plan
of it is its place; what calls of one task have in common (``forms``) is worked out once. It is sent
as the planner and ``flows.Sender`` would send it, in a third of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from celeriac.canvas.signature import Signature
from celeriac.client import origin
from celeriac.context import running
from celeriac.ids import new_calls
from celeriac.message import Edges, Header, Message, compose
from celeriac.stamps import checked_stamps

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.flows import Sender
    from celeriac.forms import Form
    from celeriac.workflow import Part

__all__ = ["Crowd"]

#: The stamps of a message, see ``message.Header``.
Stamps = dict[str, list[Any]] | None


class Crowd:
    """The next members of a group, in their order: plain calls, and places of others.

    Args:
        app: whose tasks they are.
        group: the group's id.
        joined: whether the group is the header of a chord.
    """

    def __init__(self, app: Celeriac, group: str, joined: bool) -> None:
        self._app = app
        self._group = group
        self._joined = joined
        #: In order: the form of a plain call, its arguments, its index and its stamps; or how many
        #: parts a member was planned to.
        self._entries: list[tuple[Form, bytes, int, Stamps] | int] = []
        self._calls: list[tuple[str, str]] = []
        self._last: tuple[Any, Form | None] = None, None
        #: The last stamps as options, and as they are sent: mostly all have the same.
        self._stamps: tuple[dict[str, Any], Stamps] = {}, None
        #: Plain calls that were kept since ids were drawn last, and bytes of their arguments.
        self.size = self.bytes = 0

    def take(self, member: Any, index: int) -> bool:
        """Keep *member* if it is a plain call; False if it must be planned.

        Raises as ``Form.payload`` and ``checked_stamps``.
        """
        plain = member.plain(stamped=True) if isinstance(member, Signature) else None
        if plain is None:
            return False
        task, args, kwargs = plain
        known, form = self._last
        if known is not task:
            form = task.plain_form() if self._app.tasks.get(task.name) is task else None
            self._last = task, form
        if form is None:
            return False
        payload = form.payload(args, kwargs)
        options = member["options"]
        if options != self._stamps[0]:
            self._stamps = dict(options), checked_stamps(options) or None
        self._entries.append((form, payload, index, self._stamps[1]))
        self.size += 1
        self.bytes += len(payload)
        return True

    def planned(self, parts: int) -> None:
        """The next member was planned to so many parts."""
        self._entries.append(parts)

    def draw(self) -> list[tuple[int, str]]:
        """Draw the ids of what was kept since the last time; return index and id of each.

        All together, and not before: the members come from code of the application, which may fork
        between two of them.
        """
        kept = [each for each in self._entries if isinstance(each, tuple)][len(self._calls) :]
        calls = new_calls(len(kept))
        self._calls += calls
        self.size = self.bytes = 0
        return [(index, id) for (_, _, index, _), (id, _) in zip(kept, calls, strict=True)]

    def messages(self, sender: Sender, parts: Iterator[Part], flow: str) -> list[Message]:
        """Return the signed messages of all members; *parts* are those that were planned."""
        calls = iter(self._calls)
        made: list[Message] = []
        heads: dict[str, Header] = {}
        for each in self._entries:
            if isinstance(each, int):
                made += [sender.message(next(parts)) for _ in range(each)]
                continue
            form, payload, index, stamps = each
            head = heads.get(form.task)
            if head is None:
                head = heads[form.task] = self._head(form, flow)
            id, nonce = next(calls)
            if form.ignored:
                sender.dropped.add(id)
            made.append(self._message(head, (id, nonce), payload, index, stamps))
        return made

    def forget(self) -> None:
        """Forget the members that were sent."""
        self._entries.clear()
        self._calls.clear()

    def _head(self, form: Form, flow: str) -> Header:
        """What the headers of a task's members have in common."""
        app = self._app
        head = form.header(app, running.get(), "", "", app.client.wall(), origin())
        return msgspec.structs.replace(head, flow=flow, group=self._group)

    def _message(
        self, head: Header, call: tuple[str, str], payload: bytes, index: int, stamps: Stamps
    ) -> Message:
        edges = None
        if self._joined:
            place = self._group, index
            edges = Edges(join=place, within=place)
        id, nonce = call
        header = msgspec.structs.replace(
            head, id=id, nonce=nonce, edges=edges, index=index, stamps=stamps
        )
        if self._app.signer is None:
            return compose(header, payload)
        return self._app.client.signed(header, payload)
