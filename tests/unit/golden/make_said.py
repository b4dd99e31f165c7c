"""Write the golden files of what is no message and no result: signatures as JSON, and what passes
between workers and those who steer or watch them.

    python tests/unit/golden/make_said.py

As ``make.py`` beside it: a file that exists is never written again; a new form gets a new name.
``NAME.signature`` is what ``json.dumps`` made of a workflow, with what it comes to in
``NAME.json``; ``NAME.publication`` the bytes of a command, an answer or events, with what they say.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from celeriac import Celeriac, chain, chord, group
from celeriac.control.wire import Command, Reply, seal_command, seal_events, seal_reply
from celeriac.signing import Signer

HERE = Path(__file__).parent
SECRET = "a golden secret, known to all"
NAMESPACE = "golden"
TICKET = "019a1b2c3d4e7f5a"

app = Celeriac("golden", broker="memory://", set_as_current=False)


@app.task(name="golden.add")
def add(x: Any, y: Any) -> Any:
    return x + y


@app.task(name="golden.total")
def total(numbers: Any) -> Any:
    return sum(numbers)


@app.task(name="golden.named")
def named(value: Any, name: str = "") -> Any:
    return f"{name}: {value}"


@app.task(name="golden.told")
def told(*args: Any) -> None:
    """An errback."""


def signatures() -> dict[str, Any]:
    options = add.s(1, 2).set(queue="mail", priority=7, countdown=5, expires=60, task_id="chosen")
    linked = add.s(1, 2)
    linked.link(named.s(name="linked"))
    linked.link_error(told.s())
    marked = chain(add.s(1, 2), named.s(name="marked"))
    marked.stamp(customer="acme")
    return {
        "signature": add.s(1, 2),
        "signature_options": options,
        "signature_immutable": named.si("a", name="b"),
        "signature_linked": linked,
        "chain": add.s(1, 2) | add.s(3) | named.s(name="after"),
        "chain_stamped": marked,
        "group": group([add.s(n, n) for n in range(3)]),
        "chord": chord([add.s(n, n) for n in range(3)], total.s().on_error(told.s())),
        "chunks": add.chunks([(n, n) for n in range(4)], 2),
        "map": total.map([[1, 2], [3]]),
        "starmap": add.starmap([(1, 2), (3, 4)]),
        "nested": chain(
            add.s(1, 1),
            group(add.s(10), chain(add.s(20), add.s(1))),
            total.s(),
            group(add.s(1), chord([add.s(2), add.s(3)], total.s())),
        ),
    }


def publications() -> dict[str, bytes]:
    signer = Signer.from_setting(SECRET, NAMESPACE)
    command = Command(
        TICKET, "rate_limit", 1769862600.5, {"task_name": "tasks.add", "rate_limit": "10/m"},
        destination=("w1@host",), pattern="w*", reply=True,
    )  # fmt: skip
    answer = Reply("owner-1", "w1@host", {"ok": "new rate limit set"})
    events = [
        {"type": "task-sent", "uuid": "a", "timestamp": 1769862600.5, "hostname": "w1@host"},
        {"type": "worker-heartbeat", "freq": 3.0, "active": 2},
    ]
    return {
        "command": seal_command(None, command),
        "command_plain": seal_command(None, Command(TICKET, "ping", 1769862600.5)),
        "command_signed": seal_command(signer, command),
        "reply": seal_reply(None, TICKET, answer),
        "reply_packed": seal_reply(None, TICKET, Reply("owner-1", "w1@host", "long " * 2000)),
        "reply_signed": seal_reply(signer, TICKET, answer),
        "events": seal_events(None, events),
        "events_signed": seal_events(signer, events),
    }


def said(data: bytes) -> object:
    """What the bytes say, read without the decoder that is tested."""
    import zlib

    body = msgspec.msgpack.decode(data)[1]
    return msgspec.msgpack.decode(zlib.decompress(body[1:]) if body[0] else body[1:])


def write(path: Path, data: bytes, facts: object) -> None:
    if path.exists():
        print(f"{path.name}: kept")
        return
    path.write_bytes(data)
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    path.with_suffix(".json").write_text(f"{text}\n", encoding="utf-8")
    print(f"{path.name}: {len(data)} bytes")


def main() -> None:
    for name, made in signatures().items():
        value = made.apply().get()
        write(HERE / f"{name}.signature", json.dumps(made, indent=1).encode(), {"value": value})
    for name, data in publications().items():
        write(HERE / f"{name}.publication", data, said(data))


if __name__ == "__main__":
    sys.exit(main())
