"""What waits in the store, as a test sees it, and how it is compared with what was expected.

Layer 6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from celeriac.exceptions import EncodeError
from celeriac.message import Message
from celeriac.serialization import decode, encode

__all__ = ["Enqueued", "Expected", "listing", "name_of", "view"]

#: Times that differ by less, in seconds, are the same: they went through floats and ISO texts.
_SAME: Final = 0.001
_SHOWN: Final = 20


@dataclass(frozen=True)
class Enqueued:
    """One call that was sent."""

    id: str
    #: The task's name.
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str
    priority: int
    #: Seconds that it was to wait, from when it was sent or asked to be repeated.
    countdown: float | None
    eta: datetime | None
    expires: datetime | None
    headers: Mapping[str, Any] | None
    retries: int
    serializer: str

    def __str__(self) -> str:
        call = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.kwargs.items())]
        text = f"{self.task}({', '.join(call)}) in queue {self.queue!r}"
        if self.countdown is not None:
            text += f", countdown {self.countdown:g} s"
        if self.priority:
            text += f", priority {self.priority}"
        return f"{text}, repeat {self.retries}" if self.retries else text


def view(
    message: Message,
    accept: Sequence[str],
    due: float | None,
    retries: int = 0,
    waits: float | None = None,
) -> Enqueued:
    """Return what a test sees of *message*: *due* at that moment, after *waits* seconds."""
    header = message.header
    args, kwargs = decode(header.serializer, message.content(), accept)
    if waits is None and due is not None:
        waits = due - header.sent
    return Enqueued(
        header.id, header.task, args, kwargs, header.queue, header.priority,
        None if due is None or waits is None else round(waits, 3), _moment(due),
        _moment(header.expires), header.headers, retries, header.serializer,
    )  # fmt: skip


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def name_of(task: Any) -> str:
    """Return the name of a task, given as itself or as its name."""
    name = task if isinstance(task, str) else getattr(task, "name", None)
    if not isinstance(name, str):
        raise TypeError(f"expected a task or the name of one, not {task!r}")
    return name


class Expected:
    """What a call is compared with; None means anything.

    *args* and *kwargs* are compared as they were given and, if they differ so, as what the
    serializer makes of them: a tuple is a list after that.
    """

    def __init__(self, task: Any = None, **wanted: Any) -> None:
        self._task = None if task is None else name_of(task)
        self._wanted = {name: value for name, value in wanted.items() if value is not None}

    def matches(self, call: Enqueued) -> bool:
        """Whether *call* is such a one."""
        if self._task is not None and call.task != self._task:
            return False
        return all(_same(name, value, call) for name, value in self._wanted.items())

    def miss(self, calls: Sequence[Enqueued], found: int = 0, count: int | None = None) -> str:
        """Return what to say if *calls* are not as expected: *found* of them match."""
        wanted = ", ".join(f"{name}={value!r}" for name, value in self._wanted.items())
        what = (self._task or "a task") + (f" with {wanted}" if wanted else "")
        if count is not None:
            text = f"{what} is enqueued {_times(found)}, expected {_times(count)}."
        else:
            text = f"{what} is not enqueued."
        return f"{text} {listing(calls)}"


def listing(calls: Sequence[Enqueued]) -> str:
    """Return *calls* as text."""
    if not calls:
        return "Nothing is enqueued."
    lines = [f"\n  {each}" for each in calls[:_SHOWN]]
    more = len(calls) - _SHOWN
    return "Enqueued:" + "".join(lines) + (f"\n  … and {more} more" if more > 0 else "")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _same(name: str, wanted: Any, call: Enqueued) -> bool:
    found = getattr(call, name)
    if name == "args":
        return bool(list(wanted) == found or _read(list(wanted), call) == found)
    if name == "kwargs":
        return bool(dict(wanted) == found or _read(dict(wanted), call) == found)
    if found is None:
        return False
    if name == "countdown":
        seconds = wanted.total_seconds() if isinstance(wanted, timedelta) else wanted
        return bool(abs(seconds - found) < _SAME)
    if name in {"eta", "expires"}:
        return bool(abs((wanted - found).total_seconds()) < _SAME)
    return bool(wanted == found)


def _read(value: Any, call: Enqueued) -> Any:
    try:
        return decode(call.serializer, encode(call.serializer, value), (call.serializer,))
    except EncodeError:  # then it cannot have been sent
        return NotImplemented
