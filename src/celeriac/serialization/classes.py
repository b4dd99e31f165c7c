"""Which classes travel, and under what names: shared by ``lower`` and ``revive``.

Layer 1, part of ``serialization``; only that package imports it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final

import msgspec

#: How deep lists and dictionaries may be nested in each other, tags included.
MAX_DEPTH: Final = 64

#: The two keys of a tag: ``{"__type__": "date", "__value__": "2026-01-31"}``.
TYPE: Final = "__type__"
VALUE: Final = "__value__"

#: The tags this version writes and reads by itself.
TAGS: Final = frozenset(
    {"datetime", "date", "time", "timedelta", "decimal", "uuid", "bytes", "base64", "int"}
    | {"tuple", "set", "frozenset", "dict", "enum", "dataclass", "struct", "model"}
)

Encoder = Callable[[Any], object]
Decoder = Callable[[Any], object]

#: Registered by :func:`register_type`: class → (tag, encoder); tag → decoder.
encoders: Final[dict[type, tuple[str, Encoder]]] = {}
decoders: Final[dict[str, Decoder]] = {}
#: Registered without functions: name ↔ class.
_named: Final[dict[str, type]] = {}
_names: Final[dict[type, str]] = {}


def register_type(
    cls: type,
    name: str | None = None,
    encoder: Encoder | None = None,
    decoder: Decoder | None = None,
) -> None:
    """Let values of *cls* travel and come back as what they were.

    An Enum, a dataclass, a ``msgspec.Struct`` and a pydantic model need no functions: they travel
    anyway, and registering makes the class known by *name* (default ``module:QualName``) where
    its module is called otherwise, such as ``__main__``. Any other class needs an *encoder* to
    something that can be serialised and a *decoder* back, on both sides.

    Raises ``ValueError`` if *name* is a built-in tag or the functions it needs are missing.
    """
    name = name or f"{cls.__module__}:{cls.__qualname__}"
    if encoder is not None and decoder is not None:
        if name in TAGS:
            raise ValueError(f"the name {name!r} belongs to a built-in type; choose another")
        encoders[cls] = (name, encoder)
        decoders[name] = decoder
    elif encoder is not None or decoder is not None:
        raise ValueError(f"{cls.__qualname__} needs an encoder and a decoder, or neither")
    elif kind_of(cls) is None:
        raise ValueError(
            f"{cls.__qualname__} is no Enum, dataclass, msgspec.Struct or pydantic model, "
            "so it needs an encoder and a decoder"
        )
    else:
        _named[name] = cls
        _names[cls] = name


def kind_of(cls: type) -> str | None:
    """Return the tag for values of a class with named members or fields, else None."""
    if issubclass(cls, Enum):
        return "enum"
    if hasattr(cls, "__dataclass_fields__"):
        return "dataclass"
    if issubclass(cls, msgspec.Struct):
        return "struct"
    # pydantic is known by its shape, so that it need not be installed.
    if hasattr(cls, "model_fields") and hasattr(cls, "model_construct"):
        return "model"
    return None


def field_names(cls: Any) -> Iterable[str]:
    """Return the names of the fields of a dataclass, Struct or model, in order."""
    kind = kind_of(cls)
    if kind == "dataclass":
        import dataclasses

        return [field.name for field in dataclasses.fields(cls)]
    return tuple(cls.__struct_fields__ if kind == "struct" else cls.model_fields)


def name_of_class(cls: type) -> str:
    """Return the name under which *cls* travels."""
    return _names.get(cls) or f"{cls.__module__}:{cls.__qualname__}"


def is_registered(cls: type) -> bool:
    """Whether the application has vouched for *cls* by :func:`register_type`."""
    return cls in _names


def find_class(name: str, kind: str) -> Any:
    """Return the class called *name* if it is known here and of that *kind*, else None.

    Imports nothing and runs nothing: it looks only into the dictionaries of modules that are
    loaded already. ``getattr`` would run a module's ``__getattr__``, which may import.
    """
    found: Any = _named.get(name)
    if found is None:
        module, _, path = name.partition(":")
        found = sys.modules.get(module)
        for part in path.split("."):
            found = getattr(found, "__dict__", {}).get(part)
        if not isinstance(found, type) or name_of_class(found) != name:
            return None
    return found if kind_of(found) == kind else None
