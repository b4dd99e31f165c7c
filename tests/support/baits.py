"""Bytes that are well made and name what must not be looked up, or not run: seeds of decoders.

``canary`` is a module that nobody imports, ``this`` one of Python's; ``traps`` is loaded, and none
of what is in it is registered.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import traps

from celeriac.bodies import seal
from celeriac.control import wire
from celeriac.message import Header, compose
from celeriac.outcome import Failure, ResultBody

#: Modules that are not there before, nor afterwards.
MODULES = frozenset({"canary", "this"})
#: Names of what could be run.
TASKS = ("canary.run", "canary:run", "traps.run", "traps:run", "os.system")
#: Names of what could be made, and as what.
CLASSES = (
    *(("canary:Trap", kind) for kind in ("enum", "dataclass", "struct", "model")),
    ("this:s", "enum"),
    *((f"{traps.__name__}:{cls.__name__}", kind) for cls, kind in (
        (traps.Plain, "dataclass"), (traps.Plain, "struct"), (traps.Plain, "model"),
        (traps.Fields, "dataclass"), (traps.Packed, "struct"), (traps.Colour, "enum"),
        (traps.Rights, "enum"),
    )),
)  # fmt: skip


def tagged(name: str, kind: str) -> dict[str, Any]:
    """A value that says that it is of the class *name*."""
    said = {"name": "A", "value": 1} if kind == "enum" else {"fields": {"x": 1}}
    return {"__type__": kind, "__value__": {"class": name, **said}}


#: The last one is of no member.
VALUES = [tagged(*each) for each in CLASSES]
VALUES.append(tagged("traps:Rights", "enum"))
VALUES[-1]["__value__"].update(name="A|B", value=64)
JSON = json.dumps(VALUES).encode()
MSGPACK = msgspec.msgpack.encode(VALUES)
CALL = b"[%b,{}]" % JSON


def messages(id: str, task: str) -> tuple[bytes, ...]:
    """Messages of *id*: of the registered *task* with such arguments, of tasks that are none, and
    in a form that is none. The last of them is not unpacked."""
    headers = [
        Header(id, task, "n"), *(Header(id, each, "n") for each in TASKS),
        Header(id, task, "n", serializer="canary:Trap"),
        Header(id, task, "n", compression="canary:Trap"),
    ]  # fmt: skip
    first, *others = headers
    return (compose(first, CALL).encode(), *(compose(each, b"[[],{}]").encode() for each in others))


def results(id: str) -> tuple[bytes, ...]:
    """Results of *id*: such values, and failures with exceptions that nobody knows here."""
    bodies = [
        ResultBody("json", JSON), ResultBody("msgpack", MSGPACK),
        *(ResultBody(failure=Failure(each, "why", args=("a",)))
          for each in ("canary.Trap", "traps.Trap", "this.s")),
    ]  # fmt: skip
    return tuple(seal(each, id, None) for each in bodies)


COMMANDS = tuple(
    wire.seal_command(None, wire.Command("ticket", each, 1.8e9, {"task_name": each}))
    for each in TASKS
)
REPLY = wire.seal_reply(None, "t", wire.Reply("o", "a@x", {"ok": VALUES}))
EVENTS = wire.seal_events(None, [{"type": each, "uuid": each, "args": VALUES} for each in TASKS])
SIGNATURES = (
    json.dumps({"task": "canary.run", "args": VALUES, "subtask_type": None}).encode(),
    json.dumps({"task": "traps.run", "options": {"link": [{"task": "canary:run"}]}}).encode(),
)
LINE = json.dumps([["canary:Trap", None], [[["traps:run", None], None]]]).encode()
TEXTS = (
    b"canary:Trap", b"canary.run", b"canary", b'{"canary.run": {"queue": "canary:Trap"}}',
    b'["canary:Trap", "this"]', b"canary://x",
)  # fmt: skip
REASONS = tuple(b"%b: why" % each.encode() for each in ("canary.Trap", "traps.Trap", *TASKS))
