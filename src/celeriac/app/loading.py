"""Find the application that ``-A/--app`` names, and say well why it cannot be found.

Layer 4. Used by the command line and by the worker's zygote. Importing the user's module runs the
user's code, so the supervisor never calls :func:`find_app`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Final

from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.app import Celeriac

__all__ = ["AppNotFound", "describe_failure", "find_app"]

#: Attributes that hold an app, the first that does wins.
ATTRIBUTES: Final = ("app", "celery", "celeriac")
#: Modules of a package that are looked into when the package itself holds no app.
SUBMODULES: Final = ("celery", "celeriac")

#: Frames of files that begin so are not the user's.
_OURS: Final = (
    "<frozen importlib",
    str(Path(importlib.__file__).parent),
    str(Path(__file__).parents[1]),
)


class AppNotFound(ImproperlyConfigured):
    """The application that was named cannot be found or cannot be imported.

    The exception of the user's own module, if importing it raised one, is its ``__cause__``.
    """


def find_app(spec: str) -> Celeriac:
    """Import the application that *spec* names.

    ``tasks`` (the attribute ``app`` or ``celery`` of the module, else the only app in it),
    ``tasks:app``, ``tasks.app``, and for a package also the modules ``celery`` and ``celeriac``
    inside it. The working directory is put first on ``sys.path`` if it is not on it.

    Raises:
        AppNotFound: there is no such module, attribute or app, or importing it raised.
    """
    _check(spec)
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    name, colon, attribute = spec.partition(":")
    if colon:
        module = _import(name, spec)
        if module is None:
            raise AppNotFound(_no_module(name))
        return _named(module, attribute) if attribute else _search(module)
    module = _import(name, spec)
    if module is not None:
        return _search(module)
    parent, dot, last = name.rpartition(".")
    module = _import(parent, spec) if dot else None
    if module is None:
        raise AppNotFound(_no_module(name))
    return _named(module, last)


def describe_failure(error: AppNotFound) -> str:
    """The traceback of the user's module, if it is to blame, then what was looked for where."""
    cause = error.__cause__
    if cause is None:
        return f"{error}\n"
    frames = traceback.TracebackException.from_exception(cause.with_traceback(_users(cause)))
    if isinstance(cause, ImproperlyConfigured):
        # How we found out is of no use to who wrote it; the text follows, once.
        lines = [each for each in frames.stack if not each.filename.startswith(_OURS)]
        stack = "".join(traceback.format_list(lines))
        return f"Traceback (most recent call last):\n{stack}\n{error}\n"
    return f"{''.join(frames.format())}\n{error}\n"


def _users(cause: BaseException) -> TracebackType | None:
    """The traceback of *cause* from the first frame that is the user's."""
    found = cause.__traceback__
    while found is not None:
        if not found.tb_frame.f_code.co_filename.startswith(_OURS):
            return found
        found = found.tb_next
    return None


def _check(spec: str) -> None:
    name = spec.partition(":")[0]
    if "/" in name or "\\" in name or name.endswith(".py"):
        path = Path(name)
        folder = "" if str(path.parent) == "." else f" together with --workdir {path.parent}"
        raise AppNotFound(
            f"--app names a module, not a file: write -A {path.stem}{folder} instead of -A {spec}."
        )
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise AppNotFound(
            f"--app {spec!r} is not the name of a module: write it as in tasks, tasks:app or "
            "package.tasks."
        )
    if name == __package__.partition(".")[0]:
        raise AppNotFound(
            f"--app {spec!r} names this library itself. Name your module, and give it another "
            "name than celeriac.py."
        )


def _import(name: str, spec: str) -> ModuleType | None:
    """Import *name*; None if there is no such module; AppNotFound if it raises."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only the module asked for, or a package on the way to it, may be "not there"; anything
        # else is an import inside the user's code that failed.
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            return None
        raise AppNotFound(_broken(name, spec, error)) from error
    except (Exception, SystemExit) as error:
        raise AppNotFound(_broken(name, spec, error)) from error


def _broken(name: str, spec: str, error: BaseException) -> str:
    first = f"Importing {name!r} for --app {spec} failed{_place(name)}: "
    if isinstance(error, SystemExit):
        return (
            f"{first}the module ended the program (sys.exit). Put what runs it as a program under "
            '`if __name__ == "__main__":`.'
        )
    text = f"{first}{_sentence(error)}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        near = _near(error.name)
        hint = f" Did you mean {near}?" if near else " Is it installed in this environment?"
        return f"{text}{hint} {_searched()}"
    if isinstance(error, ImportError) and "partially initialized" in str(error):
        return f"{text} Two modules import each other; import one of them inside a function."
    return text


def _sentence(error: BaseException) -> str:
    """``ValueError: no.``: one full stop, whether or not the error's own text ends in one."""
    if isinstance(error, ImproperlyConfigured):
        text = str(error).rstrip()
    else:
        text = f"{type(error).__name__}: {error}".rstrip().removesuffix(":")
    # A list ends as its last item does.
    return text if text.endswith((".", "!", "?")) or "\n" in text else f"{text}."


def _place(name: str) -> str:
    """Where the module that failed lies; nothing if that cannot be told."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return ""
    return f" ({found.origin})" if found is not None and found.origin else ""


def _no_module(name: str) -> str:
    near = _near(name)
    hint = f" Did you mean {near}?" if near else ""
    return f"There is no module named {name!r}.{hint} {_searched()}"


def _searched() -> str:
    """Where modules were looked for, the working directory first."""
    directory = str(Path.cwd())
    others = sum(1 for each in sys.path if each not in {"", directory})
    return (
        f"Looked in {directory} (the working directory; change it with --workdir) and in the "
        f"{others} other entries of sys.path."
    )


def _near(name: str) -> str:
    """Modules of the working directory whose names are like *name*, as text."""
    top = name.partition(".")[0]
    here = [
        entry.stem
        for entry in Path.cwd().iterdir()
        if entry.suffix == ".py" or (entry.is_dir() and (entry / "__init__.py").is_file())
    ]
    return " or ".join(
        get_close_matches(top, [each for each in here if each != top], n=2, cutoff=0.7)
    )


def _named(module: ModuleType, path: str) -> Celeriac:
    """The app at attribute *path* of *module*."""
    from celeriac.app import Celeriac

    found: object = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise AppNotFound(_no_attribute(module, path)) from None
    if isinstance(found, Celeriac):
        return found
    if isinstance(found, ModuleType):
        return _search(found)
    raise AppNotFound(f"{module.__name__}:{path} is not an app: {_what(found)}.{_apps(module)}")


def _no_attribute(module: ModuleType, path: str) -> str:
    near = get_close_matches(path, _names(module), n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{_title(module)} has no attribute {path!r}.{hint}{_apps(module)}"


def _search(module: ModuleType) -> Celeriac:
    """The app in *module*, or in the usual modules of a package."""
    looked = [module]
    if found := _only(module):
        return found
    if hasattr(module, "__path__"):
        for name in SUBMODULES:
            full = f"{module.__name__}.{name}"
            inner = _import(full, full)
            if inner is not None:
                looked.append(inner)
                if found := _only(inner):
                    return found
    where = " and ".join(_title(each) for each in looked)
    foreign = _foreign(module)
    raise AppNotFound(
        f"{where} {'holds' if len(looked) == 1 else 'hold'} no app. Looked for the attributes "
        f"{', '.join(ATTRIBUTES)} and for a single Celeriac among the others.{foreign} "
        f"Make one, app = Celeriac({module.__name__!r}), or name its place: "
        f"-A {module.__name__}:NAME."
    )


def _only(module: ModuleType) -> Celeriac | None:
    """The app of *module* under a usual name, else the only one in it."""
    from celeriac.app import Celeriac

    for name in ATTRIBUTES:
        found = vars(module).get(name)
        if isinstance(found, Celeriac):
            return found
    apps = {id(each): each for each in vars(module).values() if isinstance(each, Celeriac)}
    if len(apps) > 1:
        raise AppNotFound(f"{_title(module)} holds {len(apps)} apps.{_apps(module)}")
    return next(iter(apps.values()), None)


def _apps(module: ModuleType) -> str:
    """Which apps the module does hold, as a sentence."""
    names = _names(module)
    if not names:
        return ""
    return " Say which: " + " or ".join(f"-A {module.__name__}:{name}" for name in names) + "."


def _names(module: ModuleType) -> list[str]:
    """The attributes of *module* that are apps."""
    from celeriac.app import Celeriac

    return [name for name, each in vars(module).items() if isinstance(each, Celeriac)]


def _foreign(module: ModuleType) -> str:
    """A sentence about an app of Celery, whose import was not changed yet."""
    for name, each in vars(module).items():
        if type(each).__module__.partition(".")[0] == "celery" and type(each).__name__ == "Celery":
            return (
                f" {name} is an app of the package celery: change the import to "
                "`from celeriac import Celery`."
            )
    return ""


def _title(module: ModuleType) -> str:
    place = getattr(module, "__file__", None)
    return f"Module {module.__name__}" + (f" ({place})" if place else "")


def _what(value: object) -> str:
    kind = type(value)
    return f"it is of type {kind.__module__}.{kind.__qualname__}".replace("builtins.", "")
