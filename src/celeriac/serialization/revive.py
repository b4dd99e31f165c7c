"""From the plain tree that was read to what it stands for.

Layer 1, part of ``serialization``; only that package imports it. It imports no module and runs no
constructor: whoever can write to the store must not be able to choose what code runs here.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Flag
from typing import Any, Final
from uuid import UUID

from celeriac.exceptions import DecodeError
from celeriac.serialization.classes import TYPE, VALUE, decoders, find_class, is_registered


def revive(value: Any) -> Any:
    """Return *value* with its tags replaced by what they stand for; changes *value* in place.

    Raises :class:`DecodeError` for a tag that is unknown or holds what it cannot. The caller has
    checked the depth.
    """
    kind = type(value)
    if kind is dict:
        if len(value) == 2 and TYPE in value and VALUE in value:
            return _revive_tag(value[TYPE], value[VALUE])
        for key, item in value.items():
            if type(item) is dict or type(item) is list:
                value[key] = revive(item)
    elif kind is list:
        for at, item in enumerate(value):
            if type(item) is dict or type(item) is list:
                value[at] = revive(item)
    return value


def _revive_tag(tag: object, value: Any) -> Any:
    own = decoders.get(tag) if isinstance(tag, str) else None
    if own is not None:
        plain = revive(value)
        try:
            return own(plain)
        except Exception as error:
            raise DecodeError(f"the registered decoder of {tag!r} failed: {error!r}") from error
    reviver = _REVIVERS.get(tag) if isinstance(tag, str) else None
    if reviver is None:
        raise DecodeError(
            f"a value is tagged {_shown(tag)}, which is not known here: its class was "
            "registered with the sender only (celeriac.serialization.register_type), or the "
            "sender is newer; update the reader first"
        )
    try:
        return reviver(value)
    except DecodeError:
        raise
    except Exception as error:  # a class of the application may do anything as it is made
        raise DecodeError(f"a value tagged {tag!r} cannot be read: {error}") from error


def _shown(value: object) -> str:
    """What should have been a name, for an error: it may be anything, of any size."""
    return repr(value[:64]) if isinstance(value, str) else f"of type {type(value).__name__}"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, found {type(value).__name__}")
    return value


def _items(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list expected, found {type(value).__name__}")
    revive(value)
    return value


def _uuid(value: Any) -> UUID:
    return UUID(hex=_text(value["hex"]))


def _timedelta(value: Any) -> timedelta:
    days, seconds, microseconds = value
    return timedelta(days, seconds, microseconds)


def _set(value: object) -> Any:
    return _hashed(set, _items(value))


def _frozenset(value: object) -> Any:
    return _hashed(frozenset, _items(value))


def _hashed(kind: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    """Return the set, or the list if a member's class is unknown here and so is a dictionary."""
    try:
        return kind(items)
    except TypeError:
        return items


def _pairs(value: object) -> dict[Any, Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list of pairs expected, found {type(value).__name__}")
    return {revive(key): revive(item) for key, item in value}


_NO_MEMBER: Final = Flag._missing_.__func__  # type: ignore[attr-defined]  # it is bound


def _enum(value: Any) -> Any:
    """Return the member of that name, or the plain value where the class is unknown."""
    plain = revive(value["value"])
    cls = find_class(_text(value["class"]), "enum")
    if cls is None:
        return plain
    member = cls.__members__.get(value["name"]) if isinstance(value["name"], str) else None
    if member is not None:
        return member
    if issubclass(cls, Flag):
        # Members joined by | have no entry of their own; what there is for other values may be the
        # application's.
        own = cls._missing_.__func__ is not _NO_MEMBER
        return plain if own and not is_registered(cls) else cls(plain)
    raise DecodeError(
        f"{value['class']} has no member {_shown(value['name'])} here; the sender's version of "
        "the class is another one, update the reader first"
    )


def _object(kind: str, build: Callable[[Any, dict[str, Any]], Any]) -> Callable[[Any], Any]:
    """Return the reviver for a class with fields; where the class is unknown: a dictionary."""

    def read(value: Any) -> Any:
        fields = value["fields"]
        if not isinstance(fields, dict):
            raise TypeError(f"fields expected, found {type(fields).__name__}")
        for name, item in fields.items():
            fields[name] = revive(item)
        cls = find_class(_text(value["class"]), kind)
        return fields if cls is None else build(cls, fields)

    return read


# Fields that the class here does not have are left out and those it has more take their defaults,
# so that the two sides of a rolling update understand each other.


def _dataclass(cls: Any, fields: dict[str, Any]) -> Any:
    import dataclasses

    made = object.__new__(cls)
    for field in dataclasses.fields(cls):
        if field.name in fields:
            value = fields[field.name]
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        elif field.init:
            raise DecodeError(f"the field {field.name!r} of {cls.__qualname__} is missing")
        else:
            continue  # It was not set with the sender, either.
        object.__setattr__(made, field.name, value)  # works on frozen ones, too
    return made


def _struct(cls: Any, fields: dict[str, Any]) -> Any:
    if hasattr(cls, "__post_init__") and not is_registered(cls):
        return fields  # A Struct cannot be made without its __post_init__.
    return cls(**{name: fields[name] for name in cls.__struct_fields__ if name in fields})


def _model(cls: Any, fields: dict[str, Any]) -> Any:
    # model_construct validates nothing. It wants a field under its alias if it has one.
    aliases = {name: getattr(field, "alias", None) for name, field in cls.model_fields.items()}
    return cls.model_construct(**{aliases.get(name) or name: fields[name] for name in fields})


_REVIVERS: Final[dict[str, Callable[[Any], Any]]] = {
    "datetime": lambda value: datetime.fromisoformat(_text(value)),
    # Celery reads a date out of a full time stamp, too.
    "date": lambda value: date.fromisoformat(_text(value)[:10]),
    "time": lambda value: time.fromisoformat(_text(value)),
    "timedelta": _timedelta,
    "decimal": lambda value: Decimal(_text(value)),
    "uuid": _uuid,
    "bytes": lambda value: _text(value).encode(),
    "base64": lambda value: base64.b64decode(_text(value), validate=True),
    "int": lambda value: int(_text(value)),
    "tuple": lambda value: tuple(_items(value)),
    "set": _set,
    "frozenset": _frozenset,
    "dict": _pairs,
    "enum": _enum,
    "dataclass": _object("dataclass", _dataclass),
    "struct": _object("struct", _struct),
    "model": _object("model", _model),
}
