"""Many calls at once: checked one by one, made messages together.

Layer 4. For ``app.enqueue_many``. What calls of one task have in common is worked out once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import msgspec

from celeriac.canvas.signature import Signature
from celeriac.client import check_options, origin
from celeriac.context import note_child, running
from celeriac.directions import NO_DEFAULTS
from celeriac.exceptions import EncodeError, PayloadTooLarge
from celeriac.ids import new_calls
from celeriac.message import Header, Message, compose_all, like
from celeriac.result import AsyncResult
from celeriac.serialization import encode_call

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.app.task import Task
    from celeriac.arguments import Arguments

__all__ = ["Batch"]


class _Common(msgspec.Struct, frozen=True, gc=False):
    """What all calls of a task without options have in common."""

    task: Task[..., Any]
    name: str
    queue: str
    priority: int
    serializer: str
    ignored: bool
    #: None: its arguments are not checked.
    arguments: Arguments | None
    #: Bytes of arguments that need no second look.
    most: int


class Batch:
    """Calls to be sent in one step.

    A task's options, and the settings, are read at the first call of a run of calls of that task.
    """

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        #: In order: calls that share much, or a message that is made and whether its result is
        #: dropped.
        self._drafts: list[tuple[_Common, list[bytes]] | tuple[Message, bool]] = []

    def extend(self, signatures: Iterable[Signature[Any]]) -> None:
        """Check calls and write their arguments; raises as ``apply_async`` does.

        Each line of the loop is run for each call, hence its shape.
        """
        common: _Common | None = None
        payloads: list[bytes] = []
        for each in signatures:
            if not isinstance(each, Signature):
                raise TypeError(f"enqueue_many() takes signatures, such as task.s(…), not {each!r}")
            plain = each.plain()
            if plain is None:
                common = None
                self._add_other(each)
                continue
            task, args, kwargs = plain
            if common is None or common.task is not task:
                common = self._common_of(task)
                if common is None:
                    self._add_other(each)
                    continue
                payloads = []
                self._drafts.append((common, payloads))
            if common.arguments is not None:
                common.arguments.check(args, kwargs)
            try:
                payload = encode_call(common.serializer, args, kwargs)
            except EncodeError as error:
                error.add_note(f"The call of task {common.name!r} was not sent.")
                raise
            if len(payload) > common.most:
                raise PayloadTooLarge(len(payload), common.most, common.name)
            payloads.append(payload)

    def _common_of(self, task: Task[..., Any]) -> _Common | None:
        """Return what calls of *task* share; None if each must be looked at by itself."""
        app, conf = self._app, self._app.conf
        directions = app.client.directions
        known = directions.by_name(task.name, task.defaults)
        if known is None or known[1]:
            return None
        defaults = known[0]
        serializer = defaults.serializer or conf.task_serializer
        if (
            task.name not in app.tasks
            or defaults.expires is not None
            or defaults.mask is not None
            or serializer not in conf.accept_content
            or defaults.compression
            or conf.task_compression
        ):
            return None
        queue = defaults.queue or conf.task_default_queue
        own = defaults.priority
        priority = conf.task_default_priority if own is None else own
        if directions.checks:
            priority = directions.urgency(
                task.name, queue, priority, running.get(), own is not None
            )
        checked = conf.strict_typing if task.typing is None else task.typing
        return _Common(
            task=task,
            name=task.name,
            queue=queue,
            priority=priority,
            serializer=serializer,
            ignored=not task.keeps_result(),
            arguments=task.arguments if checked else None,
            most=conf.payload_max,
        )

    def _add_other(self, each: Signature[Any]) -> None:
        """Make the message of a call that has options of its own, or no task here."""
        app = self._app
        args, kwargs, options = each.merged()
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

    def finish(self) -> tuple[list[Message], list[AsyncResult[Any]]]:
        """Return the messages, signed, and their results, in the order of the calls.

        The ids are drawn here, all together, and not before: the calls come from code of the
        application, which may fork between two of them.
        """
        app = self._app
        run = running.get()
        root = "" if run is None else run.root_id or ""
        parent = "" if run is None else run.id or ""
        now, here = app.client.wall(), origin()
        messages: list[Message] = []
        results: list[AsyncResult[Any]] = []
        for first, second in self._drafts:
            if isinstance(first, Message):
                messages.append(first)
                results.append(AsyncResult(first.header.id, app, bool(second)))
                continue
            payloads = cast("list[bytes]", second)
            header = Header(
                id="",
                task=first.name,
                nonce="",
                queue=first.queue,
                priority=first.priority,
                serializer=first.serializer,
                sent=now,
                origin=here,
                root=root,
                parent=parent,
            )
            calls = new_calls(len(payloads))
            messages += self._composed(like(header, calls), payloads)
            results += [AsyncResult(id, app, first.ignored) for id, _ in calls]
        if parent:
            for result in results:
                note_child(result)
        return messages, results

    def _composed(self, headers: list[Header], payloads: list[bytes]) -> list[Message]:
        if self._app.signer is None:
            return compose_all(headers, payloads)
        return list(map(self._app.client.signed, headers, payloads))
