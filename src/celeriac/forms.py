"""Forms: what plain calls of one task have in common, worked out once.

Layer 4. A call is plain if it has no options of its own, and nothing but names and settings decides
how it is sent. Most calls are, and each of them waits for what is done here, so it is done before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from celeriac.exceptions import EncodeError, PayloadTooLarge
from celeriac.message import Header
from celeriac.serialization import encode_call

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.app.task import Task
    from celeriac.arguments import Arguments
    from celeriac.context import Context

__all__ = ["Form", "form_of"]


class Form(msgspec.Struct, frozen=True, gc=False):
    """See the module's docstring. It holds for one state of the task and of the settings."""

    task: str
    queue: str
    priority: int
    serializer: str
    #: Results are dropped.
    ignored: bool
    #: None: arguments are not checked.
    arguments: Arguments | None
    #: Bytes of arguments that are too many if exceeded.
    most: int
    #: The priority, or whether the queue may be used, depends on the run that sends; and whether
    #: task or route name a priority.
    checked: bool
    prioritised: bool

    def payload(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Check the arguments of a call and return them as bytes.

        Raises ``TypeError``, ``EncodeError`` and ``PayloadTooLarge``.
        """
        if self.arguments is not None:
            self.arguments.check(args, kwargs)
        try:
            data = encode_call(self.serializer, args, kwargs)
        except EncodeError as error:
            error.add_note(f"The call of task {self.task!r} was not sent.")
            raise
        if len(data) > self.most:
            raise PayloadTooLarge(len(data), self.most, self.task)
        return data

    def header(
        self, app: Celeriac, run: Context | None, id: str, nonce: str, now: float, origin: str
    ) -> Header:
        """Return the header of a call that is sent by *run*, at *now*, from *origin*.

        Raises ``QueueNotFound`` for a queue that has to be declared and is not.
        """
        priority = self.priority
        if self.checked:
            priority = app.client.directions.urgency(
                self.task, self.queue, priority, run, self.prioritised
            )
        return Header(
            id=id,
            task=self.task,
            nonce=nonce,
            queue=self.queue,
            priority=priority,
            serializer=self.serializer,
            sent=now,
            origin=origin,
            root="" if run is None else run.root_id or "",
            parent="" if run is None else run.id or "",
        )


def form_of(task: Task[..., Any]) -> Form | None:
    """Return the form of *task*; None if each of its calls must be looked at by itself."""
    app, conf = task.app, task.app.conf
    directions = app.client.directions
    known = directions.by_name(task.name, task.defaults)
    if known is None:
        return None
    defaults, more = known
    serializer = defaults.serializer or conf.task_serializer
    if (
        more
        or defaults.expires is not None
        or defaults.mask is not None
        or serializer not in conf.accept_content
        or defaults.compression
        or conf.task_compression
    ):
        return None
    own = defaults.priority
    checked = conf.strict_typing if task.typing is None else task.typing
    return Form(
        task=task.name,
        queue=defaults.queue or conf.task_default_queue,
        priority=conf.task_default_priority if own is None else own,
        serializer=serializer,
        ignored=not task.keeps_result(),
        arguments=task.arguments if checked else None,
        most=conf.payload_max,
        checked=directions.checks,
        prioritised=own is not None,
    )
