"""Write the golden files: messages and results as version 1 puts them on the wire.

    python tests/unit/golden/make.py

A file that exists is never written again: what an old version sent must be readable for ever. To
hold a new field or form, add a case under a new name and run this. ``NAME.message`` and
``NAME.result`` are the bytes, ``NAME.json`` beside them is what they must decode to.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from uuid import UUID

import msgspec

from celeriac import bodies, serialization
from celeriac.compression import COMPRESSIONS, pack
from celeriac.message import Edges, Header, Message, compose
from celeriac.outcome import Failure, ResultBody, encode_body
from celeriac.progress import Progress
from celeriac.signing import Signer

HERE = Path(__file__).parent
SECRET = "a golden secret, known to all"
NAMESPACE = "golden"

ID = "019a1b2c-3d4e-7f5a-8b6c-7d8e9f0a1b2c"
OTHER = "019a1b2c-3d4e-7f5a-8b6c-7d8e9f0a1b2d"


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int


def register_types() -> None:
    """Make the classes of the cases known under names that do not depend on this file's."""
    serialization.register_type(Colour, "golden:Colour")
    serialization.register_type(Point, "golden:Point")


RICH = [
    datetime(2026, 1, 31, 12, 30, 15, 250, tzinfo=UTC),
    datetime(2026, 1, 31, 12, 30, tzinfo=timezone(timedelta(hours=2))),
    datetime(2026, 1, 31, 12, 30),  # noqa: DTZ001 - a naive one must come back naive
    date(2026, 1, 31),
    time(12, 30, 15),
    timedelta(days=-1, seconds=5, microseconds=7),
    Decimal("1.10"),
    UUID("12345678-1234-4678-8234-567812345678"),
    b"text as bytes",
    b"\x00\xff",
    {7},
    frozenset({(1, "two")}),
    Colour.RED,
    Point(3, -4),
    {"__type__": "the user's own key"},
    2**63,
]

FULL = Header(
    id=ID,
    task="shop.tasks.send_email",
    nonce="00112233445566ff",
    queue="mail",
    priority=9,
    eta=1769862615.25,
    expires=1769949015.0,
    time_limit=30.0,
    soft_time_limit=25.5,
    ignore_result=True,
    serializer="json",
    sent=1769862600.125,
    origin="4242@web-1",
    root=OTHER,
    parent=OTHER,
    headers={"trace": "abc", "depth": 2},
    edges=Edges(
        waits=True,
        success=(OTHER,),
        failure=("errback-1", "errback-2"),
        join=("join-1", 0),
        within=("join-0", 3),
        takes=OTHER,
        gathers="join-2",
    ),
)

PART = Header(
    id=ID,
    task="shop.tasks.send_email",
    nonce="00112233445566ff",
    root=OTHER,
    edges=Edges(
        waits=True,
        success=("next-1",),
        failure=("errback-1",),
        gathers="join-1",
        own=("errback-2", "errback-3"),
        told=OTHER,
        immutable=True,
    ),
    flow="flow-1",
    group="group-1",
    index=0,
)

STAMPED = Header(
    id=ID,
    task="shop.tasks.send_email",
    nonce="00112233445566ff",
    stamps={"customer": ["acme", "ключ"], "batch": [7, None, True]},
)

#: What neither of those has.
REST = Header(
    id=ID,
    task="shop.tasks.send_email",
    nonce="00112233445566ff",
    serializer="msgpack",
    argsrepr="('***',)",
    kwargsrepr="{'card': '***'}",
    added=3,
    edges=Edges(waits=True, delay=60.5, lasts=10.0),
)

#: A part that takes no result, and says whom it is behind.
BEHIND = Header(
    id=ID,
    task="shop.tasks.send_email",
    nonce="00112233445566ff",
    edges=Edges(waits=True, after=OTHER),
)


def plain(serializer: str = "json") -> Header:
    return Header(ID, "tasks.add", "0123456789abcdef", serializer=serializer)


def zstd(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdDecompressor().decompress(data)


UNPACKED = {
    "": bytes,
    "gzip": gzip.decompress,
    "bzip2": bz2.decompress,
    "lzma": lzma.decompress,
    "zstd": zstd,
}


def compressed(compression: str) -> Message:
    """The message as a sender with ``task_compression`` writes it."""
    header = msgspec.structs.replace(plain(), compression=compression)
    return compose(header, pack(compression, payload("json", "words " * 50, n=1)))


def payload(serializer: str, *args: object, **kwargs: object) -> bytes:
    return serialization.encode(serializer, (args, kwargs), ("args", "kwargs"))


def signed(header: Header, body: bytes) -> Message:
    """The message as a sender with ``security_key`` writes it."""
    message = compose(header, body)
    key_id, mac = Signer.from_setting(SECRET, NAMESPACE).sign("message", message.block, body)
    return msgspec.structs.replace(message, key_id=key_id, signature=mac)


def signed_result(body: ResultBody) -> bytes:
    """The result of task ``ID`` as a worker with ``security_key`` writes it."""
    data = encode_body(body)
    key_id, mac = Signer.from_setting(SECRET, NAMESPACE).sign("result", ID.encode(), data)
    return msgspec.msgpack.encode((1, data, key_id, mac))


def from_the_future() -> bytes:
    """Version 1 of some later release: a header field that this one does not know."""
    fields = msgspec.to_builtins(plain()) | {"added_later": {"any": "thing"}}
    block = msgspec.msgpack.encode(fields)
    return msgspec.msgpack.encode((1, block, payload("json", 1)))


def messages() -> dict[str, bytes]:
    return {
        "plain": compose(plain(), payload("json", 1, 2)).encode(),
        "keywords": compose(plain(), payload("json", "a", [1.5, None, True], key="ключ")).encode(),
        "full_header": compose(FULL, payload("json")).encode(),
        "workflow_part": compose(PART, payload("json")).encode(),
        "stamped": compose(STAMPED, payload("json")).encode(),
        "waits_and_hides": compose(REST, payload("msgpack", "a card", card="a card")).encode(),
        "behind": compose(BEHIND, payload("json")).encode(),
        "msgpack": compose(plain("msgpack"), payload("msgpack", 1, b"\x00\xff", x=-0.5)).encode(),
        "signed": signed(plain(), payload("json", 1, 2)).encode(),
        "rich_json": compose(plain(), payload("json", *RICH)).encode(),
        "rich_msgpack": compose(plain("msgpack"), payload("msgpack", *RICH)).encode(),
        "later_field": from_the_future(),
        **{f"compressed_{each}": compressed(each).encode() for each in COMPRESSIONS},
        "signed_compressed": signed(compressed("gzip").header, compressed("gzip").payload).encode(),
    }


def results() -> dict[str, bytes]:
    failure = Failure(
        type="shop.errors.OutOfStock",
        message="3 of 5 left",
        args=(3, 5),
        traceback='Traceback (most recent call last):\n  File "shop.py", line 1, in order\n',
        notes=("order 17",),
        causes=("KeyError: 'sku'",),
    )
    return {
        "result_plain": encode_body(ResultBody(value=serialization.encode("json", {"sum": 3}))),
        "result_none": encode_body(ResultBody(value=serialization.encode("json", None))),
        "result_rich": encode_body(ResultBody(value=serialization.encode("json", RICH))),
        "result_msgpack": encode_body(
            ResultBody("msgpack", serialization.encode("msgpack", [1, b"\xff"]))
        ),
        "result_failure": encode_body(ResultBody(failure=failure)),
        "result_progress": encode_body(
            ResultBody(
                value=serialization.encode("json", 3),
                children=(OTHER,),
                progress=Progress(3, 10, "halfway", 1769862600.5, 1, 1769862590.25),
            )
        ),
        "result_compressed": encode_body(small(ResultBody(value=LONG))),
        "result_signed_compressed": signed_result(small(ResultBody(value=LONG))),
        "result_signed": signed_result(ResultBody(value=serialization.encode("json", 3))),
        "result_signed_failure": signed_result(ResultBody(failure=failure)),
    }


LONG = serialization.encode("json", ["words " * 50, 1])


def small(body: ResultBody) -> ResultBody:
    """The result as a worker with ``result_compression`` writes it."""
    return bodies.compressed(body, "gzip", ID)


def message_facts(wire: bytes) -> dict[str, object]:
    """What the bytes say, read without the decoder that is tested."""
    version, block, body, *signature = msgspec.msgpack.decode(wire)
    header = msgspec.msgpack.decode(block)
    body = UNPACKED[header.get("compression", "")](body)
    args, kwargs = serialization.decode(header.get("serializer", "json"), body)
    return {
        "version": version,
        "header": header,
        "args": repr(args),
        "kwargs": repr(kwargs),
        "key_id": signature[0] if signature else "",
        "signature": signature[1].hex() if signature else "",
    }


def result_facts(body: bytes) -> dict[str, object]:
    """What the bytes say, read without the decoder that is tested."""
    fields, key_id, signature = msgspec.msgpack.decode(body), "", b""
    if isinstance(fields, list):
        _, plain, key_id, signature = fields
        fields = msgspec.msgpack.decode(plain)
    serializer, value = fields.get("serializer", "json"), fields.get("value")
    if "compression" in fields:
        value = UNPACKED[fields["compression"]](value)
    return {
        "serializer": serializer,
        "value": None if value is None else repr(serialization.decode(serializer, value)),
        "failure": fields.get("failure"),
        **{name: fields[name] for name in ("children", "progress") if name in fields},
        "key_id": key_id,
        "signature": signature.hex(),
    }


def write(path: Path, data: bytes, facts: dict[str, object]) -> None:
    if path.exists():
        print(f"{path.name}: kept")
        return
    path.write_bytes(data)
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    path.with_suffix(".json").write_text(f"{text}\n", encoding="utf-8")
    print(f"{path.name}: {len(data)} bytes")


def main() -> None:
    register_types()
    for name, wire in messages().items():
        write(HERE / f"{name}.message", wire, message_facts(wire))
    for name, body in results().items():
        write(HERE / f"{name}.result", body, result_facts(body))


if __name__ == "__main__":
    sys.exit(main())
