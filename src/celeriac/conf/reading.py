"""Reading settings from what a program names: a mapping, or an object with attributes.

Pure: nothing is imported here and nothing is set; what was found, and all that is wrong with it,
comes back as one `Reading`. Layer L1. Read it through `celeriac.conf`.
"""

import types
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from .moot import MOOT, asks_for_nothing, check_moot
from .names import CELERY, INSTEAD, OURS_LATER, modern_name
from .table import SETTINGS
from .values import judge
from .words import near, shown

__all__ = ["Reading", "read_mapping", "read_object", "refusal"]

# What old names of Celery's begin with, in modules that may hold anything else in capitals, too.
_OLD = ("CELERY_", "CELERYD_", "CELERYBEAT_", "BROKER_")
_OLD_ALONE = ("ENABLE_UTC", "RESULT_ACCEPT_CONTENT")


class Reading(Struct):
    """What a source of settings says. `place` names the source, for people; `file` is its file."""

    place: str
    file: str = ""
    values: dict[str, Any] = {}
    moot: dict[str, Any] = {}
    problems: list[str] = []
    doubts: list[str] = []


def read_mapping(values: Mapping[str, Any], place: str) -> Reading:
    """Read a mapping that holds nothing but settings, so that an unknown name is a problem.

    Only names in capitals that begin with none of Celery's prefixes are passed over: Flask's
    ``app.config`` is given whole.
    """
    reading = Reading(place)
    told: dict[str, str] = {}
    for name, value in values.items():
        modern = _modern(name)
        if modern is None:
            if not _is_foreign(name):
                reading.problems.append(refusal(name))
        elif not _is_repeated(reading, told, name, modern, value):
            _take(reading, modern, value, name)
    return reading


def read_object(
    source: object, place: str, namespace: str = "", *, mapping: bool = False
) -> Reading:
    """Read a module, a class or another object, which may hold other things than settings.

    With a `namespace` (``CELERY``) names are read with that prefix, in its case, and those of
    Celery's old names that have a prefix of their own. A name that is unknown is passed over,
    with a doubt if it is like a known one. `mapping`: the keys of `source` are meant, not its
    attributes.
    """
    reading = Reading(place)
    found = _names_of(source, mapping)
    chosen = _choose(found, namespace, reading)
    if not namespace:
        reading.problems += _mixed(chosen)
    told: dict[str, str] = {}
    for name, modern in chosen.items():
        value = source[name] if mapping else getattr(source, name)  # type: ignore[index]
        if isinstance(value, types.ModuleType):
            continue  # `import include`, say
        if not _is_repeated(reading, told, name, modern, value):
            _take(reading, modern, value, name)
    return reading


def _names_of(source: object, mapping: bool) -> list[str]:
    names: Iterable[object] = source if mapping else dir(source)  # type: ignore[assignment]
    return [each for each in names if isinstance(each, str) and not each.startswith("_")]


def _choose(found: list[str], namespace: str, reading: Reading) -> dict[str, str]:
    """Return the names that are settings, each with what it is called now."""
    chosen: dict[str, str] = {}
    prefix = f"{namespace.rstrip('_')}_" if namespace else ""
    for name in found:
        if prefix and name.startswith(prefix):
            bare = name.removeprefix(prefix)
            modern: str | None = bare.lower() if bare.isupper() == prefix.isupper() else None
            if modern not in SETTINGS and modern not in CELERY:
                modern = _old(name)
        else:
            modern = name if name in SETTINGS or name in CELERY else _old(name)
        if modern is not None:
            chosen[name] = modern
        elif hint := _looks_like(name, prefix):
            reading.doubts.append(f"{name} is not a setting{hint}")
    return chosen


def _old(name: str) -> str | None:
    if name.startswith(_OLD) or name in _OLD_ALONE:
        return modern_name(name, SETTINGS)
    return None


def _looks_like(name: str, prefix: str) -> str:
    if prefix:
        if not name.startswith(prefix):
            return ""
        known = [f"{prefix}{each.upper() if prefix.isupper() else each}" for each in SETTINGS]
        return near(name, known, 0.85)
    return near(name, list(SETTINGS), 0.88) if name.islower() else ""


def _mixed(chosen: Mapping[str, str]) -> list[str]:
    """Say which names stand in the way where old and new ones are mixed, as Celery does."""
    new = {name for name in chosen if name.islower()}
    old = {name for name in chosen if not name.islower() and chosen[name] not in new}
    new = {name for name in new if not any(chosen[each] == name for each in set(chosen) - new)}
    if not new or not old:
        return []
    if len(old) > len(new):
        known = {modern: name for name, modern in chosen.items() if name in old}
        return [
            f"{name} is a new name among old ones ({', '.join(sorted(known.values())[:3])}, …); "
            "write all names in lower case"
            for name in sorted(new)
        ]
    return [f"{name} is an old name among new ones; write {chosen[name]}" for name in sorted(old)]


def _modern(name: object) -> str | None:
    if not isinstance(name, str):
        return None
    return name if name in SETTINGS or name in CELERY else modern_name(name, SETTINGS)


def _is_foreign(name: object) -> bool:
    return isinstance(name, str) and name.isupper() and not name.startswith(_OLD)


def _is_repeated(
    reading: Reading, told: dict[str, str], name: str, modern: str, value: object
) -> bool:
    """Whether another name of the same source has said the same; saying otherwise is a problem."""
    before = told.setdefault(modern, name)
    if before == name:
        return False
    kept = reading.values if modern in reading.values else reading.moot
    if modern in kept and kept[modern] != value:
        reading.problems.append(f"{before} and {name} name one setting and say different things")
    return True


def _take(reading: Reading, modern: str, value: Any, written: str) -> None:
    """Judge the value of one setting, whose name now is `modern`."""
    if modern in SETTINGS:
        setting = SETTINGS[modern]
        try:
            reading.values[modern] = judge(setting, value)
        except ValueError as error:
            reading.problems.append(f"{written} = {shown(setting, value)}: {error}")
    elif modern in MOOT:
        try:
            check_moot(modern, value)
            reading.moot[modern] = value
        except ValueError as error:
            reading.problems.append(f"{written}: {error}")
    elif not asks_for_nothing(modern, value):
        reading.problems.append(refusal(written))


def refusal(name: object) -> str:
    """Say why there is no setting `name`, and what to write instead."""
    if not isinstance(name, str):
        return f"{name!r}: the name of a setting is text, not {type(name).__name__}"
    if name in MOOT:
        return f"{name} has no meaning here ({MOOT[name]}), and nothing sets it"
    if name in INSTEAD:
        return f"{name} {INSTEAD[name]}"
    if name in OURS_LATER:
        return f"{name} {OURS_LATER[name]}"
    if name in CELERY:
        return f"{name} is a setting of Celery that is not in this version; remove it"
    modern = modern_name(name, SETTINGS)
    if modern is None:
        return f"{name} is not a setting{near(name.lower(), [*SETTINGS, *CELERY])}"
    return f"{name} is an old upper-case name of {modern}, and {refusal(modern)}"
