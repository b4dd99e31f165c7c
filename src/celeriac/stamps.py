"""Stamps: names and values that a call carries, by which it can be found and revoked.

Layer 1: standard library, msgspec and layer 0. Pure. Among the options of a call, stamps are what
Celery makes of them: ``stamped_headers`` lists their names, and under each name is its value, or a
list of values. A message keeps a list for each name (``message.Header.stamps``).

Two values are the same stamp if their *text* is: text is itself, anything else is its JSON. So what
a command line says (``--stamp batch=7``) means what a program says (``batch=7``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from celeriac.checks import FLOW_OPTIONS, SEND_OPTIONS, check_plain

__all__ = [
    "NAMES",
    "are_stamps",
    "check_name",
    "checked_stamps",
    "combined",
    "keys_of",
    "listed_keys",
    "names_of",
    "options_of",
    "plain_value",
    "text_of",
    "united",
    "values_of",
]

#: The option, and the key of what a visitor returns, that lists the names.
NAMES: Final = "stamped_headers"

#: Characters of a name, and of a value as text, that are a stamp. Both go into an index.
NAME_MAX: Final = 128
TEXT_MAX: Final = 1024

_COLLECTIONS: Final = list | tuple | set | frozenset
_json: Final = msgspec.json.Encoder(order="deterministic").encode


def text_of(value: Any) -> str:
    """Return *value* as the text by which stamps are told apart."""
    return value if isinstance(value, str) else _json(value).decode()


def values_of(value: Any) -> list[Any]:
    """Return *value*, one or several in a collection, as a list in which none is there twice.

    A set has no order, so its values are sorted by their text.
    """
    if not isinstance(value, _COLLECTIONS):
        return [value]
    given = sorted(value, key=text_of) if isinstance(value, set | frozenset) else value
    found: dict[str, Any] = {}
    for each in given:
        found.setdefault(text_of(each), each)
    return list(found.values())


def united(first: Any, second: Any) -> list[Any]:
    """Return the values of both, those of *first* before, none twice."""
    return values_of([*values_of(first), *values_of(second)])


def plain_value(name: str, value: Any) -> Any:
    """Return *value* of the stamp *name* as it is kept: a collection becomes a list.

    Raises ``EncodeError`` for what is no plain data, ``ValueError`` for what is too long.
    """
    several = isinstance(value, _COLLECTIONS)
    for each in value if several else (value,):
        check_plain(each, f"the stamp {name!r}")
    made = values_of(value)
    for each in made:
        if len(text_of(each)) > TEXT_MAX:
            raise ValueError(
                f"the stamp {name!r} has a value of {len(text_of(each)):,} characters; it may have "
                f"{TEXT_MAX:,}"
            )
    return made if several or value is None else value


def check_name(name: Any) -> str:
    """Return *name*, or raise if it cannot be that of a stamp."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a stamp is text, not {name!r}")
    if not 0 < len(name) <= NAME_MAX or "=" in name:
        raise ValueError(
            f"{name!r} cannot be the name of a stamp: that has 1 to {NAME_MAX} characters, and no ="
        )
    if name in SEND_OPTIONS or name in FLOW_OPTIONS:
        raise ValueError(
            f"a stamp cannot be called {name!r}: that is an option of apply_async(), and one would "
            "be taken for the other. Give the stamp another name"
        )
    return name


def names_of(options: Mapping[str, Any]) -> list[str]:
    """Return the names that ``stamped_headers`` lists in *options*; raises ``TypeError`` if it is
    no list."""
    names = options.get(NAMES)
    if names is None:
        return []
    if isinstance(names, str):
        return [names]
    if not isinstance(names, _COLLECTIONS):
        raise TypeError(f"{NAMES} is {names!r}; it is a list of the names of stamps")
    return sorted(names) if isinstance(names, set | frozenset) else list(dict.fromkeys(names))


def are_stamps(options: Mapping[str, Any]) -> bool:
    """Whether *options* are nothing but stamps."""
    return NAMES in options and options.keys() == {NAMES, *names_of(options)}


def checked_stamps(options: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the stamps in *options* as a message keeps them.

    Raises ``TypeError`` for a name without a value, and as :func:`check_name` and
    :func:`plain_value`.
    """
    made: dict[str, list[Any]] = {}
    for name in names_of(options):
        check_name(name)
        if options.get(name) is None:
            raise TypeError(
                f"{NAMES} names {name!r}, and there is no value for it: {NAMES}=[{name!r}], "
                f"{name}=…"
            )
        made[name] = values_of(plain_value(name, options[name]))
    return made


def options_of(stamps: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return *stamps* of a message as options; none if there are none."""
    return {NAMES: list(stamps), **stamps} if stamps else {}


def combined(
    under: Mapping[str, Any], own: Mapping[str, Any], over: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options *own* with those of a whole *over* and *under* them.

    The stamps of all three hold; where two have the same name, *own* goes first, then *over*: a
    stamp is not changed by what it is sent with.
    """
    made = {**under, **own, **over}
    if NAMES in made:
        stamps: dict[str, Any] = {}
        for layer in (under, over, own):
            stamps |= {name: layer[name] for name in names_of(layer) if name in layer}
        missing = [name for name in names_of(made) if name not in stamps]
        made |= stamps
        made[NAMES] = [*stamps, *missing]
    return made


def keys_of(stamps: Mapping[str, Iterable[Any]]) -> list[str]:
    """Return each stamp as one text, ``NAME=VALUE``."""
    return [f"{name}={text_of(each)}" for name, values in stamps.items() for each in values]


def listed_keys(headers: Mapping[str, Any]) -> list[str]:
    """Return what ``revoke_by_stamped_headers`` is given, ``{name: value or values}``, as
    :func:`keys_of` does.

    Raises ``TypeError`` if it is no dictionary, and as :func:`check_name` and :func:`plain_value`;
    ``ValueError`` if it names no stamp.
    """
    if not isinstance(headers, Mapping):
        raise TypeError(
            f"headers is {headers!r}; it is a dictionary from names of stamps to a value, or a list"
        )
    made = {
        check_name(name): values_of(plain_value(name, value)) for name, value in headers.items()
    }
    keys = keys_of(made)
    if not keys:
        raise ValueError("no stamp is named: give {'name': value}, or a list of values")
    return keys
