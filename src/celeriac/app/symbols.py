"""Finding an object by the name that a setting or an argument gives it.

Layer 4. Importing runs the user's code.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from celeriac.exceptions import ImproperlyConfigured

__all__ = ["NoSuchObject", "find_module", "find_symbol"]


class NoSuchObject(ImproperlyConfigured):
    """There is no module or attribute of that name. An error inside a module is another thing."""


def find_symbol(name: str, what: str) -> Any:
    """Return what *name* names: ``module``, ``module:attribute`` or ``module.attribute``.

    *what* asks for it, for the error.

    Raises:
        NoSuchObject: there is no such module or attribute.
        ImproperlyConfigured: importing the module raised; the exception is the cause.
    """
    path, colon, attribute = name.partition(":")
    module = find_module(path, what)
    if colon and module is not None:
        return _attribute(module, attribute, what)
    if module is not None:
        return module
    parent, dot, last = path.rpartition(".")
    holder = find_module(parent, what) if dot and not colon else None
    if holder is None:
        raise NoSuchObject(f"{what}: there is no module named {path!r}{_near(path)}")
    return _attribute(holder, last, what)


def find_module(name: str, what: str) -> ModuleType | None:
    """Import the module *name*; None if it is not there, an error if it raises."""
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise NoSuchObject(f"{what}: {name!r} is not the name of a module")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            return None
        raise _broken(name, what, error) from error
    except Exception as error:
        raise _broken(name, what, error) from error


def _broken(name: str, what: str, error: Exception) -> Exception:
    if isinstance(error, ImproperlyConfigured):
        return error  # it says itself what is wrong
    text = f"{type(error).__name__}: {error}".rstrip().removesuffix(":")
    return ImproperlyConfigured(f"{what}: importing {name!r} failed: {text}")


def _attribute(module: ModuleType, path: str, what: str) -> Any:
    found: Any = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            from difflib import get_close_matches

            near = get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            place = f" ({module.__file__})" if getattr(module, "__file__", None) else ""
            raise NoSuchObject(
                f"{what}: module {module.__name__}{place} has no attribute {path!r}{hint}"
            ) from None
    return found


def _near(name: str) -> str:
    """A module of nearly that name beside it."""
    import pkgutil
    from difflib import get_close_matches

    parent, _, last = name.rpartition(".")
    path = getattr(sys.modules.get(parent), "__path__", None) if parent else sys.path
    known = [each.name for each in pkgutil.iter_modules(path)] if path is not None else []
    near = get_close_matches(last, known, n=1, cutoff=0.75)
    return f"; did you mean {parent}{'.' if parent else ''}{near[0]}?" if near else ""
