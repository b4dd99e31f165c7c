"""The Lua scripts: each is what it shares with others, put before its own text.

Part of the Redis store. The sources stand in ``lua/``; ``step.lua`` says what is kept under which
key. A name behind ``$`` in them is the place of a field in a packed array, as :data:`FIELDS` and
:data:`OPTIONS` say: here and there go by one list.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Final

import msgspec

from celeriac.stores.base import Options
from celeriac.stores.redis import schema
from celeriac.stores.redis.script import Script

#: A record's state, packed behind its base in this order; Lua counts from 1.
FIELDS: Final = (
    "state",
    "attempt",
    "nonce",
    "applied",
    "sequence",
    "retries",
    "crashes",
    "losses",
    "generation",
    "stamp",
    "leased",
    "started",
    "ended",
    "expires",
    "revoked",
    "terminate",
    "cause",
    "reason",
    "progress",
    "drop",
    "worker",
    "special",
    "due",
    "queue",
    "flags",
    "priority",
)
#: What scripts are told of the options, in this order; None (for ever) is false there.
OPTIONS: Final = (
    "result_expires",
    "tombstone_expires",
    "revoke_expires",
    "dead_expires",
    "dead_limit",
    "lease",
    "reap_interval",
    "join_seal",
    "max_losses",
    "loss_delay",
    "mirror",
    "cluster",
)
#: Bytes from which on a message is not carried through Lua where that can be helped: it reads every
#: byte of a string that it makes, to hash it, at a byte a nanosecond.
LONG: Final = 16_384
_PLACES: Final = {
    **{name: str(place) for place, name in enumerate(FIELDS, 1)},
    **{f"o_{name}": str(place) for place, name in enumerate(OPTIONS, 1)},
    "last": str(len(FIELDS)),
    "long": str(LONG),
}
_NAMED: Final = re.compile(r"\$(\w+)")

_STEP: Final = ("step", "finish")
_GIVE: Final = (*_STEP, "give")
_INSERT: Final = (*_STEP, "insert")
#: Script → the files before it.
_SHARED: Final[dict[str, tuple[str, ...]]] = {
    "enqueue_plain": (),
    "enqueue_members": (),
    "enqueue": _INSERT,
    "open_join": _INSERT,
    "seal": _STEP,
    "claim": _INSERT,
    "save_entry": (),
    "register": _STEP,
    "unpark": _STEP,
    "exchange": ("lean", *_GIVE, "insert", "commit", "lease"),
    "beat": _GIVE,
    "leases": (*_GIVE, "owners"),
    "release": _GIVE,
    "update": _GIVE,
    "close": (*_GIVE, "owners"),
    "reap_begin": _GIVE,
    "lose": (*_GIVE, "owners"),
    "pass": _STEP,
    "sweep": _STEP,
    "work_off": _STEP,
    "ring": _STEP,
    "revoke": _STEP,
    "revoke_stamps": _STEP,
    "end_all": _STEP,
    "purge": _STEP,
    "discard": _STEP,
    "forget": _STEP,
    "put": _STEP,
    "retry": _INSERT,
    "read": (),
    "stamps": _STEP,
    "look": (),
    "mirrored": (),
    "wake": (),
}
#: Those that make new work keep to ``maxmemory``; all others must run for a full server to drain.
_KEEPS_TO_MAXMEMORY: Final = frozenset(
    {"enqueue_plain", "enqueue_members", "enqueue", "open_join", "claim", "put", "save_entry"}
)
#: Those whose repeat would answer otherwise than the first time, or do more (``Steps.run_once``).
ONCE: Final = frozenset({"retry", "discard", "purge", "end_all", "claim"})
#: Those that write nothing.
_READS: Final = frozenset({"read", "look", "stamps"})
#: Redis 6.2 has no flags. It refuses what may take memory only where a script has written nothing
#: so far; a removal never is refused, and of what is not there it changes nothing.
_OPENING: Final = "redis.call('UNLINK', KEYS[1] .. 'no such key')"


@cache
def script(name: str, flags: bool) -> Script:
    """The script *name*; *flags*: the server knows flags (Redis 7, Valkey)."""
    text = "\n".join(_source(each) for each in (*_SHARED[name], name))
    if name in ONCE:
        text = f"local function step()\n{text}\nend\n{_source('once')}"
    text = f"{schema.guard(writes=name not in _READS)}\n{text}"
    if name not in _KEEPS_TO_MAXMEMORY:
        if flags:
            text = f"#!lua flags=allow-oom\n{text}"
        elif name not in _READS:
            text = f"{_OPENING}\n{text}"
    return Script.of(name, text)


def names() -> tuple[str, ...]:
    """Of all scripts."""
    return tuple(_SHARED)


def pack_options(options: Options, cluster: bool) -> bytes:
    """What scripts are told of *options*, and whether they run in a cluster."""
    forever = options.result_expires is None
    values: tuple[object, ...] = (
        False if forever else options.result_expires,
        options.tombstone_expires,
        options.revoke_expires,
        options.dead_expires,
        options.dead_limit,
        options.lease,
        options.reap_interval,
        options.join_seal_timeout,
        options.max_losses,
        options.loss_delay,
        options.mirror,
        cluster,
    )
    return msgspec.msgpack.encode(values)


@cache
def _source(name: str) -> str:
    text = (resources.files(__package__) / "lua" / f"{name}.lua").read_text()
    return _NAMED.sub(lambda found: _PLACES[found[1]], text)
