"""Named places where a test may make the process die, stop or fail.

Layer 0: standard library only. In production every :func:`crashpoint` is one call that looks at
one global and returns. A test arms them through the environment variable
``CELERIAC_CRASHPOINT``: comma-separated ``name:hit:action`` with action one of ``kill`` (SIGKILL
to itself), ``killsession`` (SIGKILL to every process of its session, itself last: of a worker that
leads one, supervisor, zygote and executors at once, each of which has a process group of its own),
``stop`` (SIGSTOP to itself), ``exit`` (``os._exit(1)``), ``raise`` (:class:`CrashpointReached`);
*hit* counts from 1.

The list of names is closed: :data:`POINTS` says where each one stands, and a test asserts that
every one of them is reached.
"""

from __future__ import annotations

import os
import signal
from typing import Final, NoReturn

ENVIRONMENT: Final = "CELERIAC_CRASHPOINT"

#: name → the moment it stands for.
POINTS: Final[dict[str, str]] = {
    "enqueue.before": "client: the message is built, nothing is stored",
    "enqueue.applied": "store: the records are committed, the caller does not know yet",
    "exchange.before": "store: outcomes handed over, nothing is stored",
    "exchange.applied": "store: outcomes and new leases committed, the worker does not know yet",
    "release.applied": "store: leases handed back, the worker does not know yet",
    "beat.applied": "store: heartbeat committed, the worker does not know yet",
    "reap.applied": "store: one batch of a reap pass committed, more may follow",
    "sweep.before": "store: a large step is committed, the next batch of what it left is not done",
    "close.applied": "store: everything handed back and the owner gone",
    "revoke.applied": "store: one batch of ids is revoked, more may follow",
    "purge.applied": "store: one batch of what a queue held has ended, more may follow",
    "retry.applied": "store: what failed is reopened, who asked for it does not know",
    "discard.applied": "store: records are removed, who asked for it does not know",
    "migrate.begun": "store: an older schema was found, nothing of its migration is committed",
    "migrate.applied": "store: the migration is committed, whoever made it has done nothing yet",
    "delivery.received": "supervisor: deliveries decoded, not yet sent to an executor",
    "delivery.sent": "supervisor: a frame with deliveries went to an executor",
    "outcome.received": "supervisor: outcomes read from an executor, not yet in an exchange",
    "relay.read": "supervisor: results read from the outbox, the store of results has not got them",
    "relay.brought": "supervisor: the store of results has them, the outbox still lists them",
    "relay.struck": "supervisor: results are there and struck out of the outbox",
    "executor.received": "executor: a delivery is decoded, the task body has not begun",
    "executor.ran": "executor: the task body returned, its outcome is not sent",
    "executor.sent": "executor: the outcome is in the pipe",
}


class CrashpointReached(BaseException):
    """Raised by an armed crash point with the action ``raise``."""


def _parse(text: str) -> dict[str, list[tuple[int, str]]]:
    armed: dict[str, list[tuple[int, str]]] = {}
    for item in filter(None, text.split(",")):
        name, hit, action = item.split(":")
        if name not in POINTS or action not in _ACTIONS:
            raise ValueError(f"{ENVIRONMENT}: unknown crash point or action in {item!r}")
        armed.setdefault(name, []).append((int(hit), action))
    return armed


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _killsession() -> None:
    from pathlib import Path  # its import would take 4 ms of every client

    session = os.getsid(0)
    for entry in Path("/proc").iterdir():
        try:
            pid = int(entry.name)
            if pid != os.getpid() and os.getsid(pid) == session:
                os.kill(pid, signal.SIGKILL)
        except (ValueError, ProcessLookupError, PermissionError):
            continue  # no process, or one that has ended meanwhile
    _kill()


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _exit() -> None:
    os._exit(1)


def _raise() -> NoReturn:
    raise CrashpointReached


_ACTIONS: Final = {
    "kill": _kill,
    "killsession": _killsession,
    "stop": _stop,
    "exit": _exit,
    "raise": _raise,
}
_hits: dict[str, int] = {}
_armed: dict[str, list[tuple[int, str]]] | None = (
    _parse(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None
)


def arm(text: str) -> None:
    """Arm crash points in this process, as the environment variable would; ``""`` disarms."""
    global _armed
    _hits.clear()
    _armed = _parse(text) if text else None


def crashpoint(name: str) -> None:
    """Do nothing, unless a test armed *name*."""
    if _armed is None:
        return
    hit = _hits[name] = _hits.get(name, 0) + 1
    for wanted, action in _armed.get(name, ()):
        if hit == wanted:
            _ACTIONS[action]()


__all__ = ["ENVIRONMENT", "POINTS", "CrashpointReached", "arm", "crashpoint"]
