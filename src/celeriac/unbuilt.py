"""Modules that Celery has and this version does not: importing one says what to do instead.

Layer 0. The finder in ``celeriac/__init__`` stands behind all others, so that it is asked only for
what nobody else has found, and it answers for the names of this table alone.
"""

from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final, NoReturn

__all__ = ["MODULES", "spec_of"]

_BOOTSTEPS: Final = "A worker has no steps to add to; use signals, user_options or a base class."
_POOLS: Final = "Name the pool: `celeriac worker -P`, or the setting worker_pool."
_ROUTES: Final = "Name the queue: queue=…, or set task_routes."
_STANDARD: Final = "Use the standard library"

#: Module -> what to do instead. Those below one in the table go with it.
MODULES: Final = {
    "celeriac._state": "Import current_app and current_task from celeriac.",
    "celeriac.app.amqp": "The app keeps its own connections to the store.",
    "celeriac.app.autoretry": "Use the option autoretry_for of tasks.",
    "celeriac.app.backends": "Results are read with app.AsyncResult(id).",
    "celeriac.app.defaults": "`celeriac settings --all` lists the settings and their defaults.",
    "celeriac.app.routes": _ROUTES,
    "celeriac.app.trace": "Listen to task_prerun and task_postrun of celeriac.signals.",
    "celeriac.app.utils": "Use app.conf and app.bugreport().",
    "celeriac.apps": "Use app.Worker(…).start(), or run `celeriac -A … worker`.",
    "celeriac.backends": "Results are read with app.AsyncResult(id).",
    "celeriac.bin": "Run `celeriac`, `python -m celeriac`, or call app.start([…]).",
    "celeriac.bootsteps": _BOOTSTEPS,
    "celeriac.concurrency": _POOLS,
    "celeriac.events.cursesmon": "Read `celeriac events`, or write a receiver.",
    "celeriac.events.dumper": "Read `celeriac events`, or write a receiver.",
    "celeriac.events.receiver": "Import EventReceiver from celeriac.events.",
    "celeriac.events.snapshot": "Write a receiver: app.events.Receiver(connection, handlers={…}).",
    "celeriac.execute": "Call app.send_task(name, args, kwargs).",
    "celeriac.fixups": "Call django.setup() in the module of the app.",
    "celeriac.loaders": "Name the settings with config_from_object() or CELERIAC_CONFIG_MODULE.",
    "celeriac.local": "current_app and current_task are made without it.",
    "celeriac.log": "Use celeriac.utils.log, and the signals setup_logging, after_setup_logger.",
    "celeriac.messaging": "The app keeps its own connections to the store.",
    "celeriac.platforms": "Run the worker with --pidfile, --uid, --gid, --umask or --detach.",
    "celeriac.registry": "Tasks by name are app.tasks.",
    "celeriac.security": "The setting security_key is the whole switch.",
    "celeriac.utils.abstract": f"{_STANDARD} (collections.abc).",
    "celeriac.utils.collections": f"{_STANDARD}.",
    "celeriac.utils.debug": f"{_STANDARD} (tracemalloc); `celeriac inspect stats` shows memory.",
    "celeriac.utils.deprecated": f"{_STANDARD} (warnings).",
    "celeriac.utils.functional": f"{_STANDARD} (functools, itertools).",
    "celeriac.utils.imports": f"{_STANDARD} (importlib).",
    "celeriac.utils.iso8601": f"{_STANDARD} (datetime.fromisoformat).",
    "celeriac.utils.nodenames": "Import nodename and nodesplit from celeriac.utils.",
    "celeriac.utils.objects": f"{_STANDARD}.",
    "celeriac.utils.saferepr": f"{_STANDARD} (reprlib).",
    "celeriac.utils.serialization": "The settings task_serializer and accept_content say how.",
    "celeriac.utils.sysinfo": "`celeriac worker -c auto` counts the cores that may be used.",
    "celeriac.utils.term": "Lines of a worker are coloured on a terminal.",
    "celeriac.utils.text": f"{_STANDARD}.",
    "celeriac.utils.threads": f"{_STANDARD} (threading).",
    "celeriac.utils.time": f"{_STANDARD} (datetime, zoneinfo).",
    "celeriac.utils.timer2": f"{_STANDARD} (threading.Timer).",
    "celeriac.worker.consumer": _BOOTSTEPS,
    "celeriac.worker.request": "What runs is self.request; signals hand it out as request.",
    "celeriac.worker.state": "Ask the workers: app.control.inspect().active().",
    "celeriac.worker.strategy": _BOOTSTEPS,
}


class _Refusing:
    """Loader of the modules in the table: it raises what whoever imports one is to read."""

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to the import system, as the import protocol has it."""

    def exec_module(self, module: ModuleType) -> NoReturn:
        """Raise ``NotInThisVersion`` for *module*."""
        from celeriac.exceptions import NotInThisVersion

        raise NotInThisVersion(module.__name__, MODULES[module.__name__])


def spec_of(name: str) -> ModuleSpec | None:
    """Return a spec for a module of the table, None for any other."""
    return ModuleSpec(name, _Refusing()) if name in MODULES else None  # type: ignore[arg-type]
