"""How an app comes to its settings and modules: where they are read from, and when.

Layer 4. ``Celeriac`` derives from this. Settings are read at first use, so that an app may be made
before what configures it can be imported; nothing here costs anything once they are read.
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from celeriac.app.annotations import annotate, foreseen, sources, unmet
from celeriac.app.discovery import Packages, discover, import_named, packages_of
from celeriac.app.registry import TaskRegistry
from celeriac.app.sources import Source, read_source
from celeriac.conf import Settings
from celeriac.exceptions import CeleryWarning, ImproperlyConfigured, NotInThisVersion
from celeriac.signals import Signal, import_modules, user_preload_options

if TYPE_CHECKING:
    from celeriac.app.task import Task
    from celeriac.client import Client

__all__ = ["Configuring", "said_once"]

_UNREAD: Final = object()


def said_once(settings: dict[str, Any], argument: str, name: str, value: Any) -> None:
    """Put *value*, which the *argument* of an app gives, among *settings* as *name*.

    Raises ``TypeError`` if they say something else already.
    """
    if settings.setdefault(name, value) != value:
        raise TypeError(f"{argument} and {name} are both given, and differ; they mean the same")


class Configuring:
    """The part of an app that reads its settings and finds its modules."""

    conf: Settings
    client: Client
    _tasks: TaskRegistry

    @property
    def tasks(self) -> TaskRegistry:
        """Tasks by name, those that belong to every app included."""
        raise NotImplementedError

    def __init__(
        self, settings: Mapping[str, Any], guard: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self._source: Source | None = None
        self._pending_defaults: list[Callable[[], Mapping[str, Any]]] = []
        self._discoveries: list[tuple[Packages, str | None]] = []
        self._annotated: Any = _UNREAD
        self._foreseen: Any = None
        self._finalized = False
        self._autofinalize = True
        #: Objects that say what ``task_annotations`` gives to a task.
        self.annotations: tuple[Any, ...] = ()
        #: Options of click that the application adds to the command line: those of ``worker``,
        #: and under ``preload`` those of every command.
        self.user_options: defaultdict[str, set[Any]] = defaultdict(set)
        #: What the command line said of them, by name; filled in processes that it started.
        self.user_values: dict[str, Any] = {}
        #: Sent when the settings are about to be read, and when they have been.
        self.on_configure = Signal(name="on_configure")
        self.on_after_configure = Signal(name="on_after_configure", providing_args={"source"})
        #: Sent when the tasks are first looked at as a whole.
        self.on_after_finalize = Signal(name="on_after_finalize")
        self.conf = Settings()
        self.conf.defer(self._configure, self._configured)
        self.conf.watch(self._settled)
        self.conf.update(settings)
        self.conf.load_environment(os.environ)

        def look(values: Mapping[str, Any]) -> None:
            guard(values)
            self._foreseen = values["task_annotations"]

        self.conf.guard(look)  # now, for a variable may replace what the code says

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "conf" and not isinstance(value, Settings):
            raise TypeError(
                f"app.conf is replaced by {type(value).__name__}: it holds the settings. Change "
                "them with app.conf.update(…) or app.config_from_object(…)"
            )
        super().__setattr__(name, value)

    # -- settings ------------------------------------------------------------------------------

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Read settings from a module, a class, a dictionary or any object with attributes.

        Without it the module that ``CELERIAC_CONFIG_MODULE`` (or ``CELERY_CONFIG_MODULE``) names
        is read, if the environment holds one.

        They go under what the code sets by itself, and are read when a setting is first needed.
        A second call takes the place of the first.

        Args:
            obj: the object, or its name, such as ``shop.celeryconfig`` or
                ``django.conf:settings``.
            silent: pass over a name that does not exist.
            force: read it now.
            namespace: ``CELERY`` reads ``CELERY_TASK_SERIALIZER`` as ``task_serializer``, as in
                Django's settings.

        Raises:
            ImproperlyConfigured: when they are read: what is wrong, and in which object.
        """
        before, self._source = self._source, Source.of(obj, namespace or "", silent)
        if not self.conf.loaded:
            if force:
                self.conf.load()
            return
        try:
            self._read_source()
        except BaseException:
            self._source = before
            raise

    def config_from_envvar(
        self, variable_name: str, silent: bool = False, force: bool = False
    ) -> None:
        """Read settings from the module that an environment variable names.

        Raises:
            ImproperlyConfigured: it is not set, and *silent* is false.
        """
        name = os.environ.get(variable_name)
        if name:
            self.config_from_object(name, silent=silent, force=force)
        elif not silent:
            raise ImproperlyConfigured(
                f"config_from_envvar({variable_name!r}): this environment variable is not set. Let "
                "it name the module that holds the settings."
            )

    def add_defaults(self, fun: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Set what goes over the defaults and under all else: a mapping, or what returns one.

        A function is called when the settings are first read.
        """
        if not callable(fun):
            self.conf.add_defaults(fun)
        elif self.conf.loaded:
            self.conf.add_defaults(fun())
        else:
            self._pending_defaults.append(fun)

    def either(self, default_key: str, *defaults: Any) -> Any:
        """Return the first of *defaults* that is not None, else the setting *default_key*."""
        return next((each for each in defaults if each is not None), self.conf.get(default_key))

    def _configure(self) -> None:
        _send(self.on_configure, self)
        self._read_source()
        while self._pending_defaults:
            self.conf.add_defaults(self._pending_defaults[0](), "add_defaults")
            self._pending_defaults.pop(0)

    def _configured(self) -> None:
        _send(self.on_after_configure, self, source=self.conf)

    def _read_source(self) -> None:
        source = self._source or Source.of_environment(os.environ)
        if source is None:
            return
        reading = read_source(source)
        if reading is None:
            return
        if reading.problems:
            raise ImproperlyConfigured(f"{reading.place} is wrong", problems=reading.problems)
        self.conf.load_object(reading)
        for doubt in reading.doubts:
            warnings.warn(f"{reading.place}: {doubt}", CeleryWarning, stacklevel=2)

    def _settled(self) -> None:
        """Give all tasks what ``task_annotations`` says, if it says something else than before."""
        wanted = self.conf.task_annotations
        if wanted is self._annotated:
            return
        known = sources(wanted)
        for task in self._tasks.values() if known else ():
            annotate(task, known)
        self.annotations, self._annotated = known, wanted

    def _adopt(self, task: Task[..., Any]) -> None:
        """Register *task*, with what ``task_annotations`` gives it."""
        known = self.annotations if self.conf.loaded else foreseen(self._foreseen)
        if known:
            annotate(task, known)
        self._tasks[task.name] = task

    def take_user_options(self, command: str, given: Mapping[str, Any] | Sequence[str]) -> None:
        """Keep what the command line said of ``user_options``, and tell of the preload options.

        *given* are values by name, or words of the command line that are still to be read.

        Raises:
            ImproperlyConfigured: the words hold something else.
        """
        if not isinstance(given, Mapping) or not given:
            from celeriac.app.starting import read_user_options

            given = read_user_options(self, command, tuple(given))
        self.user_values.update(given)
        preload = {str(each.name) for each in self.user_options.get("preload", ())}
        if preload:
            options = {name: value for name, value in given.items() if name in preload}
            _heard(user_preload_options.send(sender=command, app=self, options=options))

    # -- time ----------------------------------------------------------------------------------

    @property
    def timezone(self) -> tzinfo:
        """The setting ``timezone``, as an object."""
        name = self.conf.timezone
        if name == "UTC":
            return UTC
        from zoneinfo import ZoneInfo

        return ZoneInfo(name)

    def now(self) -> datetime:
        """Return the present moment in the app's time zone."""
        return datetime.now(self.timezone)

    def uses_utc_timezone(self) -> bool:
        """Whether the app's time zone is UTC."""
        return self.conf.timezone == "UTC"

    # -- modules -------------------------------------------------------------------------------

    def autodiscover_tasks(
        self, packages: Packages = None, related_name: str | None = "tasks", force: bool = False
    ) -> None:
        """Have a worker import the module *related_name* of each of *packages* that has one.

        Args:
            packages: names, or a function that returns them when they are needed; None means
                the applications that Django has installed.
            related_name: None imports the packages themselves.
            force: import them now.
        """
        if callable(packages) or packages is None or isinstance(packages, str):
            wanted: Packages = packages
        else:
            wanted = tuple(packages)  # a generator would be empty the second time
        if force:
            discover(packages_of(wanted), related_name)
        else:
            self._discoveries.append((wanted, related_name))

    def import_modules(self, more: Iterable[str] = ()) -> None:
        """Import what ``autodiscover_tasks`` found, what ``imports`` and ``include`` name, and
        *more*."""
        _send(import_modules, self)
        for packages, related_name in self._discoveries:
            discover(packages_of(packages), related_name)
        import_named((*self.conf.imports, *self.conf.include, *more))

    # -- life ----------------------------------------------------------------------------------

    @property
    def finalized(self) -> bool:
        """Whether :meth:`finalize` was called."""
        return self._finalized

    def finalize(self, auto: bool = False) -> None:
        """Take over the shared tasks and say so (``on_after_finalize``), once.

        It is called (with *auto*) when the tasks are first looked at as a whole.

        Raises:
            RuntimeError: *auto*, and the app was made with ``autofinalize=False``.
        """
        if self._finalized:
            return
        if auto and not self._autofinalize:
            raise RuntimeError(
                "This app was made with autofinalize=False, and its tasks are used before "
                "app.finalize() was called"
            )
        self._finalized = True
        try:
            self.conf.load()
        except BaseException:
            self._finalized = False
            raise
        _send(self.on_after_finalize, self)

    def configure_worker(
        self, settings: Mapping[str, Any] | None = None, include: Iterable[str] = ()
    ) -> None:
        """Finish the set-up in a worker: the command line's *settings*, then all modules."""
        self.conf.load_command_line(settings or {})
        self.conf.validate()
        self.import_modules(include)
        self.client.directions.check_routes()
        self.finalize()
        names = unmet(self.conf.task_annotations, self.tasks)
        if names:
            warnings.warn(
                f"task_annotations: there is no task {', '.join(map(repr, names))}, so nothing is "
                "given to it; compare the names with `celeriac inspect registered`",
                CeleryWarning,
                stacklevel=2,
            )

    @cached_property
    def on_after_fork(self) -> Signal:
        """Sent in a child: an executor, or a process that multiprocessing made."""
        from multiprocessing.util import register_after_fork

        register_after_fork(self, type(self).after_fork)
        return Signal(name="on_after_fork")

    def after_fork(self) -> None:
        """Tell the receivers of ``on_after_fork``; a process that was forked calls it."""
        if "on_after_fork" in vars(self):
            self.on_after_fork.send(sender=self)


def _send(signal: Signal, app: Configuring, **named: Any) -> None:
    _heard(signal.send(sender=app, **named))


def _heard(responses: Iterable[tuple[Any, Any]]) -> None:
    """Raise what a receiver raised because of the set-up; the rest was logged."""
    for _, response in responses:
        if isinstance(response, ImproperlyConfigured | NotInThisVersion | ImportError):
            raise response
