"""Ids of tasks, owners and sends: how they are made and which are allowed. For anybody."""

import re
from os import urandom
from struct import pack
from time import time_ns
from typing import Final
from uuid import UUID

__all__ = [
    "derived_id",
    "new_call",
    "new_calls",
    "new_nonce",
    "new_owner_id",
    "new_task_id",
    "valid_id",
]

_VALID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@/-]{0,127}")

_VARIANT: Final = 1 << 63  # the two top bits of a UUID's second half are 10 (RFC 9562, 4.1)
_BELOW_VARIANT: Final = (1 << 62) - 1
#: The first byte of that half with these bits, by what it was.
_WITH_VARIANT: Final = bytes(0x80 | byte & 0x3F for byte in range(256))

# The last time part given out: milliseconds << 12 | counter.
_last_tick = 0
# The last millisecond and what ids made in it begin with; set together, for there is no lock.
_last_head = 0, "00000000-0000"


def new_task_id() -> str:
    """A new task id: a UUID of version 7 (RFC 9562), as text.

    It begins with the time, so that tasks sent together lie together in a store's index, where
    random ids would touch a page for each task. Within a process ids grow even inside one
    millisecond (RFC 9562, 6.2, method 1: a 12-bit counter that runs on into the milliseconds).

    Two ids never meet because of 60 bits fresh from the kernel, not because of the counter. So
    there is no lock, and this may be called from a signal handler, from any thread, and in a
    child forked in the middle of a call: a lock could be held for ever in each of these. Threads
    that race for the counter may at worst get ids out of order.
    """
    return new_call()[0]


def new_call() -> tuple[str, str]:
    """A new task id and, from the same draw of the kernel, the mark of its send.

    The id is one of :func:`new_task_id`, the mark one of :func:`new_nonce`. They share no bits.
    """
    global _last_tick, _last_head
    tick = (time_ns() // 1_000_000) << 12
    if tick <= _last_tick:
        tick = _last_tick + 1
    _last_tick = tick
    known, head = _last_head
    if known != tick >> 12:
        head = _head(tick >> 12)
        _last_head = tick >> 12, head
    drawn = urandom(16).hex()  # its first digit gives way to an 8, the variant (RFC 9562, 4.1)
    return f"{head}-7{tick & 0xFFF:03x}-8{drawn[1:4]}-{drawn[4:16]}", drawn[16:]


def _head(millisecond: int) -> str:
    """The part of an id that says the time, all but the counter."""
    digits = f"{millisecond:012x}"
    return f"{digits[:8]}-{digits[8:]}"


def new_calls(count: int) -> list[tuple[str, str]]:
    """`count` results of :func:`new_call`, growing, with one draw of the kernel for all.

    They are to be used by this process and not kept: a child forked in between would have them
    as well.
    """
    global _last_tick
    first = (time_ns() // 1_000_000) << 12
    if first <= _last_tick:
        first = _last_tick + 1
    _last_tick = first + count - 1
    # Written as text all together, and cut by the conversion itself, which costs a third of what
    # it costs to do that for each.
    drawn = bytearray(urandom(16 * count))
    drawn[: 2 * count : 2] = drawn[: 2 * count : 2].translate(_WITH_VARIANT)
    fours = drawn[: 2 * count].hex("|", 2).split("|")
    twelves = drawn[2 * count : 8 * count].hex("|", 6).split("|")
    marks = drawn[8 * count :].hex("|", 8).split("|")
    ids: list[str] = []
    at, end = first, first + count
    while at < end:
        upto = min(end, (at | 0xFFF) + 1)  # those of one millisecond
        head = _head(at >> 12)
        lows = range(0x7000 | at & 0xFFF, (0x7000 | at & 0xFFF) + upto - at)
        sevens = pack(f">{len(lows)}H", *lows).hex("|", 2).split("|")
        mine = slice(at - first, upto - first)
        ids += [
            f"{head}-{seven}-{four}-{twelve}"
            for seven, four, twelve in zip(sevens, fours[mine], twelves[mine], strict=True)
        ]
        at = upto
    return list(zip(ids, marks, strict=False))  # of none, one empty mark


def new_owner_id() -> str:
    """A new id for one incarnation of a worker: 16 hex digits, never used again."""
    return urandom(8).hex()


def new_nonce() -> str:
    """A new mark for one send: 16 hex digits. The same id and mark again is a resend."""
    return urandom(8).hex()


def derived_id(parent: str, edge: str, ordinal: int) -> str:
    """The id of a successor, the same whoever works it out, and however often.

    So a completion that is repeated releases the same task again, which is a no-op. It is a UUID
    of version 8 (RFC 9562, 5.8): blake2b of ``parent|edge|ordinal``. The attempt is not part of
    it, or a second attempt would release a second successor.

    Args:
        parent: id of the task that is followed.
        edge: kind of the edge, such as ``link`` or ``errback``; without ``|``.
        ordinal: which of the edges of this kind, from 0.

    Raises:
        ValueError: if `parent` or `edge` holds ``|``: two sets of arguments could share an id.
    """
    if "|" in parent or "|" in edge:
        raise ValueError(f"parent {parent!r} and edge {edge!r} must not hold '|'")
    from hashlib import blake2b  # here, because it loads OpenSSL and few programs need it

    digest = blake2b(f"{parent}|{edge}|{ordinal}".encode(), digest_size=16).digest()
    high = int.from_bytes(digest[:8], "big") & ~0xF000 | 0x8000
    low = int.from_bytes(digest[8:], "big") & _BELOW_VARIANT | _VARIANT
    return str(UUID(int=high << 64 | low))


def valid_id(text: str) -> bool:
    """Whether `text` may be a task id or a queue's name.

    1 to 128 characters, the first a letter or digit, the others of ``A-Z a-z 0-9 _ . : @ / -``,
    ASCII only. So an id is safe in a key, a log line, a shell word and a URL.
    """
    return _VALID.fullmatch(text) is not None
