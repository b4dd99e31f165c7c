"""Bytes that were something once: every way of damaging them that tests and the fuzzer know."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Sequence

import baits
import msgspec
from hypothesis import strategies as st

DEEP = 100_000

#: Pieces with which formats like ours have been broken: lengths that promise what does not come,
#: nests, types where others belong, numbers that are none.
PIECES: tuple[bytes, ...] = (
    b"",
    b"\0",
    b"\xff",
    b"\xc1",  # never used in MessagePack
    b"\xc0",
    b"\xdd\xff\xff\xff\xff",  # an array, a map, text, bytes and an extension of 4 GiB
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\xdd\x00\xff\xff\xff",
    b"\x91" * 200,
    b"\x81\xa1a" * 200,
    b"\x81\x91\x01\x01",  # keys that are lists, and maps
    b"\x81\x81\x01\x01\x01",
    b"\xa2\xff\xfe",  # no UTF-8; half of a surrogate pair
    b"\xa3\xed\xa0\x80",
    b"\xcb" + struct.pack(">d", math.nan),
    b"\xcb" + struct.pack(">d", math.inf),
    b"\xcb" + struct.pack(">d", -1e308),
    b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + b"\0" * 7,
    b"\xd7\xff" + b"\xff" * 8,  # time stamps: with too many nanoseconds, of the year 10^11
    b"\xc7\x0c\xff" + b"\0" * 4 + b"\x7f" + b"\xff" * 7,
    b"\xd4\x05\x00",  # an extension
    b"[" * 200,
    b'{"a":' * 200,
    b'"\\ud800"',
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,
    b'{"a":1,"a":2}',
    b'{"__type__":"int","__value__":"' + b"9" * 5000 + b'"}',
    b'{"__type__":"decimal","__value__":"1e999999999"}',
    b'{"__type__":"enum","__value__":{"class":"os:system","name":"id","value":1}}',
    b'{"__type__":"dataclass","__value__":{"class":"os:system","fields":{}}}',
    b'{"__type__":"timedelta","__value__":[1e300,0,0]}',
    b"__type__",
    b"os.system",
    # What is looked up leaves a mark.
    b"canary:Trap",
    b"canary.run",
    b"canary://x",
    *(json.dumps(each).encode() for each in baits.VALUES[:2]),
    *(msgspec.msgpack.encode(each) for each in baits.VALUES[:2]),
    b"\x1b[2J",
)

#: What is too large to be put into every example, each tried alone.
BOMBS: dict[str, bytes] = {
    "nested lists": b"\x91" * DEEP + b"\xc0",
    "nested maps": b"\x81\xa1a" * DEEP + b"\xc0",
    "nested JSON lists": b"[" * DEEP + b"]" * DEEP,
    "nested JSON objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "an array of 4 GiB": b"\xdd\xff\xff\xff\xff",
    "an array of 256 MiB in an array": b"\x93\x01\xdd\x0f\xff\xff\xff",
    "a map of 4 GiB": b"\xdf\xff\xff\xff\xff",
    "text of 4 GiB": b"\xdb\xff\xff\xff\xff",
    "bytes of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "a megabyte of text": msgspec.msgpack.encode("x" * 1_000_000),
    "a megabyte of nothing": bytes(1_000_000),
    "a number of a megabyte": b"9" * 1_000_000,
}


def flipped(data: bytes, bits: int = 8) -> Iterator[bytes]:
    """*data* with each of its bits turned, one at a time, or so many of each byte, in turn."""
    for at, byte in enumerate(data):
        for bit in range(8) if bits == 8 else range(at % 8, at % 8 + bits):
            yield b"".join((data[:at], bytes([byte ^ 1 << bit % 8]), data[at + 1 :]))


def cut(data: bytes) -> Iterator[bytes]:
    """*data* ended before each of its bytes."""
    return (data[:length] for length in range(len(data)))


def grown(data: bytes) -> Iterator[bytes]:
    """*data* with each of the pieces in front, in the middle, behind and instead."""
    middle = len(data) // 2
    for piece in PIECES:
        yield piece + data
        yield data + piece
        yield data[:middle] + piece + data[middle:]
        yield data[:middle] + piece + data[middle + len(piece) :]
        yield piece


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of *seeds*, changed in up to six places."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 8))
        match draw(st.sampled_from(["flip", "piece", "noise", "cut", "twice", "splice"])):
            case "flip":
                at = min(at, len(data) - 1) if data else 0
                byte = bytes([data[at] ^ draw(st.integers(1, 255))]) if data else b""
                data = data[:at] + byte + data[at + 1 :]
            case "piece":
                data = data[:at] + draw(st.sampled_from(PIECES)) + data[at + length :]
            case "noise":
                data = data[:at] + draw(st.binary(max_size=8)) + data[at + length :]
            case "cut":
                data = data[:at]
            case "twice":
                data = data[: at + length] + data[at:]
            case "splice":
                other = draw(st.sampled_from(seeds))
                data = data[:at] + other[draw(st.integers(0, len(other))) :]
    return data
