"""Frames: what supervisor, executors and zygote say to each other over socket pairs.

Layer 5. A frame is a four-byte little-endian length and a MessagePack array whose first element
is its tag. Messages and results travel inside as opaque bytes; nothing here is ever unpickled.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from celeriac import states
from celeriac.exceptions import DecodeError
from celeriac.malformed import MALFORMED
from celeriac.outcome import Outcome
from celeriac.records import Delivery

_LENGTH: Final = struct.Struct("<I")
#: No frame of ours comes near this; a larger length means the stream is out of step.
_FRAME_MAX: Final = 1 << 30
READ_SIZE: Final = 1 << 18
#: The first byte of every frame: a MessagePack array of up to 15 elements.
_ARRAY: Final = 0x90


class Run(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Supervisor → executor: run these, in order. The first has key *first*, and so on upwards."""

    first: int
    deliveries: list[Delivery]


class Stop(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Supervisor → executor: finish what you hold and exit with status 0."""


class Hook(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Supervisor → hooks process: a task ended outside its executor; run its handlers."""

    delivery: Delivery
    outcome: Outcome


class Notice(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """Supervisor → hooks process: send the signal *name*; *details* are arguments of its."""

    name: str
    delivery: Delivery | None
    details: dict[str, object]


class SoftLimit(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """Supervisor → executor: the soft time limit of *task*, in seconds, of runs yet to come."""

    task: str
    soft: float | None

    def set_on(self, tasks: Mapping[str, Any]) -> None:
        """Set it, in the executor, on the task of that name."""
        task = tasks.get(self.task)
        if task is not None:
            task.soft_time_limit = self.soft


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Executor → supervisor: initialised, feed me."""

    pid: int


class Done(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Executor → supervisor: what came of the run with *key*, and its seconds of wall time."""

    key: int
    outcome: Outcome
    runtime: float

    @property
    def sound(self) -> bool:
        """Whether a store could commit it: a state that runs lead to, due at a time there is."""
        outcome = self.outcome
        return (
            outcome.state in states.TRANSITIONS[states.RUNNING]
            and math.isfinite(outcome.delay)
            and (outcome.eta is None or math.isfinite(outcome.eta))
        )


class Update(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Executor → supervisor: ``update_state`` of the run with *key*.

    What is shown comes from the task, so it is read as whatever it is, and looked at by
    :attr:`sound`: nonsense in it is no sign that the stream is out of step.
    """

    key: int
    state: Any
    meta: Any

    @property
    def sound(self) -> bool:
        """Whether a store could keep it."""
        return isinstance(self.state, str) and isinstance(self.meta, bytes | None)


class Skipped(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """Executor → supervisor: *key* was held back and did not begin."""

    key: int


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Supervisor → shared executor: end the run with *key*. A coroutine is cancelled, which its
    Done tells; for anything else the answer is Stays."""

    key: int


class Stays(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Shared executor → supervisor: the run with *key* cannot be cancelled."""

    key: int


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """Supervisor → shared executor: are you alive? The answer is Pong with that number."""

    number: int


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """Shared executor → supervisor: its loop, or the thread that reads, still turns."""

    number: int


class Fork(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Supervisor → zygote: make a process of *role* with *slot*; its socket and crash file come
    along as file descriptors, and the board of *places* for a shared executor."""

    role: str
    slot: int
    title: str
    places: int = 0


class Forked(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Zygote → supervisor: the process for *slot* has this pid."""

    slot: int
    pid: int


class Loaded(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """Zygote → supervisor: the application is imported; *app* is a plain :class:`AppFacts`."""

    app: bytes
    threads: int


class Broken(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Zygote, or process started by exec → supervisor: the application cannot be used; *text* says
    why, for people. It was not even *tried* where the library was updated under the worker."""

    text: str
    tried: bool = True


Frame = (
    Run | Stop | Hook | Notice | Ready | Done | Update | Skipped | Cancel | Stays | Ping | Pong
    | SoftLimit | Fork | Forked | Loaded | Broken
)  # fmt: skip

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


def encode(frame: Frame) -> bytes:
    """Return *frame* with its length before it."""
    body = _encode(frame)
    return _LENGTH.pack(len(body)) + body


class Inbox:
    """Cuts a byte stream into frames."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that *data* completes. A partial frame waits for the rest.

        Raises :class:`~celeriac.exceptions.DecodeError` at the first that cannot be read.
        """
        buffer = self._buffer
        # One whole frame is what a process is sent that waits for it.
        whole = not buffer and len(data) > 4 and len(data) - 4 == _length(data, 0)
        buffer += data
        if whole:
            yield _read_body(memoryview(data)[4:])
            buffer.clear()
            return
        position, end = 0, len(buffer)
        view = memoryview(buffer)
        try:
            while end - position >= 4:
                length = _length(buffer, position)
                if end - position - 4 < length:
                    _check_begun(buffer, position, end)
                    break
                # Let go of even if it cannot be read, or the buffer could not shrink below.
                with view[position + 4 : position + 4 + length] as body:
                    frame = _read_body(body)
                yield frame
                position += 4 + length
        finally:
            view.release()
            del buffer[:position]


def receive(sock: socket.socket, begun: bytes = b"") -> Frame | None:
    """Read one frame, and no byte beyond it, from a blocking socket; None at end of stream.

    *begun* holds the first bytes of the frame where they have been read already (up to four).
    """
    head = _read_exactly(sock, 4, begun)
    if head is None:
        return None
    start = _read_exactly(sock, 1)
    if start is None:
        return None
    _check_begun(bytearray(head + start), 0, 5)
    body = _read_exactly(sock, _length(head, 0), start)
    return None if body is None else _read_body(body)


def _length(data: bytes | bytearray, position: int) -> int:
    (length,) = _LENGTH.unpack_from(data, position)
    if length > _FRAME_MAX:
        raise DecodeError(f"a frame of {length} bytes: the stream is out of step")
    return int(length)


def _check_begun(buffer: bytearray, position: int, end: int) -> None:
    """Raise ``DecodeError`` if what has come of a frame can be none.

    Text that a task printed into the socket reads as a length of some 500 MiB, and what its
    executor says would be waited for, and swallowed, until so much had come.
    """
    if end - position > 4 and buffer[position + 4] & 0xF0 != _ARRAY:
        raise DecodeError("what follows a length is no frame: the stream is out of step")


def _read_body(body: bytes | memoryview) -> Frame:
    try:
        frame: Frame = _decode(body)
        return frame
    except MALFORMED as error:
        raise DecodeError(f"{len(body)} bytes that are no frame: {error}") from error


def _read_exactly(sock: socket.socket, count: int, begun: bytes = b"") -> bytes | None:
    parts = bytearray(begun)
    while len(parts) < count:
        data = sock.recv(count - len(parts))
        if not data:
            return None
        parts += data
    return bytes(parts)


__all__ = [
    "READ_SIZE",
    "Broken",
    "Cancel",
    "Done",
    "Fork",
    "Forked",
    "Frame",
    "Hook",
    "Inbox",
    "Loaded",
    "Notice",
    "Ping",
    "Pong",
    "Ready",
    "Run",
    "Skipped",
    "SoftLimit",
    "Stays",
    "Stop",
    "Update",
    "encode",
    "receive",
]
