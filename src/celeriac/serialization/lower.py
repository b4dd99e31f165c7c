"""From a rich value to a tree that msgspec writes by itself, or to an error that says where.

Layer 1, part of ``serialization``; only that package imports it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, NoReturn
from uuid import UUID

from celeriac.exceptions import EncodeError
from celeriac.serialization.classes import (
    MAX_DEPTH,
    TYPE,
    VALUE,
    encoders,
    field_names,
    kind_of,
    name_of_class,
)

#: JSON integers longer than this are refused when read, so they are when written.
_MAX_DIGITS: Final = 4300
_TOO_LONG: Final = 10**_MAX_DIGITS
_TEXT: Final = frozenset({str})
_PRINTABLE: Final = frozenset({int, float, bool, type(None)})

#: What Django's gettext_lazy gives is text that looks itself up; Celery sends it as text.
_LAZY_TEXT: Final = ("django.utils.functional", "Promise")

#: A step on the way to a value: an index, (key,) of a dictionary, or text shown as it is.
_Step = int | tuple[object] | str


class Lowering:
    """Lowers a value for one serializer and knows, at every moment, where in it it is."""

    def __init__(self, serializer: str) -> None:
        self.serializer = serializer
        #: MessagePack has bytes and NaN of its own, but no integers over 64 bits.
        self.binary = serializer == "msgpack"
        self._steps: list[_Step] = []
        #: ids of the containers being walked → how many steps lead to them.
        self._open: dict[int, int] = {}

    def whole(self, value: object, root: str, depth: int) -> object:
        """Return *value* lowered. Errors call it *root*; it stands *depth* - 1 levels deep."""
        self._steps = [root]
        return self.lower(value, depth, exact=False)

    def lower(self, value: Any, depth: int, *, exact: bool) -> Any:
        """Return one value lowered; *exact* inside sets and objects: tuples and keys survive."""
        rule = _RULES.get(type(value)) or _rule_for(type(value))
        if rule is None:
            self.fail(
                f"is of type {_type_name(value)}, which {self.serializer} cannot hold; "
                f"{_cure(value)}"
            )
        if rule in _LEAVES:
            return rule(self, value, depth, exact)
        if id(value) in self._open:
            whole = self._path(self._open[id(value)])
            self.fail(f"contains itself: it is the same object as {whole}; pass ids instead")
        if depth > MAX_DEPTH:
            self._fail_deep()
        self._open[id(value)] = len(self._steps)
        lowered = rule(self, value, depth, exact)
        del self._open[id(value)]
        return lowered

    def child(self, value: object, step: _Step, depth: int, *, exact: bool) -> Any:
        """Return *value*, which is one *step* further in, lowered."""
        self._steps.append(step)
        lowered = self.lower(value, depth, exact=exact)
        self._steps.pop()
        return lowered

    def tag(self, name: str, value: object, depth: int, levels: int = 1) -> dict[str, object]:
        """Return *value* wrapped in a tag; both together are *levels* of nesting."""
        if depth + levels - 1 > MAX_DEPTH:
            self._fail_deep()
        return {TYPE: name, VALUE: value}

    def fail(self, why: str) -> NoReturn:
        """Refuse the current value."""
        path = self._path()
        raise EncodeError(f"{path} {why}", path=path)

    def _fail_deep(self) -> NoReturn:
        self.fail(
            f"is nested deeper than the {MAX_DEPTH} levels allowed; flatten it, or store it where "
            "the task can read it and pass its name"
        )

    def _path(self, length: int | None = None) -> str:
        return "".join(
            step
            if isinstance(step, str)
            else f"[{_short(step[0] if type(step) is tuple else step)}]"
            for step in self._steps[:length]
        )


# -- one rule per type: (lowering, value, depth, exact) -> the value lowered ---------------------


def _as_it_is(lowering: Lowering, value: object, depth: int, exact: bool) -> object:
    return value


def _str(lowering: Lowering, value: str, depth: int, exact: bool) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        lowering.fail(
            f"is text with a lone surrogate ({value[error.start]!r} at {error.start}), which no "
            "encoding can write; if it names a file, pass os.fsencode(value)"
        )
    return str.__str__(value)


def _int(lowering: Lowering, value: int, depth: int, exact: bool) -> object:
    number = int.__int__(value)
    if -(2**63) <= number < 2**64:
        return number
    if abs(number) >= _TOO_LONG:
        lowering.fail(f"is an integer of more than {_MAX_DIGITS:,} digits; pass it as bytes")
    digits = int.__repr__(number)
    return lowering.tag("int", digits, depth) if lowering.binary else number


def _float(lowering: Lowering, value: float, depth: int, exact: bool) -> float:
    number = float.__float__(value)
    if number - number != 0.0 and not lowering.binary:
        lowering.fail(
            f"is {number!r}, which JSON cannot hold; pass None instead, or use the serializer "
            "'msgpack'"
        )
    return number


def _list(lowering: Lowering, value: Iterable[object], depth: int, exact: bool) -> list[object]:
    child = lowering.child
    return [child(item, at, depth + 1, exact=exact) for at, item in enumerate(value)]


def _tuple(lowering: Lowering, value: Iterable[object], depth: int, exact: bool) -> object:
    if not exact:
        return _list(lowering, value, depth, exact)
    return lowering.tag("tuple", _list(lowering, value, depth + 1, exact), depth, levels=2)


def _set(lowering: Lowering, value: Collection[object], depth: int, exact: bool) -> object:
    items = [lowering.child(item, "{…}", depth + 2, exact=True) for item in value]
    name = "frozenset" if isinstance(value, frozenset) else "set"
    return lowering.tag(name, items, depth, levels=2)


def _dict(lowering: Lowering, value: dict[Any, object], depth: int, exact: bool) -> object:
    if TYPE in value or (exact and not _TEXT.issuperset(map(type, value))):
        return _pairs(lowering, value, depth, exact)
    lowered = {}
    for key, item in value.items():
        text = _key(lowering, key)
        if text in lowered:
            lowering.fail(
                f"has the key {_short(key)} and another one that is the same as text; one of "
                "them would be lost: pass a list of pairs"
            )
        lowered[text] = lowering.child(item, (key,), depth + 1, exact=exact)
    return lowered


def _pairs(lowering: Lowering, value: dict[Any, object], depth: int, exact: bool) -> object:
    """Lower to pairs: the user's own "__type__" is not taken for a tag, and keys stay exact."""
    pairs = []
    for key, item in value.items():
        name = lowering.child(key, "{key}", depth + 3, exact=True) if exact else _key(lowering, key)
        pairs.append([name, lowering.child(item, (key,), depth + 3, exact=exact)])
    return lowering.tag("dict", pairs, depth, levels=3)


def _key(lowering: Lowering, key: object) -> str:
    """Return a dictionary's key as text, as the standard library's JSON writes it."""
    if isinstance(key, str):
        return _str(lowering, key, 0, exact=False)
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, int) and key.bit_length() <= 1024:
        return int.__repr__(key)
    if isinstance(key, float):
        return float.__repr__(key)
    return lowering.fail(
        f"has the key {_short(key)} of type {_type_name(key)}, and keys are text; use str(key), "
        "or pass a list of pairs"
    )


def _datetime(lowering: Lowering, value: datetime, depth: int, exact: bool) -> object:
    return lowering.tag("datetime", datetime.isoformat(value), depth)


def _date(lowering: Lowering, value: date, depth: int, exact: bool) -> object:
    return lowering.tag("date", date.isoformat(value), depth)


def _time(lowering: Lowering, value: time, depth: int, exact: bool) -> object:
    return lowering.tag("time", time.isoformat(value), depth)


def _timedelta(lowering: Lowering, value: timedelta, depth: int, exact: bool) -> object:
    parts = [value.days, value.seconds, value.microseconds]
    return lowering.tag("timedelta", parts, depth, levels=2)


def _decimal(lowering: Lowering, value: Decimal, depth: int, exact: bool) -> object:
    return lowering.tag("decimal", Decimal.__str__(value), depth)


def _uuid(lowering: Lowering, value: UUID, depth: int, exact: bool) -> object:
    return lowering.tag("uuid", {"hex": value.hex, "version": value.version}, depth, levels=2)


def _bytes(
    lowering: Lowering, value: bytes | bytearray | memoryview, depth: int, exact: bool
) -> object:
    raw = bytes(value)
    if lowering.binary:
        return raw
    try:
        return lowering.tag("bytes", raw.decode(), depth)
    except UnicodeDecodeError:
        return lowering.tag("base64", base64.b64encode(raw).decode(), depth)


def _enum(lowering: Lowering, value: Enum, depth: int, exact: bool) -> object:
    plain = lowering.child(value.value, ".value", depth + 2, exact=True)
    member = {"class": name_of_class(type(value)), "name": value.name, "value": plain}
    return lowering.tag("enum", member, depth, levels=2)


def _object(lowering: Lowering, value: Any, depth: int, exact: bool) -> object:
    cls = type(value)
    # An attribute may be unset (slots, init=False); it is then unset on the other side, too.
    found = {name: getattr(value, name) for name in field_names(cls) if hasattr(value, name)}
    found |= getattr(value, "__pydantic_extra__", None) or {}
    fields = {
        _key(lowering, name): lowering.child(item, f".{name}", depth + 3, exact=True)
        for name, item in found.items()
    }
    named = {"class": name_of_class(cls), "fields": fields}
    return lowering.tag(str(kind_of(cls)), named, depth, levels=3)


def _registered(lowering: Lowering, value: Any, depth: int, exact: bool) -> object:
    name, encoder = next(encoders[base] for base in type(value).__mro__ if base in encoders)
    return lowering.tag(name, lowering.child(encoder(value), "", depth + 1, exact=True), depth)


def _own_json(lowering: Lowering, value: Any, depth: int, exact: bool) -> object:
    # Counted as one level, though it is none: an object that answers with a new object each time
    # would else never end.
    return lowering.child(value.__json__(), "", depth + 1, exact=exact)


def _lazy_text(lowering: Lowering, value: object, depth: int, exact: bool) -> object:
    return _str(lowering, str(value), depth, exact)


_Rule = Callable[[Lowering, Any, int, bool], object]

_RULES: Final[dict[type, _Rule]] = {
    type(None): _as_it_is,
    bool: _as_it_is,
    str: _str,
    int: _int,
    float: _float,
    list: _list,
    tuple: _tuple,
    dict: _dict,
    set: _set,
    frozenset: _set,
    datetime: _datetime,
    date: _date,
    time: _time,
    timedelta: _timedelta,
    Decimal: _decimal,
    UUID: _uuid,
    bytes: _bytes,
    bytearray: _bytes,
    memoryview: _bytes,
}
_LEAVES: Final = frozenset(_RULES.values()) - {_list, _tuple, _dict, _set}


def _rule_for(cls: type) -> _Rule | None:
    """Return the rule for a class that is not built in, or None if it cannot travel."""
    if any(base in encoders for base in cls.__mro__):
        return _registered
    if hasattr(cls, "__json__"):
        return _own_json
    if any((b.__module__, b.__qualname__) == _LAZY_TEXT for b in cls.__mro__):
        return _lazy_text
    kind = kind_of(cls)
    if kind is not None:
        return _enum if kind == "enum" else _object
    return next((_RULES[base] for base in cls.__mro__ if base in _RULES), None)


# -- what errors say ---------------------------------------------------------------------------


def _short(value: object) -> str:
    """Return a short picture of a key or an index, made without running code of its class."""
    if isinstance(value, str):
        shown = str.__repr__(value)
    elif type(value) in _PRINTABLE:
        shown = repr(value)
    else:
        shown = f"<{_type_name(value)}>"
    return shown if len(shown) <= 60 else f"{shown[:57]}…"


def _type_name(value: object) -> str:
    cls = type(value)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


#: An attribute that gives a class away → what to pass instead of its instances. First match wins.
_CURES: Final = (
    ("_meta", "pass its primary key (value.pk) and load it in the task"),  # Django
    ("__mapper__", "pass its primary key and load it in the task"),  # SQLAlchemy
    ("__attrs_attrs__", "pass attrs.asdict(value)"),
    ("__await__", "await it first and pass what it gives"),
    ("with_traceback", "pass str(value)"),
    ("__fspath__", "pass str(value)"),
    ("fileno", "open it inside the task and pass its path or address"),
    ("acquire", "make it inside the task; it means nothing in another process"),
    ("cursor", "connect inside the task"),
    ("tolist", "pass value.tolist()"),  # NumPy and array
    ("to_dict", "pass value.to_dict()"),  # pandas and many others
    (
        "__call__",
        "functions and classes do not travel; pass a task's signature or a name the task looks up",
    ),
    ("keys", "pass dict(value)"),
    ("__iter__", "pass list(value)"),
    ("__complex__", "pass [value.real, value.imag]"),
)


def _cure(value: object) -> str:
    # The classes' own dictionaries: asking the value could run its code, and hasattr(cls, …) would
    # also find what belongs to the class as an object, such as __call__.
    known = {name for cls in type(value).__mro__ for name in vars(cls)}
    for attribute, cure in _CURES:
        if attribute in known:
            return cure
    return (
        "pass its primary key or the plain values the task needs, or teach it to travel: a method "
        "__json__, or celeriac.serialization.register_type"
    )
