"""Is this a value the setting can have? One judge per kind, for values and for text.

Each judge returns the value as it is kept (durations as float seconds, sequences as tuples) or
raises `ValueError` with what was expected. Nothing here knows of layers or of other settings.

Layer L1. Read it through `celeriac.conf`.
"""

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeGuard

from msgspec import DecodeError, json

from celeriac.checks import checked_retry_policy, seconds
from celeriac.compression import compression_of
from celeriac.exceptions import ImproperlyConfigured, NotInThisVersion
from celeriac.ids import valid_id

from .queues import Queue, read_queues
from .rates import per_second
from .record import Kind, Setting
from .routes import kept, read_routes
from .words import expected, near

__all__ = ["judge", "parse", "retry_waits"]

#: Words that mean another one: media types, and Celery's second name of a pool.
_OTHER_WORDS = {
    "application/json": "json",
    "application/x-msgpack": "msgpack",
    "application/msgpack": "msgpack",
    "application/x-python-serialize": "pickle",
    "application/x-yaml": "yaml",
    "processes": "prefork",
}

_SEVERAL = re.compile(r";\s*\w+:")
# Celery's way to name several sentinels: each by a URL of its own, all of them one store.
_SENTINELS = re.compile(r"sentinel://[^;]*(;\s*sentinel://[^;]*)+\Z")

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


class _UnexpectedError(ValueError):
    """The value is not what the setting expects. `more` is said after what it expects."""

    def __init__(self, setting: Setting, more: str = "") -> None:
        super().__init__(expected(setting) + more)


# -- values ------------------------------------------------------------------------------------


_AUTO = ("worker_concurrency", "auto")  # what the command line calls it


def judge(setting: Setting, value: object) -> Any:
    """Return `value` as it is kept, or raise `ValueError` saying what is expected instead."""
    if setting.none and (value is None or (setting.name, value) == _AUTO):
        return None
    return _JUDGES[setting.kind](setting, value)


def _bool(setting: Setting, value: object) -> bool:
    if not isinstance(value, bool):
        raise _UnexpectedError(setting)
    return value


def _integer(setting: Setting, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not _in_range(setting, value):
        raise _UnexpectedError(setting)
    return value


def _fraction(setting: Setting, value: object) -> float:
    if not _is_number(value) or not 0 < value <= 1:
        raise _UnexpectedError(setting)
    return float(value)


def _seconds(setting: Setting, value: object) -> float | None:
    try:
        number = seconds(value, setting.name)
    except TypeError:
        raise _UnexpectedError(setting) from None
    if not _in_range(setting, number):
        raise _UnexpectedError(setting)
    # Only result_expires has both a None and a zero, and Celery takes one for the other.
    return number if number or not setting.none else None


def _name(setting: Setting, value: object) -> str:
    empty_allowed = setting.default == ""
    if not isinstance(value, str) or not (valid_id(value) or (empty_allowed and not value)):
        raise _UnexpectedError(setting)
    return value


def _module_names(setting: Setting, value: object) -> tuple[str, ...]:
    names = _texts(setting, value)
    wrong = [each for each in names if not all(part.isidentifier() for part in each.split("."))]
    if wrong:
        raise _UnexpectedError(setting, f"; {wrong[0]!r} is none")
    return names


def _choice(setting: Setting, value: object) -> str:
    if not isinstance(value, str):
        raise _UnexpectedError(setting)
    word = _OTHER_WORDS.get(value, value)
    if word in setting.later:
        why = " (reading it runs code that the message chooses)" if word == "pickle" else ""
        raise ValueError(f"{word!r} is not in this version{why}; {expected(setting)}")
    if word not in setting.choices:
        raise _UnexpectedError(setting, near(word, setting.choices))
    return word


def _choices(setting: Setting, value: object) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(_choice(setting, each) for each in _texts(setting, value)))
    if not words:
        raise _UnexpectedError(setting, "; an empty list would refuse everything")
    return words


def _compression(setting: Setting, value: object) -> str:
    if not isinstance(value, str):
        raise _UnexpectedError(setting)
    try:
        return compression_of(value)
    except ImproperlyConfigured as error:
        raise ValueError(str(error)) from None


def _url(setting: Setting, value: object) -> str:
    several = isinstance(value, str) and _SEVERAL.search(value) and not _SENTINELS.match(value)
    if several or isinstance(value, list | tuple):
        raise ValueError("more than one URL (fail-over) is not in this version; give one")
    if not isinstance(value, str) or not value.strip():
        raise _UnexpectedError(setting)
    return value


def _tls(setting: Setting, value: object) -> bool | Mapping[str, Any] | None:
    if value is False:  # Celery's default
        return None
    if value is True:
        return value
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value):
        raise _UnexpectedError(setting)
    # What ssl.CERT_NONE and its like are to people, and to another process of this app.
    return MappingProxyType(
        {
            name: int(each) if isinstance(each, int) and not isinstance(each, bool) else each
            for name, each in value.items()
        }
    )


def _transport(setting: Setting, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value):
        raise _UnexpectedError(setting)
    if "global_keyprefix" in value:
        raise ValueError("'global_keyprefix' is a setting of its own: set it, not this key")
    return MappingProxyType(dict(value))


def _timezone(setting: Setting, value: object) -> str:
    if value is None:  # Celery's default, which means UTC
        return "UTC"
    key = getattr(value, "key", value)  # a ZoneInfo tells its name so
    if not isinstance(key, str):
        raise _UnexpectedError(setting)
    if key != "UTC":
        from zoneinfo import ZoneInfo

        try:
            ZoneInfo(key)
        except (LookupError, ValueError, OSError):
            raise _UnexpectedError(setting, "; this machine knows no such zone") from None
    return key


def _log_format(setting: Setting, value: object) -> str:
    if not isinstance(value, str):
        raise _UnexpectedError(setting)
    if value == "json":
        return value
    from logging import Formatter, makeLogRecord

    # All that every record of a worker has. What a format cannot take would cost each line.
    sample = {
        "name": "celeriac", "msg": "", "levelno": 20, "levelname": "INFO", "pathname": "a.py",
        "task_id": "", "task_name": "",
    }  # fmt: skip
    try:
        Formatter(value).format(makeLogRecord(sample))
    except (ValueError, TypeError) as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, KeyError):
            known = [*sorted(vars(makeLogRecord(sample))), "message", "asctime"]
            text = f"; records have no field {cause.args[0]!r}{near(str(cause.args[0]), known)}"
            raise _UnexpectedError(setting, text) from None
        raise _UnexpectedError(setting, f"; {error}") from None
    return value


def _text(setting: Setting, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _UnexpectedError(setting)
    return value


def _key(setting: Setting, value: object) -> str | Mapping[str, str]:
    keys = list(value.values()) if isinstance(value, Mapping) else [value]
    if not all(isinstance(each, str) for each in keys):
        raise _UnexpectedError(setting)
    from celeriac.signing import Signer

    try:
        Signer.from_setting(value, "check")  # type: ignore[arg-type]  # it judges the shape itself
    except ImproperlyConfigured as error:
        raise ValueError(str(error)) from None
    return value if isinstance(value, str) else MappingProxyType(dict(value))  # type: ignore[call-overload]


def _retry_policy(setting: Setting, value: object) -> Mapping[str, float | None]:
    if not isinstance(value, Mapping):
        raise _UnexpectedError(setting)
    try:
        given = checked_retry_policy(value, setting.name)
    except (TypeError, NotInThisVersion) as error:
        raise ValueError(str(error)) from None
    return MappingProxyType({**setting.default, **given})


def _queues(_setting: Setting, value: object) -> tuple[Queue, ...]:
    try:
        return read_queues(value)
    except NotInThisVersion as error:
        raise ValueError(str(error)) from None


def _routes(_setting: Setting, value: object) -> Any:
    try:
        read_routes(value)
    except NotInThisVersion as error:
        raise ValueError(str(error)) from None
    return kept(value)


def _rate(_setting: Setting, value: Any) -> str | float | None:
    return value if per_second(value) is not None else None


def retry_waits(policy: Mapping[str, Any], enough: float) -> float:
    """Return how long all waits of a retry policy take together, in seconds.

    A policy that has no end takes no time: it goes on until its caller's budget is used up.
    Counting stops once the sum is over `enough`.
    """
    if policy["max_retries"] is None:
        return 0.0
    wait, total = policy["interval_start"], 0.0
    for _ in range(policy["max_retries"]):
        total += min(wait, policy["interval_max"])
        if total > enough or (total == 0.0 and not policy["interval_step"]):
            break
        wait += policy["interval_step"]
    return total


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _in_range(setting: Setting, value: float) -> bool:
    above = setting.least is None or value >= setting.least
    return above and (setting.most is None or value <= setting.most)


def _texts(setting: Setting, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)  # a set has no order, and settings are shown and compared
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise _UnexpectedError(setting)
    return tuple(value)


def _annotations(setting: Setting, value: object) -> object:
    """What it says of tasks is judged with them; here only that it can say something."""
    for each in value if isinstance(value, list | tuple) else (value,):
        if isinstance(each, Mapping):
            for name, options in each.items():
                if not isinstance(name, str) or not isinstance(options, Mapping):
                    raise _UnexpectedError(setting, f"; {name!r} is mapped to {options!r}")
        elif not isinstance(each, str) and not (
            hasattr(each, "annotate") or hasattr(each, "annotate_any")
        ):
            raise _UnexpectedError(setting)
    return value


_JUDGES: dict[Kind, Callable[[Setting, object], Any]] = {
    "annotations": _annotations,
    "bool": _bool,
    "choice": _choice,
    "choices": _choices,
    "compression": _compression,
    "fraction": _fraction,
    "integer": _integer,
    "key": _key,
    "log format": _log_format,
    "module names": _module_names,
    "name": _name,
    "queues": _queues,
    "rate": _rate,
    "retry policy": _retry_policy,
    "routes": _routes,
    "seconds": _seconds,
    "text": _text,
    "timezone": _timezone,
    "tls": _tls,
    "transport": _transport,
    "url": _url,
}


# -- text, from the environment ----------------------------------------------------------------


def parse(setting: Setting, text: str) -> Any:
    """Return the value that `text` names, judged, or raise `ValueError` with what is expected.

    Lists are separated by commas, mappings are JSON, and ``none`` is None where None is allowed;
    except for keys, where every text is a secret.
    """
    if not text and setting.default != "":
        raise ValueError(f"it is empty; {expected(setting)}, or remove the variable")
    if setting.none and setting.kind != "key" and text.lower() in {"none", "null"}:
        return None
    return judge(setting, _read(setting, text))


def _read(setting: Setting, text: str) -> object:
    try:
        match setting.kind:
            case "bool":
                return _read_bool(text)
            case "integer":
                return int(text)
            case "seconds" | "fraction":
                return float(text)
            case "module names" | "choices":
                return [part.strip() for part in text.split(",") if part.strip()]
            case "retry policy" | "transport":
                return json.decode(text)
            case "tls":
                return json.decode(text) if text.startswith("{") else _read_bool(text)
            case "annotations" | "queues" | "routes" if text.startswith(("{", "[")):
                return json.decode(text)
            case "queues":
                return [part.strip() for part in text.split(",") if part.strip()]
            case "key" if text.startswith("{"):
                return json.decode(text)
            case _:
                return text
    except (ValueError, DecodeError, RecursionError):
        # From None: the text of a decoding error may quote a secret.
        raise _UnexpectedError(setting) from None


def _read_bool(text: str) -> bool:
    word = text.lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(text)
    return word in _TRUE
