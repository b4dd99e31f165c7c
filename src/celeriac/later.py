"""Attributes that Celery's objects have and this version does not: refused by name.

Layer 1: standard library and layer 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from celeriac.exceptions import NotInThisVersion

__all__ = ["Absent", "NotBuilt", "absent", "missing"]


class NotBuilt(NotInThisVersion, AttributeError):
    """An attribute of Celery's that is not built; ``hasattr`` is false, as for any other."""


class Absent:
    """A member of a class that is refused by name: read, called or set, on class and instance.

    For classes whose instances can be given any attribute, where :func:`missing` would let one
    be set and never looked at.
    """

    def __init__(self, instead: str) -> None:
        self._instead = instead
        self._what = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._what = f"{owner.__name__}.{name}"

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        raise NotBuilt(self._what, self._instead)

    def __set__(self, instance: object, value: object) -> NoReturn:
        raise NotBuilt(self._what, self._instead)


def missing(owner: str, name: str, later: Mapping[str, str]) -> AttributeError:
    """Return the error for the attribute *name* that *owner* does not have.

    *later* maps the names that Celery has to what to do instead.
    """
    if name in later:
        return NotBuilt(f"{owner}.{name}", later[name])
    return AttributeError(f"the {owner} has no attribute {name!r}", name=name)


def absent(module: str, name: str, later: Mapping[str, str]) -> Exception:
    """Return the error for the name *name* that *module* does not have.

    Unlike :func:`missing`'s it is no ``AttributeError`` where *later* has the name: ``from module
    import name`` would turn that into an ``ImportError`` without its text.
    """
    if name in later:
        return NotInThisVersion(f"{module}.{name}", later[name])
    return AttributeError(f"module {module!r} has no attribute {name!r}", name=name)
