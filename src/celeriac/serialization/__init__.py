"""Values to bytes and back: the serializers ``json`` and ``msgpack``.

Layer 1: standard library, msgspec and layer 0. No IO; any layer above may import it.

A value made of str, int, float, bool, None, list, tuple and dict costs a quick check and one call
of msgspec. Anything richer is first *lowered* to such a tree: a date becomes
``{"__type__": "date", "__value__": "2026-01-31"}`` (the tags of Celery's JSON where it has one),
and reading *revives* it. Tuples come back as lists and dictionary keys as text, as in Celery,
except inside a set or an object, which would not be what it was without them.

Reading imports nothing and runs no code of a class that was not registered. ``lower.py`` and
``revive.py`` are the two directions, ``classes.py`` is what they share.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, NoReturn

import msgspec

from celeriac.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    NotInThisVersion,
)
from celeriac.serialization.classes import MAX_DEPTH, TYPE, register_type
from celeriac.serialization.lower import Lowering
from celeriac.serialization.revive import revive

#: The most bytes :func:`decode` reads unless told otherwise: 64 MiB.
MAX_BYTES: Final = 64 * 1024 * 1024

CONTENT_TYPES: Final = {"json": "application/json", "msgpack": "application/x-msgpack"}

_NAMES: Final = {
    "application/json": "json",
    "application/x-msgpack": "msgpack",
    "application/msgpack": "msgpack",
    "application/vnd.msgpack": "msgpack",
}
_LATER: Final = {
    "pickle": "Reading pickle runs code that the message chooses, so it is never on by default. "
    "Use json or msgpack; both keep dates, Decimal, UUID, bytes, sets, enums and dataclasses.",
    "yaml": "Use json or msgpack.",
}
_LATER_TYPES: Final = {
    "application/x-python-serialize": "pickle",
    "application/x-yaml": "yaml",
    "application/yaml": "yaml",
}


def _no_extension(code: int, data: memoryview) -> NoReturn:
    raise ValueError(f"MessagePack extension type {code} is not known here")


_write: Final[dict[str, Callable[[Any], bytes]]] = {
    "json": msgspec.json.Encoder().encode,
    "msgpack": msgspec.msgpack.Encoder().encode,
}
_read: Final[dict[str, Callable[[bytes], Any]]] = {
    "json": msgspec.json.Decoder().decode,
    "msgpack": msgspec.msgpack.Decoder(ext_hook=_no_extension).decode,
}

_ATOMS: Final = frozenset({str, int, bool, type(None)})
_NESTS: Final = frozenset({list, dict, tuple})
_MARK: Final = TYPE.encode()
#: Bytes that open an array or a map of MessagePack; the same bytes occur inside other values, too.
_OPENERS: Final = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])


def encode(serializer: str, value: object, root: str | tuple[str, ...] = "value") -> bytes:
    """Return *value* written by *serializer*, ``"json"`` or ``"msgpack"``.

    *root* is what errors call the value: ``encode("json", result, "result")``. A tuple names the
    elements of a sequence: ``encode("json", (args, kwargs), ("args", "kwargs"))``.

    Raises :class:`EncodeError` with the path of what cannot be written, :class:`NotInThisVersion`
    for pickle and yaml, and :class:`ImproperlyConfigured` for a serializer nobody knows.
    """
    write = _write.get(serializer)
    if write is None:
        _refuse_serializer(serializer)
    if _is_plain(value, 1):
        try:
            return write(value)
        except (ValueError, OverflowError):
            pass  # A lone surrogate or an enormous integer: lowering finds out where it is.
    lowering = Lowering(serializer)
    if isinstance(root, str):
        return write(lowering.whole(value, root, 1))
    parts: Iterable[object] = value  # type: ignore[assignment]  # named parts: it is a sequence
    return write([lowering.whole(part, name, 2) for name, part in zip(root, parts, strict=True)])


def encode_call(serializer: str, args: Any, kwargs: Any) -> bytes:
    """Return the arguments of a call as bytes: ``encode()`` of both, the common ones faster.

    Raises as :func:`encode` does; paths begin with ``args`` and ``kwargs``.
    """
    write = _write.get(serializer)
    # Depth 2, since both lie in a tuple. An exact tuple of atoms needs no walk in Python.
    if (
        write is not None
        and (
            (type(args) is tuple and _ATOMS.issuperset(map(type, args)))
            or ((type(args) is tuple or type(args) is list) and _is_plain(args, 2))
        )
        and type(kwargs) is dict
        and (not kwargs or _is_plain(kwargs, 2))
    ):
        try:
            return write((args, kwargs))
        except (ValueError, OverflowError):
            pass  # As in encode(), which finds out where it is.
    return encode(serializer, (args, kwargs), ("args", "kwargs"))


def decode(
    serializer: str,
    data: bytes,
    accept: Collection[str] = ("json", "msgpack"),
    max_bytes: int = MAX_BYTES,
) -> Any:
    """Return the value that *data* holds.

    *serializer* is a name or a content type; *accept* holds names or content types. Raises
    :class:`ContentDisallowed` if it is not accepted, and :class:`DecodeError` if *data* is longer
    than *max_bytes*, nested deeper than :data:`MAX_DEPTH`, or not what it says it is.
    """
    name = serializer if serializer in _read else name_of(serializer)
    if name not in accept and CONTENT_TYPES[name] not in accept:
        raise ContentDisallowed(
            f"content of type {name!r} is refused; accepted here: {', '.join(accept) or 'nothing'}."
            f" Add {name!r} to accept_content where it is read, or send with another serializer"
        )
    if len(data) > max_bytes:
        raise DecodeError(f"{len(data):,} bytes of {name} are refused: {max_bytes:,} are allowed")
    try:
        value = _read[name](data)
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:  # msgspec's own errors and UnicodeDecodeError are ValueErrors
        raise DecodeError(f"this is not {name}: {error}") from None
    # 64 levels take 64 bytes: a short message pays for a comparison and a search, no more.
    if len(data) > MAX_DEPTH and _may_be_deep(name, data) and _is_deep(value):
        raise _too_deep(name)
    return value if data.find(_MARK) < 0 else revive(value)


def content_type(serializer: str) -> str:
    """Return the content type of a serializer: ``"application/json"`` for ``"json"``."""
    found = CONTENT_TYPES.get(serializer)
    if found is None:
        _refuse_serializer(serializer)
    return found


def name_of(content_type: str) -> str:
    """Return the serializer of a content type; a serializer's own name is returned as it is.

    Raises :class:`ContentDisallowed` for one that this version cannot read.
    """
    kind = content_type.partition(";")[0].strip().lower()
    name = kind if kind in CONTENT_TYPES else _NAMES.get(kind)
    if name is None:
        why = _LATER.get(_LATER_TYPES.get(kind, kind), "")
        raise ContentDisallowed(
            f"content of type {content_type[:64]!r} is refused: this version reads "
            f"{' and '.join(CONTENT_TYPES)}. {why}".rstrip()
        )
    return name


def _refuse_serializer(name: str) -> NoReturn:
    later = _LATER_TYPES.get(name, name)
    if later in _LATER:
        raise NotInThisVersion(f"the serializer {later!r} is not in this version. {_LATER[later]}")
    known = " and ".join(CONTENT_TYPES)
    raise ImproperlyConfigured(f"there is no serializer {name!r}; this version has {known}")


def _is_plain(value: Any, depth: int) -> bool:
    """Whether msgspec writes *value*, a container *depth* levels deep, just as we want it.

    Types must match exactly: msgspec would write a set as a list, an Enum as its value and NaN as
    null, and not say a word. Every call that is sent comes through here, hence the shape of it.
    """
    kind = type(value)
    if kind is dict:
        if depth > MAX_DEPTH or TYPE in value:
            return False
        for key, item in value.items():
            kind = type(item)
            if type(key) is not str or not (
                kind in _ATOMS
                or (kind is float and item - item == 0.0)  # neither NaN nor infinite
                or _is_plain(item, depth + 1)
            ):
                return False
        return True
    if kind is list or kind is tuple:
        if depth > MAX_DEPTH:
            return False
        if len(value) > 8 and _ATOMS.issuperset(map(type, value)):
            return True  # One pass in C settles a long list of texts and numbers.
        for item in value:
            kind = type(item)
            if not (
                kind in _ATOMS
                or (kind is float and item - item == 0.0)
                or _is_plain(item, depth + 1)
            ):
                return False
        return True
    return kind in _ATOMS or (kind is float and value - value == 0.0)


def _may_be_deep(name: str, data: bytes) -> bool:
    """Whether *data* opens more lists and dictionaries than could be nested too deeply."""
    if name == "json":
        return data.count(b"[") + data.count(b"{") > MAX_DEPTH
    return len(data) - len(data.translate(None, _OPENERS)) > MAX_DEPTH


def _is_deep(value: object) -> bool:
    """Whether lists and dictionaries are nested deeper than allowed; walks level by level."""
    level: list[Any] = [value] if type(value) in _NESTS else []
    for _ in range(MAX_DEPTH):
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) in _NESTS
        ]
        if not level:
            return False
    return True


def _too_deep(name: str) -> DecodeError:
    return DecodeError(f"this {name} is nested deeper than the {MAX_DEPTH} levels allowed")


__all__ = [
    "CONTENT_TYPES",
    "MAX_BYTES",
    "MAX_DEPTH",
    "ContentDisallowed",
    "DecodeError",
    "EncodeError",
    "content_type",
    "decode",
    "encode",
    "encode_call",
    "name_of",
    "register_type",
]
