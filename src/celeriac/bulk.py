"""Many calls at once: checked one by one, made messages together.

Layer 4. For ``app.enqueue_many``. What calls of one task have in common is worked out once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from celeriac.canvas.signature import Signature
from celeriac.client import check_options, origin
from celeriac.context import note_child, running
from celeriac.declined import FLOW_OPTIONS
from celeriac.directions import NO_DEFAULTS
from celeriac.forms import Form
from celeriac.ids import new_calls
from celeriac.message import Alike, Message, NewJoin
from celeriac.result import AsyncResult

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.flows import Sender

__all__ = ["Batch"]


class Batch:
    """Calls to be sent in one step.

    A task's options, and the settings, are read at the first call of a run of calls of that task.
    """

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        #: In order: plain calls of one task, or a message that is made and whether its result is
        #: dropped.
        self._drafts: list[tuple[Form, list[bytes]] | tuple[Message, bool] | Sender] = []
        #: Joins of workflows among them.
        self.joins: list[NewJoin] = []

    def extend(self, signatures: Iterable[Signature[Any]]) -> None:
        """Check calls and write their arguments; raises as ``apply_async`` does.

        Each line of the loop is run for each call, hence its shape.
        """
        last: Any = None
        for each in signatures:
            if not isinstance(each, Signature):
                raise TypeError(f"enqueue_many() takes signatures, such as task.s(…), not {each!r}")
            plain = each.plain()
            if plain is None:
                last = None
                self._add_other(each)
                continue
            task, args, kwargs = plain
            if last is not task:
                form = task.plain_form() if task.name in self._app.tasks else None
                if form is None:
                    last = None
                    self._add_other(each)
                    continue
                last = task
                write = form.payload
                payloads: list[bytes] = []
                keep = payloads.append
                self._drafts.append((form, payloads))
            keep(write(args, kwargs))

    def _add_other(self, each: Signature[Any]) -> None:
        """Make the message of a call that has options of its own, or no task here."""
        app = self._app
        args, kwargs, options = each.merged()
        if each.subtask_type is not None or not FLOW_OPTIONS.isdisjoint(options):
            from celeriac.flows import Sender, planned

            made = planned(each, (), {}, {})
            self.joins += made.joins
            sender = Sender(app, made)
            sender.prepare()
            self._drafts.append(sender)
            return
        check_options(options, "enqueue_many()", app)
        task = each.type if each.task in app.tasks else None
        if task is None:
            message = app.client.message(each.task, args, kwargs, NO_DEFAULTS, options)
            ignored = bool(message.header.ignore_result)
        else:
            if app.conf.strict_typing if task.typing is None else task.typing:
                task.arguments.check(args, kwargs)
            message = app.client.message(task.name, args, kwargs, task.defaults, options)
            ignored = not task.keeps_result(message.header.ignore_result)
        self._drafts.append((message, ignored))

    def finish(self) -> tuple[Sequence[Message], list[Any]]:
        """Return the messages, signed, and their results, in the order of the calls.

        The ids are drawn here, all together, and not before: the calls come from code of the
        application, which may fork between two of them.
        """
        app = self._app
        run = running.get()
        now, here = app.client.wall(), origin()
        found: list[Sequence[Message]] = []
        results: list[Any] = []
        for draft in self._drafts:
            if not isinstance(draft, tuple):
                found.append(draft.messages)
                results.append(draft.result())
                continue
            first, second = draft
            if isinstance(first, Message):
                found.append((first,))
                results.append(AsyncResult(first.header.id, app, bool(second)))
                continue
            payloads = cast("list[bytes]", second)
            calls = new_calls(len(payloads))
            alike = Alike(first.header(app, run, "", "", now, here), calls, payloads)
            found.append(alike if app.signer is None else self._signed(alike))
            results += [AsyncResult(id, app, first.ignored) for id, _ in calls]
        if run is not None and run.id:
            for result in results:
                note_child(result)
        messages = found[0] if len(found) == 1 else [each for some in found for each in some]
        return messages, results

    def _signed(self, alike: Alike) -> list[Message]:
        return list(map(self._app.client.signed, alike.headers(), alike.payloads))
