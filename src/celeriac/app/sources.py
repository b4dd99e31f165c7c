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
    place = _place(source.obj, found)
    try:
        if isinstance(found, Mapping):
            if not source.namespace:
                return read_mapping(found, place)
            return read_object(found, place, source.namespace, mapping=True)
        return read_object(found, place, source.namespace)
    except ImproperlyConfigured:
        raise
    except Exception as error:
        # Reading an attribute runs the user's code, such as Django's settings, which read a file.
        text = f"{type(error).__name__}: {error}"
        raise ImproperlyConfigured(f"{place} cannot be read: {text}") from error


def _place(given: Any, found: Any) -> str:
    if isinstance(found, ModuleType):
        file = getattr(found, "__file__", None)
        return f"module {found.__name__}" + (f" ({file})" if file else "")
    if isinstance(given, str):
        return f"object {given}"
    if isinstance(found, Mapping):
        return "dictionary of config_from_object"
    cls = found if isinstance(found, type) else type(found)
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    kind = "class" if isinstance(found, type) else "object of class"
    return f"{kind} {cls.__module__}.{cls.__qualname__}" + (f" ({file})" if file else "")
