"""Celeriac: a distributed task queue. This file holds the public names and nothing else.

Who may import whom (``tests/architecture`` holds it): imports point down, inside functions too.

    L7  contrib  utils                              the world; each file alone
    L6  cli  web  testing                           faces
    L5  worker  beat                                processes; they do not import each other
    L4  app  client  result  context  control       what a user holds
    L3  canvas  workflow  policies  routing  signals                      meaning, no IO
    L2  stores                                      the seam; only ``stores/__init__`` names a store
    L1  message  outcome  serialization  signing  schedules  conf  arguments    data, no IO
    L0  exceptions  states  clock  backoff  ids     words; standard library only

The names below are loaded when they are first used, so that ``import celeriac`` stays cheap in
programs that only define tasks, and loads neither asyncio, click nor a store's driver.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec as _ModuleSpec

    from . import exceptions, states
    from .app import Celeriac, Celery, bugreport, current_app, current_task, shared_task
    from .app.task import Task
    from .canvas import (
        Signature,
        chain,
        chord,
        chunks,
        group,
        maybe_signature,
        signature,
        subtask,
        xmap,
        xstarmap,
    )
    from .ids import new_task_id as uuid
    from .routing import Exchange, Queue

__version__ = "0.1.0.dev0"

__all__ = [
    "Celeriac",
    "Celery",
    "Exchange",
    "Queue",
    "Signature",
    "Task",
    "__version__",
    "bugreport",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "exceptions",
    "group",
    "maybe_signature",
    "shared_task",
    "signature",
    "states",
    "subtask",
    "uuid",
    "xmap",
    "xstarmap",
]

# Public name -> (module, name in it). A name of None is the module itself.
_HOMES: dict[str, tuple[str, str | None]] = {
    "Celeriac": ("celeriac.app", "Celeriac"),
    "Celery": ("celeriac.app", "Celery"),
    "Exchange": ("celeriac.routing", "Exchange"),
    "Queue": ("celeriac.routing", "Queue"),
    "Signature": ("celeriac.canvas", "Signature"),
    "Task": ("celeriac.app.task", "Task"),
    "bugreport": ("celeriac.app", "bugreport"),
    **{
        name: ("celeriac.canvas", name)
        for name in ("chain", "chord", "chunks", "group", "subtask", "xmap", "xstarmap")
    },
    "current_app": ("celeriac.app", "current_app"),
    "current_task": ("celeriac.app", "current_task"),
    "exceptions": ("celeriac.exceptions", None),
    "maybe_signature": ("celeriac.canvas", "maybe_signature"),
    "shared_task": ("celeriac.app", "shared_task"),
    "signature": ("celeriac.canvas", "signature"),
    "states": ("celeriac.states", None),
    "uuid": ("celeriac.ids", "new_task_id"),
}

VERSION_BANNER = __version__

_VERSION = "Compare celeriac.__version__."
# Names that Celery's package has and this version does not: refused by name.
_LATER = {
    **dict.fromkeys(("VERSION", "version_info", "version_info_t", "SERIES"), _VERSION),
    "maybe_patch_concurrency": "Nothing is patched: there are no pools of greenlets.",
}


class _Unbuilt:
    """Asked by the import system for modules that nobody else has found: see ``unbuilt``."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> "_ModuleSpec | None":
        if not name.startswith("celeriac."):
            return None
        from .unbuilt import spec_of

        return spec_of(name)


sys.meta_path.append(_Unbuilt)


def __getattr__(name: str) -> object:
    """Load a public name on first use and keep it, so that this runs once for each name."""
    try:
        module_name, attribute = _HOMES[name]
    except KeyError:
        if name in _LATER:
            from .exceptions import NotInThisVersion

            raise NotInThisVersion(f"celeriac.{name}", _LATER[name]) from None
        raise AttributeError(f"module 'celeriac' has no attribute {name!r}") from None
    module = import_module(module_name)
    value: object = module if attribute is None else getattr(module, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
