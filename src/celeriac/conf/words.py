"""Settings in words: what one can be, which name was meant, and values as people may see them.

Layer L1. Read it through `celeriac.conf`.
"""

import re
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from msgspec import json

from celeriac.compression import COMPRESSIONS

from .record import Kind, Setting

__all__ = ["expected", "masked", "near", "shown", "without_password"]

_TEXT_SHOWN = 80
_HIDDEN = "(hidden)"


def near(word: str, known: Sequence[str], likeness: float = 0.7) -> str:
    """Return `; did you mean X?` for the nearest of `known`, or nothing.

    `likeness` is how near it must be, from 0 to 1 (the same).
    """
    from difflib import get_close_matches

    found = get_close_matches(word, known, n=1, cutoff=likeness)
    return f"; did you mean {found[0]}?" if found else ""


def shown(setting: Setting, value: object) -> str:
    """Return `value` as people may see it: secrets hidden, passwords in URLs masked, cut."""
    if setting.secret and value is not None:
        return _HIDDEN
    text = repr(value if not isinstance(value, MappingProxyType) else dict(value))
    if setting.kind == "url":
        text = without_password(text)
    return text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN]}…"


def masked(setting: Setting, value: object) -> Any:
    """Return `value` as plain data that anybody may see; as text if it is not plain data."""
    if setting.secret and value is not None:
        return _HIDDEN
    if setting.kind == "url" and isinstance(value, str):
        return without_password(value)
    if isinstance(value, MappingProxyType):
        value = dict(value)
    if isinstance(value, tuple) and all(isinstance(each, str) for each in value):
        value = list(value)
    try:
        json.encode(value)
    except (TypeError, ValueError):
        return repr(value)
    return value


def without_password(text: str) -> str:
    """Return `text` with the passwords of the URLs in it struck out."""
    # Greedy to the last @: a password may hold an unquoted / or @, and must not slip through.
    text = re.sub(r"(://[^:@/]*):.*@", r"\1:***@", text, flags=re.DOTALL)
    return re.sub(r"((?:password|secret|token)=)[^&'\"]*", r"\1***", text, flags=re.IGNORECASE)


def expected(setting: Setting) -> str:
    """Return ``expected …``: what the setting can be, in words."""
    match setting.kind:
        case "bool":
            what = "True or False"
        case "integer":
            what = f"a whole number{f' of {setting.unit}' if setting.unit else ''}{_range(setting)}"
        case "seconds":
            what = f"a number of seconds or a timedelta{_range(setting)}"
        case "fraction":
            what = "a fraction, above 0 and at most 1"
        case "choice":
            what = _either(setting.choices)
        case "choices":
            what = f"a list of {_either(setting.choices)}"
        case "compression":
            what = _either(COMPRESSIONS)
        case _:
            what = _WANTED[setting.kind]
    return f"expected {what}{f', or None: {setting.none}' if setting.none else ''}"


_WANTED: dict[Kind, str] = {
    "annotations": "a mapping such as {'shop.mail': {'rate_limit': '10/s'}}, an object with "
    "annotate(task), or its name",
    "key": "a secret as text, or a mapping of key ids to secrets",
    "log format": "a format for logging, with fields such as '%(message)s', or 'json'",
    "module names": "a list of module names such as ['shop.tasks']",
    "name": "1 to 128 letters, digits or _ . : @ / - with a letter or digit first",
    "queues": "a list of names of queues, or a mapping by name (as JSON)",
    "rate": "a rate limit such as '10/s', '100/m' or '5/h'",
    "routes": "a mapping from names of tasks to queues (as JSON), or the name of a router",
    "retry policy": "a mapping with max_retries, interval_start, interval_step or interval_max",
    "text": "text",
    "timezone": "the name of a time zone such as 'Europe/Berlin'",
    "tls": "True, False, or a mapping such as {'ssl_ca_certs': '/path/ca.pem'}",
    "transport": "a mapping",
    "url": "the URL of a store, as text",
}


def _range(setting: Setting) -> str:
    least = "" if setting.least is None else f", at least {setting.least:g}"
    return least if setting.most is None else f"{least} and at most {setting.most:g}"


def _either(words: Sequence[str]) -> str:
    return " or ".join(map(repr, words))
