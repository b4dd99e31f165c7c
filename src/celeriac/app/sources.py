"""What ``config_from_object`` names, and how it is read.

Layer 4: it imports the user's module. Which names in it are settings is decided in ``conf``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

from celeriac.app.symbols import NoSuchObject, find_symbol
from celeriac.conf import Reading, read_mapping, read_object
from celeriac.exceptions import ImproperlyConfigured

__all__ = ["Source", "read_source"]


class Source(NamedTuple):
    """An object of settings, or its name, and how to read it."""

    obj: Any
    namespace: str
    silent: bool

    @classmethod
    def of(cls, obj: Any, namespace: str, silent: bool) -> Source:
        """Make it of what ``config_from_object`` was given."""
        if obj is None or isinstance(obj, bool | int | float | bytes | list | tuple):
            raise TypeError(
                "config_from_object() takes a module, a class, a dictionary, an object or the name "
                f"of one, not {obj!r}"
            )
        return cls(obj, namespace, silent)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> Source | None:
        """The module that the environment names, if it does."""
        name = environ.get("CELERIAC_CONFIG_MODULE") or environ.get("CELERY_CONFIG_MODULE")
        return cls(name, "", False) if name else None


def read_source(source: Source) -> Reading | None:
    """Read the settings of *source*; None if its name does not exist and that is silent.

    Raises:
        ImproperlyConfigured: the name does not exist, or importing it raised.
    """
    found = source.obj
    if isinstance(found, str):
        what = f"config_from_object({found!r})"
        try:
            found = find_symbol(found, what)
        except NoSuchObject:
            if source.silent:
                return None
            raise
    place, file = _place(source.obj, found)
    try:
        reading = _read(found, place, source.namespace)
    except ImproperlyConfigured:
        raise
    except Exception as error:
        # Reading an attribute runs the user's code, such as Django's settings, which read a file.
        text = f"{type(error).__name__}: {error}"
        raise ImproperlyConfigured(f"{place} cannot be read: {text}") from error
    reading.file = file
    return reading


def _read(found: Any, place: str, namespace: str) -> Reading:
    if isinstance(found, Mapping):
        if not namespace:
            return read_mapping(found, place)
        return read_object(found, place, namespace, mapping=True)
    return read_object(found, place, namespace)


def _place(given: Any, found: Any) -> tuple[str, str]:
    """What is read, in words, and its file, which may be empty."""
    if isinstance(found, ModuleType):
        file = getattr(found, "__file__", None) or ""
        return f"module {found.__name__}" + (f" ({file})" if file else ""), file
    if isinstance(found, Mapping):
        named = f"object {given}" if isinstance(given, str) else "dictionary of config_from_object"
        return named, ""
    cls = found if isinstance(found, type) else type(found)
    file = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
    if isinstance(given, str):
        return f"object {given}", file
    kind = "class" if isinstance(found, type) else "object of class"
    place = f"{kind} {cls.__module__}.{cls.__qualname__}"
    return place + (f" ({file})" if file else ""), file
