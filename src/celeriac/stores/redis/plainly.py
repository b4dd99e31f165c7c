"""Sending what is simply queued, which most messages are: by scripts that need little else.

Part of the Redis store; for ``queue``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from celeriac.message import Alike, Edges, Header, Message
from celeriac.stores.redis.packing import member_entry, plain_entries, plain_entry
from celeriac.stores.redis.steps import Steps

__all__ = ["enqueue_plain"]

_NO_EDGES: Final = Edges()


def enqueue_plain(steps: Steps, messages: Sequence[Message], join: str | None = None) -> bool:
    """Store messages (at least one) that are all simply queued, in one place, and new; with *join*,
    members of that open join. False, with nothing stored, if they are not so."""
    if isinstance(messages, Alike):
        if join is None and not messages.header.flow:
            return _alike(steps, messages)
    elif join is None and not messages[0].header.flow:
        return _plain(steps, messages)
    return _members(steps, messages, join or "")


def _plain(steps: Steps, messages: Sequence[Message]) -> bool:
    first = messages[0].header
    queue, priority = first.queue, first.priority
    args: list[bytes | str] = []
    for each in messages:
        header = each.header
        if (
            header.edges is not None
            or header.flow
            or not _due(header)
            or header.queue != queue
            or header.priority != priority
        ):
            return False
        args += (header.id, plain_entry(each))
    if _twice(messages):
        return False
    return bool(steps.run_bare("enqueue_plain", queue, str(priority), *args))


def _alike(steps: Steps, messages: Alike) -> bool:
    """The same for messages that differ in id and nonce alone."""
    header = messages.header
    if header.edges is not None or not _due(header):
        return False
    if len(dict(messages.calls)) != len(messages):
        return False
    args: list[bytes | str] = []
    for (id, _), entry in zip(messages.calls, plain_entries(messages), strict=True):
        args += (id, entry)
    return bool(steps.run_bare("enqueue_plain", header.queue, str(header.priority), *args))


def _members(steps: Steps, messages: Sequence[Message], join: str) -> bool:
    """The same for parts of one workflow that wait for nothing."""
    first = messages[0].header
    place = first.queue, first.priority, first.flow
    if not first.flow:
        return False
    args: list[bytes | str] = []
    for each in messages:
        header = each.header
        edges = header.edges or _NO_EDGES
        if (
            (header.queue, header.priority, header.flow) != place
            or not _due(header)
            or not _alone(edges)
        ):
            return False
        args += (header.id, member_entry(each))
    if _twice(messages):
        return False
    queue, priority, flow = place
    return bool(steps.run_bare("enqueue_members", join, queue, str(priority), flow, *args))


def _due(header: Header) -> bool:
    return header.eta is None and header.expires is None


def _alone(edges: Edges) -> bool:
    """Whether a record with these neither waits nor refers to another."""
    return not (
        edges.waits
        or edges.takes
        or edges.gathers
        or edges.success
        or edges.failure
        or edges.own
        or edges.told
    )


def _twice(messages: Sequence[Message]) -> bool:
    """Whether two of them have one id."""
    return len(messages) > 1 and len({each.header.id for each in messages}) != len(messages)
