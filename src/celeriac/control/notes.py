"""The fields of events: what happened to a task or a worker, as Celery names it. Pure.

Layer 4. Used by the worker's events duty and by what sends; ``control/events.py`` reads them.
"""

from __future__ import annotations

import os
import time
from typing import Any, Final

import msgspec

from celeriac import states
from celeriac.bodies import unseal
from celeriac.control.phrases import printable
from celeriac.exceptions import CeleryError, DecodeError
from celeriac.message import Header, Message
from celeriac.outcome import Failure, Outcome
from celeriac.sensitive import HideAll, Hider
from celeriac.serialization import decode

__all__ = ["LONGEST", "base", "end_of", "hider_of", "received", "sent"]

#: Characters that a value shown in an event has at most.
LONGEST: Final = 1024
_TRACEBACK: Final = 16 * 1024
#: Larger values are not read to be shown.
_READ_MOST: Final = 64 * 1024
_LEFT_OUT: Final = ("(***)", "{***}")
_REPEATED: Final = frozenset({states.SCHEDULED, states.QUEUED, states.WAITING})


def base(kind: str, hostname: str, clock: int, at: float) -> dict[str, Any]:
    """The fields that every event has. *at* is seconds since the epoch."""
    offset = time.timezone if not time.localtime(at).tm_isdst else time.altzone
    return {
        "type": kind,
        "timestamp": at,
        "utcoffset": offset // 3600,
        "pid": os.getpid(),
        "clock": clock,
        "hostname": hostname,
    }


def sent(message: Message) -> dict[str, Any]:
    """``task-sent``."""
    header = message.header
    return {
        **_call(message),
        "queue": header.queue,
        "exchange": "",
        "routing_key": header.queue,
    }


def received(message: Message, retries: int, *, hidden: bool = False) -> dict[str, Any]:
    """``task-received``; *hidden* leaves the arguments out, unless the sender says what to show."""
    header = message.header
    if hidden and not (header.argsrepr or header.kwargsrepr):
        header = msgspec.structs.replace(header, argsrepr=_LEFT_OUT[0], kwargsrepr=_LEFT_OUT[1])
        message = msgspec.structs.replace(message, header=header)
    return {**_call(message), "retries": retries}


def _call(message: Message) -> dict[str, Any]:
    header = message.header
    args, kwargs = _arguments(message)
    return {
        "uuid": header.id,
        "name": header.task,
        "args": args,
        "kwargs": kwargs,
        "root_id": header.root or header.id,
        "parent_id": header.parent or None,
        "retries": 0,
        "eta": _iso(header.eta),
        "expires": _iso(header.expires),
    }


def _arguments(message: Message) -> tuple[str, str]:
    header: Header = message.header
    if header.argsrepr and header.kwargsrepr:
        return header.argsrepr, header.kwargsrepr
    if len(message.payload) > _READ_MOST:
        text = f"(of {len(message.payload)} bytes)"
        return text, text
    try:
        args, kwargs = decode(header.serializer, message.content(_READ_MOST))
    except (CeleryError, ValueError, TypeError):
        return "(cannot be read here)", "(cannot be read here)"
    shown = header.argsrepr or repr(tuple(args)), header.kwargsrepr or repr(kwargs)
    return _clipped(shown[0]), _clipped(shown[1])


def hider_of(message: Message, *, sensitive: bool) -> Hider | None:
    """What takes the arguments out of texts, if the task is *sensitive* or its sender hid some of
    them; else None."""
    header = message.header
    if not (sensitive or header.argsrepr or header.kwargsrepr):
        return None
    try:
        return Hider([decode(header.serializer, message.content())])
    except (CeleryError, ValueError, TypeError):
        return HideAll()


def end_of(
    id: str, outcome: Outcome, runtime: float | None, signum: int | None
) -> dict[str, Any] | None:
    """What to say of the run of *id* that ended so; its ``type`` is in it. None: nothing."""
    state = outcome.state
    if state == states.SUCCEEDED:
        result = _result(id, outcome)
        return {"type": "task-succeeded", "result": result, "runtime": runtime or 0.0}
    if state in {states.FAILED, states.DEAD}:
        return {"type": "task-failed", **_failure(id, outcome)}
    if state in {states.CANCELLED, states.EXPIRED}:
        terminated = "terminated" in outcome.reason
        return {
            "type": "task-revoked",
            "terminated": terminated,
            "signum": signum if terminated else None,
            "expired": state == states.EXPIRED,
        }
    if state == states.REFUSED:
        return {"type": "task-rejected", "requeue": False}
    if state in _REPEATED and outcome.charge == "retry":
        return {"type": "task-retried", **_failure(id, outcome)}
    if state in {states.SCHEDULED, states.QUEUED}:
        return {"type": "task-rejected", "requeue": True}
    return None


def _result(id: str, outcome: Outcome) -> str:
    if outcome.body is None:
        return "None"
    try:
        body = unseal(outcome.body, id, None)  # from our own executor, which has signed it
        if body.value is None:
            return "None"
        if len(body.value) > _READ_MOST:
            return f"(of {len(body.value)} bytes)"
        return _clipped(repr(decode(body.serializer, body.content(_READ_MOST) or b"")))
    except (CeleryError, ValueError, TypeError):
        return "(cannot be read here)"


def _failure(id: str, outcome: Outcome) -> dict[str, str]:
    failure: Failure | None = None
    if outcome.body is not None:
        try:
            failure = unseal(outcome.body, id, None).failure
        except DecodeError:
            failure = None  # the reason says the same in one line
    if failure is None:
        head, _, rest = outcome.reason.partition("\n")
        if head.startswith("Retry "):  # "Retry in 3s: ValueError('no')"
            head = head.partition(": ")[2] or head
        return {"exception": _clipped(head), "traceback": printable(rest[:_TRACEBACK])}
    name = failure.type.rpartition(".")[2]
    return {
        "exception": _clipped(f"{name}({failure.message!r})" if failure.message else f"{name}()"),
        "traceback": printable(failure.traceback[-_TRACEBACK:]),
    }


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _iso(at: float | None) -> str | None:
    if at is None:
        return None
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).isoformat()
