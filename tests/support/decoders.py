"""Every decoder there is, each with bytes that it reads and what it may raise for others.

``tests/fuzz`` damages the bytes and looks at what comes of it; ``tests/fuzz/explore.py`` does so
for as long as one likes. A decoder that is new gets a line here.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import baits
import click
import msgspec
from inline import make_app

from celeriac import canvas, groupresult, message, serialization, states
from celeriac.bodies import seal, unseal
from celeriac.cli import tasks as cli_tasks
from celeriac.cli.dead import arguments_shown
from celeriac.compression import COMPRESSIONS, pack, unpack
from celeriac.conf.table import SETTINGS
from celeriac.conf.values import parse
from celeriac.control import notes, reading, why, wire
from celeriac.control.inspector import Inspect
from celeriac.ends import meaning_of, progress_of
from celeriac.exceptions import (
    ContentDisallowed,
    DecodeError,
    ImproperlyConfigured,
    NotInThisVersion,
    SecurityError,
    StoreError,
)
from celeriac.failures import capture, from_reason
from celeriac.flowparts import Parts
from celeriac.ids import new_owner_id, new_task_id
from celeriac.message import Edges, Header, NewJoin, compose
from celeriac.moments import moment
from celeriac.outcome import Outcome, ResultBody
from celeriac.progress import Progress
from celeriac.records import (
    Commit,
    Delivery,
    Fence,
    Manifest,
    Record,
    StoredResult,
    TaskFacts,
    Want,
)
from celeriac.runner import Runner
from celeriac.signing import Signer
from celeriac.stores.redis import packing
from celeriac.stores.redis.location import locate
from celeriac.stores.redis.reading import sound
from celeriac.stores.redis.scripts import FIELDS
from celeriac.worker import frames
from celeriac.worker.admission import read as admitted

GOLDEN = Path(__file__).parent.parent / "unit" / "golden"
ID = "019a1b2c-3d4e-7f5a-8b6c-7d8e9f0a1b2c"
OTHER = "019a1b2c-3d4e-7f5a-8b6c-7d8e9f0a1b2d"
NOW = 1_800_000_000.0
SIGNER = Signer.from_setting("a secret of the fuzz tests, long enough", "fuzz")
READ = (DecodeError, ContentDisallowed)
_pack = msgspec.msgpack.encode


@dataclass(frozen=True)
class Decoder:
    """Something that reads bytes from elsewhere: *read* with *seeds*, which it can read, and the
    *errors* that are documented for what it cannot. *exact*: nothing else than what the
    seeds say is read at all, because it is signed. *bits*: how many of each byte are turned; fewer
    where a try takes long."""

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    errors: tuple[type[Exception], ...] = (DecodeError,)
    exact: bool = False
    bits: int = 8

    def __str__(self) -> str:
        return self.name

    def forged(self, data: bytes) -> bool:
        """Whether *data*, which was read, says what nobody has signed. Numbers of the envelope may
        be written in several ways, which changes nothing that is signed."""
        if not self.exact or data in self.seeds:
            return False
        return self.read(data) not in [self.read(seed) for seed in self.seeds]


@dataclass
class Point:
    """A class whose values travel."""

    x: int
    y: int = 2


@dataclass
class World:
    """An app with a few tasks, and what they did."""

    ran: list[str] = field(default_factory=list)
    app: Any = field(default_factory=lambda: make_app(accept_content=["json", "msgpack"]))

    def __post_init__(self) -> None:
        for name in ("known", "other"):
            self.app.task(name=name)(self._noting(name))

    def _noting(self, name: str) -> Callable[..., Any]:
        def body(*args: Any, **kwargs: Any) -> Any:
            self.ran.append(name)
            return args

        return body


WORLD = World()
APP = WORLD.app


# -- seeds -------------------------------------------------------------------------------------

EDGES = Edges(
    True, ("s",), ("f",), ("J", 3), ("K", 1), "t", None, ("o",), "d", immutable=True, delay=1.5
)
FULL = Header(
    ID, "known", "n0nce", "slow", 9, NOW, NOW + 9, 30.0, 20.0, True, "json", NOW, "1@here", OTHER,
    OTHER, {"tenant": "a", "deep": {"list": [1, None, 2.5, True]}}, EDGES, "(1,)", "{}", "",
    "flow", "group", 4, 2,
)  # fmt: skip
CALL = b'[[1,"a",{"__type__":"date","__value__":"2026-01-31"}],{"b":[2.5,null]}]'
PLAIN = compose(Header(ID, "known", "n0nce"), CALL)
WHOLE = compose(FULL, CALL)
SIGNED = message.Message(
    PLAIN.header, PLAIN.block, CALL, *SIGNER.sign("message", PLAIN.block, CALL)
)
PACKED = compose(Header(ID, "known", "n0nce", compression="gzip"), pack("gzip", CALL))
MSGPACK = compose(
    Header(ID, "known", "n0nce", serializer="msgpack"), _pack(([1, "a", b"\0"], {"b": 2}))
)
MESSAGES = tuple(each.encode() for each in (PLAIN, WHOLE, SIGNED, PACKED, MSGPACK))
BAITS = baits.messages(ID, "known")
GOLDEN_MESSAGES = tuple(path.read_bytes() for path in sorted(GOLDEN.glob("*.message")))

try:
    raise KeyError("no such thing", 3) from ValueError("inner")
except KeyError as _error:
    _error.add_note("a note")
    FAILURE = capture(_error)
PROGRESS = Progress(3, 10, "halfway", NOW, 1, NOW - 5)
BODIES = (
    ResultBody("json", b'{"a":[1,2]}', children=(OTHER,), progress=PROGRESS),
    ResultBody("msgpack", _pack({"a": [1, b"x"]})),
    ResultBody("json", pack("gzip", b"[1,2,3]"), compression="gzip"),
    ResultBody(failure=FAILURE, children=(OTHER,)),
)
RESULTS = tuple(seal(each, ID, None) for each in BODIES)
SIGNED_RESULTS = tuple(seal(each, ID, SIGNER) for each in BODIES)
BAIT_RESULTS = baits.results(ID)
GOLDEN_RESULTS = tuple(path.read_bytes() for path in sorted(GOLDEN.glob("*.result")))

VALUES = [
    1, -2.5, None, True, "text ü", [], {}, {"__type__": "tuple", "__value__": [1, [2]]},
    {"__type__": "set", "__value__": [1, 2]}, {"__type__": "frozenset", "__value__": ["a"]},
    {"__type__": "datetime", "__value__": "2026-01-31T12:30:15+02:00"},
    {"__type__": "time", "__value__": "12:30:15"}, {"__type__": "decimal", "__value__": "1.50"},
    {"__type__": "timedelta", "__value__": [1, 2, 3]}, {"__type__": "base64", "__value__": "AAE="},
    {"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678"}},
    {"__type__": "int", "__value__": "99999999999999999999"},
    {"__type__": "dict", "__value__": [[1, 2], [{"__type__": "tuple", "__value__": [3]}, 4]]},
    {"__type__": "enum", "__value__": {"class": "re:RegexFlag", "name": "I", "value": 2}},
    {"__type__": "struct", "__value__": {
        "class": "celeriac.records:Fence", "fields": {"id": "a", "attempt": 1, "nonce": "n"}}},
    {"__type__": "dataclass", "__value__": {
        "class": f"{__name__}:Point", "fields": {"x": 1}}},
]  # fmt: skip

DELIVERY = Delivery(ID, 2, "o.1.7", PLAIN.encode(), "celery", 1, 1, 1, RESULTS[0])
OUTCOMES = (
    Outcome(states.SUCCEEDED, RESULTS[0]),
    Outcome(states.FAILED, RESULTS[3], reason="KeyError: no such thing"),
    Outcome(states.SCHEDULED, reason="Retry", delay=2.5, charge="retry", message=WHOLE.encode()),
    Outcome(
        states.WAITING, parts=(PLAIN.encode(), WHOLE.encode()), joins=(NewJoin("J", OTHER, 2),)
    ),
)
FRAMES: tuple[frames.Frame, ...] = (
    frames.Run(7, [DELIVERY]), frames.Stop(), frames.Hook(DELIVERY, OUTCOMES[1]),
    frames.Notice("task_received", DELIVERY, {"reason": "x"}), frames.SoftLimit("known", 2.5),
    frames.Ready(123), *(frames.Done(7, each, 0.25) for each in OUTCOMES),
    frames.Done(7, Outcome(states.SUCCEEDED, BAIT_RESULTS[2], parts=BAITS[1:2]), 0.25),
    frames.Update(7, "PROGRESS", RESULTS[0]), frames.Skipped(7), frames.Cancel(7),
    frames.Stays(7), frames.Ping(1), frames.Pong(1), frames.Fork("executor", 1, "title", 2),
    frames.Forked(1, 123), frames.Loaded(b"facts", 1), frames.Broken("why"),
)  # fmt: skip

COMMAND = wire.Command("ticket", "revoke", NOW, {"task_id": [ID]}, ("a@x",), "a*", True)
PATTERN = wire.Command("ticket", "ping", NOW, pattern="*@x")
#: The second one is compressed.
REPLIES = [wire.Reply("o", "a@x", {"ok": said}) for said in ("pong", "x" * 9000)]
EVENTS = [{"type": "task-sent", "uuid": ID, "args": "(1,)"}, {"type": "worker-online"}]

BASE = struct.pack(">IddBB", 20 + 2 + 7 + 8 + 7 + 8, NOW, 7.0, packing.EXPIRES, 5) + b"".join(
    (b"\0\5known", b"\0\6celery", b"\0\5n0nce", struct.pack(">d", NOW + 9))
)
_STATE: dict[str, Any] = dict.fromkeys(FIELDS, 0) | {
    "state": "L", "attempt": 2, "nonce": "o.1.7", "leased": NOW, "started": False, "ended": False,
    "expires": False, "terminate": "", "cause": "", "reason": "why", "drop": False, "worker": "w",
    "due": False, "queue": "celery",
}  # fmt: skip
KEPT_STATE = BASE + _pack(list(_STATE.values()))
STORED = StoredResult(ID, states.SUCCEEDED, 1, RESULTS[0], "why", NOW, None, None)
SAID = struct.pack(">BIdBH", ord("s"), 1, NOW, 1, 3) + b"why" + RESULTS[0]

SIGNATURES = tuple(
    json.dumps(each).encode()
    for each in (
        APP.signature("known", (1,), {"b": 2}, queue="slow"),
        canvas.chain(APP.signature("known"), APP.signature("other", (1,)), app=APP),
        canvas.group([APP.signature("known"), APP.signature("other")], app=APP),
        canvas.chord([APP.signature("known")], APP.signature("other"), app=APP),
        canvas.xmap(APP.signature("known"), [1, 2], app=APP),
        canvas.xstarmap(APP.signature("known"), [[1], [2]], app=APP),
        canvas.chunks(APP.signature("known"), [[1], [2], [3]], 2, app=APP),
    )
)
LINES = tuple(
    json.dumps(each).encode()
    for each in (
        [[ID, None], None],
        [[ID, [[OTHER, None], None]], None],
        [[ID, None], [[[OTHER, None], None], [["a", None], [[["b", None], None]]]]],
    )
)


# -- readers -----------------------------------------------------------------------------------


def _message(data: bytes) -> object:
    found = message.decode(data)
    return found.content(1 << 20), found.encode(), repr(found)


def _admitted(data: bytes) -> object:
    found = admitted(Delivery(ID, 1, "o.1.1", data, "celery"), SIGNER)
    return found.header, found.block, found.payload


def _run(data: bytes) -> object:
    """Run it, as an executor does; whatever it is, there is an outcome, and only tasks ran."""
    runner = Runner(APP, "fuzz@here")
    try:
        made = runner.run(Delivery(ID, 1, "o.1.1", data, "celery"))
        assert isinstance(made, Outcome)
        runner.run_hook(Delivery(ID, 1, "o.1.1", data, "celery"), OUTCOMES[1])
        return made.state, made.reason
    finally:
        runner.close()


def _result(data: bytes) -> object:
    found = StoredResult(ID, states.SUCCEEDED, 0, data, "", NOW)
    failed = StoredResult(ID, states.FAILED, 0, data, "", NOW)
    shown = StoredResult(ID, states.RUNNING, 0, None, "", None, "PROGRESS", data)
    progress_of(APP, found)
    value = meaning_of(APP, found), meaning_of(APP, failed), meaning_of(APP, shown)
    return [repr(value), *(str(each) for each in value if isinstance(each, BaseException))]


def _signed_result(data: bytes) -> object:
    return unseal(data, ID, SIGNER)


def _value(name: str) -> Callable[[bytes], object]:
    return lambda data: serialization.decode(name, data, max_bytes=1 << 20)


def _unpacked(name: str) -> Callable[[bytes], object]:
    return lambda data: unpack(name, data, 1 << 16)


def _framed(data: bytes) -> object:
    """What a supervisor does with what an executor has written, in pieces of any size."""
    found = list(frames.Inbox().feed(data))
    inbox, dripped = frames.Inbox(), []
    for at in range(0, len(data), 5):
        dripped += inbox.feed(data[at : at + 5])
    assert len(dripped) >= len(found)
    for each in found:
        if isinstance(each, frames.Done) and each.sound:
            _commit(each.outcome)
        elif isinstance(each, frames.Update) and each.sound:
            APP.store.queue.update(Fence(ID, 1, "o.1.1"), each.state, each.meta)
    return found


def _commit(made: Outcome) -> None:
    """What a store does with an outcome that was read: it takes it, or a failure instead."""
    queue, owner = APP.store.queue, new_owner_id()
    queue.enqueue([compose(Header(new_task_id(), "known", "n"), CALL)])
    queue.register(owner, Manifest(tasks={"known": TaskFacts()}))
    got = queue.exchange(owner, 1, 1, [], [], ["celery"], Want(free=1)).deliveries
    queue.exchange(owner, 1, 2, [Commit(got[0].fence, made)], [], ["celery"], Want())
    queue.close_owner(owner)


def _received(data: bytes) -> object:
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        far.send(data[:60_000])
        far.shutdown(socket.SHUT_WR)
        return frames.receive(near)


def _command(data: bytes) -> object:
    return wire.open_command(None, data).concerns("a@x")


def _kept(data: bytes) -> object:
    record = sound(ID, packing.read_record, ID, data, data, data, b"STATE\0+" + data)
    result = sound(ID, packing.read_result, ID, data, None, data, None)
    return repr((record, result, sound(ID, packing.read_record, ID, None, data, None, None)))


def _said(data: bytes) -> object:
    found = packing.said(ID, data)
    assert found is None or found.state in states.TRANSITIONS
    return found


def _other(data: bytes) -> object:
    return sound(ID, packing.read_other, data)


def _shown(data: bytes) -> object:
    """What people are shown of a record whose message, result and metadata are *data*."""
    texts: list[object] = []
    for state in (states.QUEUED, states.SUCCEEDED, states.FAILED, states.DEAD):
        record = Record(
            ID, state, "known", "celery", wire=data, body=data, meta=data, enqueued_at=NOW,
            ended_at=NOW,
        )  # fmt: skip
        texts += [
            why.explain(why.Situation(record, NOW)),
            reading.hider_of(record), reading.last_stack(record),
            arguments_shown(record, APP), arguments_shown(record, APP, spoken=False),
            Inspect(APP)._request(record, "a@x"),
            notes.end_of(ID, Outcome(state, data), 0.1, None),
        ]  # fmt: skip
        Parts("flow", [record])
    try:
        header = message.decode(data)
    except DecodeError:
        return texts
    return [*texts, notes.received(header, 0), notes.hider_of(header, sensitive=True)]


def _signature(data: bytes) -> object:
    found = json.loads(data)
    made = APP.signature(found) if isinstance(found, dict) else None
    return repr(made)


def _line(data: bytes) -> object:
    body = seal(ResultBody("json", data), "g:group", None)
    APP.results.put_many([StoredResult("g:group", states.SUCCEEDED, 0, body, "", NOW)])
    return repr(groupresult.GroupResult.restore("g", APP))


def _option(kind: Any) -> Callable[[bytes], object]:
    return lambda data: kind.convert(data.decode("utf-8", "surrogateescape"), None, None)


#: A setting of each kind.
_KINDS = tuple({each.kind: each for each in SETTINGS.values()}.values())


def _setting(data: bytes) -> object:
    text = data[:100_000].decode("utf-8", "replace")  # as much as Linux hands on
    refused = 0
    for setting in _KINDS:
        try:
            parse(setting, text)
        except ValueError:
            refused += 1
    return refused


def _place(data: bytes) -> object:
    return locate(data.decode("utf-8", "replace"))


def _moment(data: bytes) -> object:
    return moment(data.decode("utf-8", "replace"), "eta", "Europe/Berlin")


def _reason(data: bytes) -> object:
    return repr(from_reason(data.decode("utf-8", "replace"), "TaskFailed"))


REDIS_URLS = (
    b"redis://user:secret@localhost:6379/2?client_name=x",
    b"rediss://localhost?ssl_cert_reqs=required",
    b"sentinel://a:1,b:2/0?master_name=m",
    b"redis+cluster://a:1,b:2",
    b"redis+socket:///run/redis.sock?db=1",
)
REASONS = (b"KeyError: x", b"TaskRevokedError: terminated", *baits.REASONS)
SHOWN = (
    *MESSAGES[1:4], *RESULTS[2:], SIGNED_RESULTS[3], *BAITS[1:3], *BAIT_RESULTS[2:4]
)  # fmt: skip
TEXTS = (
    b"true", b"1.5", b"a,b", b'{"a": {"b": 1}}', b"[1]", b"10/m", b"redis://x",
)  # fmt: skip

DECODERS: tuple[Decoder, ...] = (
    Decoder("message", _message, MESSAGES + BAITS[:-1] + GOLDEN_MESSAGES),
    Decoder("signed message", _admitted, (SIGNED.encode(),), (DecodeError, SecurityError), True),
    Decoder("delivery", _run, MESSAGES[1:4] + BAITS, (), bits=2),
    Decoder("result", _result, RESULTS + BAIT_RESULTS + GOLDEN_RESULTS, READ),
    Decoder("signed result", _signed_result, SIGNED_RESULTS, (DecodeError, SecurityError), True),
    Decoder("json", _value("json"), (json.dumps(VALUES).encode(), CALL, baits.JSON)),
    Decoder("msgpack", _value("msgpack"), (_pack(VALUES), _pack([b"\0", {"a": 1}]), baits.MSGPACK)),
    *(
        Decoder(name, _unpacked(name), (pack(name, CALL), pack(name, bytes(60_000))))
        for name in COMPRESSIONS
    ),
    Decoder("frames", _framed, tuple(map(frames.encode, FRAMES)), bits=1),
    Decoder("first frame", _received, tuple(map(frames.encode, FRAMES[-3:]))),
    Decoder(
        "command",
        _command,
        (*(wire.seal_command(None, each) for each in (COMMAND, PATTERN)), *baits.COMMANDS),
        (DecodeError, ValueError),
    ),
    Decoder(
        "signed command",
        lambda data: wire.open_command(SIGNER, data),
        (wire.seal_command(SIGNER, COMMAND),),
        (DecodeError, SecurityError),
        True,
    ),
    Decoder(
        "reply",
        lambda data: wire.open_reply(None, "t", data),
        (*(wire.seal_reply(None, "t", each) for each in REPLIES), baits.REPLY),
    ),
    Decoder(
        "events",
        lambda data: wire.open_events(None, data),
        (wire.seal_events(None, EVENTS), baits.EVENTS),
    ),
    Decoder("Redis record", _kept, (KEPT_STATE,), (StoreError,)),
    Decoder("Redis end", _said, (SAID,), ()),
    Decoder("Redis result", _other, (b"".join(packing.pack_other(STORED)),), (StoreError,)),
    Decoder("what is shown", _shown, SHOWN, (), bits=1),
    Decoder(
        "signature",
        _signature,
        SIGNATURES + baits.SIGNATURES,
        (TypeError, ValueError, RecursionError),
    ),
    Decoder("saved group", _line, (*LINES, baits.LINE)),
    Decoder(
        "command line: list",
        _option(cli_tasks.Json(list, "array")),
        (CALL,),
        (click.UsageError,),
    ),
    Decoder(
        "command line: moment",
        _option(cli_tasks.Moment(seconds=True)),
        (b"2026-05-01T12:00:00+02:00", b"60"),
        (click.UsageError,),
    ),
    Decoder("settings of the environment", _setting, TEXTS + baits.TEXTS, ()),
    Decoder("Redis URL", _place, REDIS_URLS, (ImproperlyConfigured, NotInThisVersion)),
    Decoder("moment", _moment, (b"2026-05-01T12:00:00+02:00", b"2026-05-01"), (ValueError,)),
    Decoder("reason", _reason, REASONS, ()),
)  # fmt: skip
