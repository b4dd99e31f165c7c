"""What the memory store does with messages and joins that are new to it.

Private to ``stores/memory``. The caller holds the lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from celeriac import states
from celeriac.exceptions import HeaderIncomplete, StoreError
from celeriac.message import Message, NewJoin, check_joins
from celeriac.stores import finish
from celeriac.stores.memory.core import Core
from celeriac.stores.memory.rows import Join


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
    store(core, new, joins)


def store(
    core: Core, new: Sequence[Message], joins: Iterable[NewJoin] = (), waits: bool = False
) -> None:
    """Store messages that ``check_new`` has passed, and the joins whose bodies are among them."""
    fresh = {each.id for each in new} if joins else set()
    made = [each for each in joins if each.body in fresh]
    revoked = [each.id for each in new if core.insert(each, waits)]
    now = core.clock.monotonic()
    for each in made:
        core.joins[each.id] = Join(each.id, each.body, now, size=each.size or None)
    # What ends or completes as it is stored must find all that it leads to.
    for id in revoked:
        core.finish(id, states.CANCELLED, finish.REVOKED_REASON)
    for each in made:
        if not each.size:
            core.apply(finish.seal(core, each.id, 0, now=core.clock.wall()))


def open_join(core: Core, join: str, body: Message, errbacks: Sequence[Message]) -> None:
    """See ``stores.base.Queue.open_join``."""
    new = core.check_new([body, *errbacks])
    if join not in core.joins or body in new:
        store(core, new, waits=True)
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


__all__ = ["enqueue", "open_join", "seal", "store"]
