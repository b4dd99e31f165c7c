"""What the memory store does with messages and joins that are new to it.

Private to ``stores/memory``. The caller holds the lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from celeriac import states
from celeriac.exceptions import DecodeError, DuplicateTask, HeaderIncomplete, StoreError
from celeriac.message import Message, NewJoin, check_joins, decode
from celeriac.outcome import Outcome
from celeriac.stores import finish
from celeriac.stores.effects import outsiders
from celeriac.stores.fates import Fate
from celeriac.stores.memory.core import Core
from celeriac.stores.memory.rows import Join, Row


class Accepted(NamedTuple):
    """An outcome with what it brings, decoded and checked."""

    outcome: Outcome
    message: Message | None = None
    parts: Sequence[Message] = ()


def enqueue(
    core: Core, messages: Sequence[Message], join: str | None, joins: Sequence[NewJoin]
) -> None:
    """See ``stores.base.Queue.enqueue``."""
    if joins:
        check_joins(messages, joins)
    opened = _open(core, join) if join is not None else None
    new = core.check_new(messages)
    if opened is not None:
        opened.touched = core.clock.monotonic()
        opened.arrived += len(new)
        if opened.size is None:
            fresh = {each.id for each in new}
            opened.outsiders += [id for id in outsiders(messages, joins) if id in fresh]
    store(core, new, joins)


def store(
    core: Core,
    new: Sequence[Message],
    joins: Iterable[NewJoin] = (),
    waits: bool = False,
    committed: str | None = None,
) -> None:
    """Store messages that ``check_new`` has passed, and the joins whose bodies are among them.

    *committed*: the id of the record whose commit brings them; joins may grow by them, and it may
    be a body itself.
    """
    fresh = {committed, *(each.id for each in new)} if joins else set()
    made = [each for each in joins if each.body in fresh]
    revoked = [each.id for each in new if core.insert(each, waits)]
    now = core.clock.monotonic()
    for each in made:
        core.joins[each.id] = Join(each.id, each.body, now, size=each.size or None)
    if committed is not None:
        core.apply(finish.grow(core, (each.header.edges for each in new)))
    # What ends or completes as it is stored must find all that it leads to.
    for id in revoked:
        core.finish(id, states.CANCELLED, finish.REVOKED_REASON)
    for each in made:
        if not each.size:
            core.apply(finish.seal(core, each.id, 0, now=core.clock.wall()))


def accepted(core: Core, id: str, outcome: Outcome) -> Accepted:
    """The outcome of record *id*, or the failure it becomes if its content cannot be stored."""
    size = len(outcome.body or b"")
    if size > core.options.result_max:
        reason = (
            f"ResultTooLarge: the result takes {size} bytes and "
            f"{core.options.result_max} are allowed"
        )
        return Accepted(Outcome(states.FAILED, reason=reason))
    try:
        message = decode(outcome.message) if outcome.message is not None else None
        parts = [decode(part) for part in outcome.parts]
        if outcome.joins:
            check_joins([*parts, *([message] if message is not None else [])], outcome.joins)
        return Accepted(outcome, message, core.check_new(parts))
    except (DecodeError, DuplicateTask, StoreError) as error:
        return Accepted(Outcome(states.FAILED, reason=f"{type(error).__name__}: {error}"))


def replace(core: Core, row: Row, fate: Fate, given: Accepted) -> None:
    """Give back a row that goes on, with a new message perhaps; store what comes with it."""
    message, wire = given.message, given.outcome.message
    if message is not None and wire is not None:
        core.move(row, states.WAITING)
        core.take_message(row, message, wire)
    # One that waits must do so before what it waits for is stored, which may end at once.
    core.give(row, fate)
    store(core, given.parts, given.outcome.joins, committed=row.id)


def open_join(core: Core, join: str, messages: Sequence[Message], joins: Sequence[NewJoin]) -> None:
    """See ``stores.base.Queue.open_join``; the body is the first of *messages*."""
    if joins:
        check_joins(messages, joins)
    new, body = core.check_new(messages), messages[0]
    if join not in core.joins or body in new:
        store(core, new, joins, waits=True)
        core.joins[join] = Join(join, body.id, core.clock.monotonic())


def seal(core: Core, join: str, size: int) -> None:
    """See ``stores.base.Queue.seal``."""
    _open(core, join)
    core.apply(finish.seal(core, join, size, now=core.clock.wall()))


def _open(core: Core, join: str) -> Join:
    found = core.joins.get(join)
    if found is None:
        raise StoreError(f"join {join} is not known: open it before its members are sent")
    if found.node().given_up:
        raise HeaderIncomplete(join, found.arrived)
    return found


__all__ = ["Accepted", "accepted", "enqueue", "open_join", "replace", "seal", "store"]
