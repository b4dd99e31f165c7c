"""The settings of one app: layers of values, each judged when it is set, read at first use.

Layer L1. Read it through `celeriac.conf`.
"""

import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType, MappingProxyType
from typing import Any, Literal, Self

from celeriac.exceptions import CeleryWarning, ImproperlyConfigured
from celeriac.later import missing

from .contradictions import contradictions
from .moot import MOOT
from .names import CELERY, modern_name
from .queues import Queue
from .reading import Reading, read_mapping, refusal
from .record import Setting
from .table import SETTINGS
from .typed import Typed
from .values import parse
from .words import near, shown

__all__ = ["Layer", "Settings", "describe"]

Layer = Literal[
    "default", "add_defaults", "object", "code", "environment", "command line", "manifest"
]
"""Where a value comes from. `object`: what `config_from_object` named. `manifest`: settled in
another process, so nothing goes over it."""

_LAYERS: tuple[Layer, ...] = (
    "add_defaults",
    "object",
    "code",
    "environment",
    "command line",
    "manifest",
)
_PREFIX = "CELERIAC_"
_FALLBACKS = {"CELERY_BROKER_URL": "broker_url", "CELERY_RESULT_BACKEND": "result_backend"}
_DEFAULTS = {name: setting.default for name, setting in SETTINGS.items()}
_OURS = __name__.partition(".")[0]
_LATER = {  # members of Celery's settings
    "find_option": "celeriac.conf.describe(name) says what a setting is.",
    "find_value_for_key": "Read conf[name]; conf.origin(name) and conf.place(name) say whence.",
    "maybe_warn_deprecated_settings": "Old names are read without a warning.",
}


def describe(name: str) -> Setting:
    """Return the record of the setting `name`; `KeyError`, saying what is near, if unknown."""
    if name not in SETTINGS:
        raise KeyError(refusal(name))
    return SETTINGS[name]


class Settings(Typed, Mapping[str, Any]):
    """The settings of one app, read as attributes (``conf.lease``) or items (``conf["lease"]``).

    Setting an attribute or an item is `update`. Every way of setting raises
    `ImproperlyConfigured`, whose `problems` lists all that is wrong, and then changes nothing.
    Old names of Celery's (``CELERYD_CONCURRENCY``) are read and written as what they are called
    now.
    """

    _layers: dict[Layer, dict[str, Any]]
    _places: dict[Layer, dict[str, str]]  # where each value was written
    _moot: dict[str, Any]  # Celery's settings that change nothing, as they were set
    _moot_places: dict[str, str]
    _values: dict[str, Any]  # the layers on top of each other; absent until they are read
    _before: Callable[[], None] | None = None
    _after: Callable[[], None] | None = None
    _guard: Callable[[Mapping[str, Any]], None] | None = None
    _watcher: Callable[[], None] | None = None

    def __init__(self, **values: Any) -> None:
        self._lock = threading.RLock()
        self._places = {layer: {} for layer in _LAYERS}
        self._moot = {}
        self._moot_places = {}
        self._settle({layer: {} for layer in _LAYERS})
        self.update(values)

    # -- reading -------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # Values are in the instance's dictionary once they are settled, so what comes here is
        # unknown, or the first to be read.
        if name == "_values" or (name in SETTINGS and "_values" not in vars(self)):
            self.load()
            return vars(self)[name]
        if name.startswith("_"):
            raise AttributeError(name)
        if name in _LATER:
            raise missing("settings", name, _LATER)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0], name=name, obj=self) from None

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            modern = name if name in CELERY else modern_name(name, SETTINGS)
            if modern in self._values:
                return self._values[modern]
            if modern in self._moot:
                return self._moot[modern]
            raise KeyError(refusal(name)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        changed = ", ".join(f"{name}={text}" for name, text in self.table().items())
        return f"Settings({changed})"

    @property
    def settled(self) -> Mapping[str, Any]:
        """All values together: another object after each change, so that what is worked out from
        them can be kept until then."""
        return self._values

    def origin(self, name: str) -> Layer:
        """Return where the value of the setting `name` comes from; `KeyError` if unknown."""
        describe(name)
        self.load()
        return next((each for each in reversed(_LAYERS) if name in self._layers[each]), "default")

    def place(self, name: str) -> str:
        """Return in words where the value of the setting `name` was written.

        Such as ``environment variable CELERIAC_LEASE``, ``module shop.celeryconfig
        (/srv/shop/celeryconfig.py)`` or ``code (/srv/shop/tasks.py:12)``; ``default`` if nowhere.
        """
        layer = self.origin(name)
        return self._places.get(layer, {}).get(name, layer)

    @property
    def moot(self) -> Mapping[str, str]:
        """Celery's settings that were set and change nothing here: name to reason."""
        self.load()
        return {name: MOOT[name] for name in self._moot}

    def moot_place(self, name: str) -> str:
        """Return in words where a setting of :attr:`moot` was written."""
        return self._moot_places[name]

    # -- reading at first use ------------------------------------------------------------------

    def defer(self, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Settle nothing until a value is read: then call *before*, settle, and call *after*.

        What is set meanwhile is judged as it is set. If *before* raises, it is called again at
        the next read.
        """
        self._before, self._after = before, after
        self._unsettle()

    @property
    def loaded(self) -> bool:
        """Whether the values are settled; asking does not settle them."""
        return "_values" in vars(self)

    @property
    def pending(self) -> bool:
        """Whether what was deferred is still to be read."""
        return self._before is not None

    def load(self) -> None:
        """Settle the values now, if they are not settled yet."""
        if self.loaded:
            return
        with self._lock:
            if "_values" in vars(self):  # another thread has done it meanwhile
                return
            before, self._before = self._before, None
            if before is None:  # what configures reads a setting: it gets what is known so far
                self._settle(self._layers)
                return
            try:
                before()
                self._settle(self._layers)
            except BaseException:
                self._before = before
                self._unsettle()
                raise
        if self._after is not None:
            self._after()

    def _unsettle(self) -> None:
        for name in (*SETTINGS, "_values"):
            vars(self).pop(name, None)

    # -- setting -------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.update({name: value})

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(
        self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **more: Any
    ) -> None:
        """Set what the program's code says. Durations are seconds or timedeltas."""
        self._add("code", {**dict(values), **more}, f"code ({_caller()})")

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Set `name` in code unless something sets it already; return its value."""
        if name in self._moot or self.origin(name) != "default":
            return self[name]
        self.update({name: default})
        return self[name]

    def add_defaults(self, values: Mapping[str, Any], place: str = "") -> None:
        """Set what goes over the defaults and under everything else."""
        self._add("add_defaults", values, place or f"add_defaults ({_caller()})")

    def load_object(self, reading: Reading) -> None:
        """Set what an object of settings says, in place of any object before."""
        kept = {**self._layers, "object": reading.values}
        self._keep_moot(reading.moot, reading.place, reading.file)
        self._places["object"] = dict.fromkeys(reading.values, reading.place)
        self._settle(kept)

    def load_command_line(self, values: Mapping[str, Any]) -> None:
        """Set what the command line says. Leave out options that were not given."""
        self._add("command line", values, "command line")

    def load_environment(self, environ: Mapping[str, str]) -> None:
        """Set what ``CELERIAC_<SETTING>`` in `environ` says, in place of any environment before.

        ``CELERY_BROKER_URL`` and ``CELERY_RESULT_BACKEND`` stand in for ours where those are
        missing, as they do in Celery, and one warning (`CeleryWarning`) says so. A variable that
        looks like one of ours with a typing error is warned about: it may belong to another
        program, so it is no error.
        """
        found = {
            SETTINGS[ours].environment: (theirs, environ[theirs])
            for theirs, ours in _FALLBACKS.items()
            if environ.get(theirs) and SETTINGS[ours].environment not in environ
        }
        if found:
            _warn_of_fallback({theirs: ours for ours, (theirs, _) in found.items()})
        found |= {name: (name, text) for name, text in environ.items() if name.startswith(_PREFIX)}
        values: dict[str, Any] = {}
        places: dict[str, str] = {}
        moot: dict[str, Any] = {}
        problems = []
        for variable, (written, text) in found.items():
            name = variable.removeprefix(_PREFIX).lower()
            if name in SETTINGS:
                try:
                    values[name] = parse(SETTINGS[name], text)
                    places[name] = f"environment variable {written}"
                except ValueError as error:
                    problems.append(f"{written} = {shown(SETTINGS[name], text)}: {error}")
            elif name in MOOT:
                moot[name] = text
            elif name in CELERY:
                problems.append(f"{written}: {refusal(name)}")
            elif hint := near(variable, [each.environment for each in SETTINGS.values()], 0.9):
                warnings.warn(
                    f"The variable {variable} is not read{hint}", CeleryWarning, stacklevel=2
                )
        _raise(problems)
        self._settle({**self._layers, "environment": values})
        self._places["environment"] = places
        self._keep_moot(moot, "the environment")

    def _add(self, layer: Layer, values: Mapping[str, Any], place: str) -> None:
        reading = read_mapping(values, place)
        _raise(reading.problems)
        self._settle({**self._layers, layer: {**self._layers[layer], **reading.values}})
        self._places[layer].update(dict.fromkeys(reading.values, place))
        self._keep_moot(reading.moot, place)

    def _settle(self, layers: dict[Layer, dict[str, Any]]) -> None:
        values = dict(_DEFAULTS)
        for layer in _LAYERS:
            values |= layers[layer]
        if self._guard is not None:
            self._guard(values)
        if self._before is not None:
            self._layers = layers  # nobody has read them yet
            return
        kept = {each: vars(self).get(each) for each in ("_layers", "_values")}
        self._layers, self._values = layers, values
        vars(self).update(values)  # sending reads several, and __getattr__ would take 2 µs each
        if self._watcher is None:
            return
        try:
            self._watcher()
        except BaseException:
            if kept["_values"] is not None:  # what was there before stays
                vars(self).update(kept | kept["_values"])
            raise

    def _keep_moot(self, moot: Mapping[str, Any], place: str, file: str = "") -> None:
        new = [name for name in moot if name not in self._moot]
        self._moot.update(moot)
        self._moot_places.update(dict.fromkeys(moot, place))
        if not new:
            return
        reasons = "; ".join(f"{name} ({MOOT[name]})" for name in new)
        text = f"{place} sets what changes nothing here: {reasons}"
        if file:  # whoever reads the first setting has nothing to do with it
            warnings.warn_explicit(text, CeleryWarning, filename=file, lineno=0)
        else:
            warnings.warn(text, CeleryWarning, stacklevel=_depth())

    def guard(self, check: Callable[[Mapping[str, Any]], None]) -> None:
        """Have *check* look at all values, now and before each change; what it raises prevents
        it."""
        self._guard = check
        self._settle(self._layers)

    def watch(self, changed: Callable[[], None]) -> None:
        """Have *changed* called whenever the values are settled anew."""
        self._watcher = changed

    # -- together ------------------------------------------------------------------------------

    def validate(self) -> None:
        """Raise `ImproperlyConfigured`, with all problems, if settings contradict each other.

        To be called once all of them are set: before, a change in two steps would be refused
        half-way.
        """
        _raise(list(contradictions(self, self.origin)), "Settings contradict each other")

    # -- showing and sending -------------------------------------------------------------------

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """Return one line per setting: name, value, origin. Secrets and passwords are hidden."""
        table = self.table(with_defaults, censored)
        return "\n".join(f"{name}: {value} ({self.origin(name)})" for name, value in table.items())

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """Return the settings by name, as text in which secrets and passwords are hidden.

        `censored=False` gives the values themselves.
        """
        return {
            name: shown(SETTINGS[name], _thawed(value)) if censored else _thawed(value)
            for name, value in self._values.items()
            if with_defaults or self.origin(name) != "default"
        }

    def without_defaults(self) -> dict[str, Any]:
        """Return the values that something sets."""
        return self.table(censored=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the values as plain data that JSON can hold, for another process of this app.

        Those that may hold code (`Setting.local`) stay behind. Secrets are in it, as they are:
        never log, store or publish it.
        """
        return {
            name: _plain(value) for name, value in self._values.items() if not SETTINGS[name].local
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make settings of what `as_dict` returned. They are settled: no layer goes over them."""
        settings = cls()
        settings._add("manifest", values, "manifest")
        return settings


def _thawed(value: Any) -> Any:
    """A copy that reads as a dictionary where *value* is a mapping nobody may change."""
    return dict(value) if isinstance(value, MappingProxyType) else value


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [each.plain() if isinstance(each, Queue) else each for each in value]
    return dict(value) if isinstance(value, MappingProxyType) else value


def _caller() -> str:
    """The file and line that called into this library."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect is slow to import
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != _OURS:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "celeriac"


def _depth() -> int:
    """The `stacklevel` of the first caller outside this library, as seen from who asks."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect is slow to import
    depth = 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _OURS:
        frame = frame.f_back
        depth += 1
    return depth


# -- problems ----------------------------------------------------------------------------------


def _raise(
    problems: Iterable[str], what: str = "Settings are wrong and nothing was changed"
) -> None:
    if problems:
        raise ImproperlyConfigured(what, problems=list(problems))


def _warn_of_fallback(used: Mapping[str, str]) -> None:
    theirs, ours = " and ".join(used), " and ".join(used.values())
    warnings.warn(
        f"{theirs} from the environment: read because {ours} is missing. "
        f"Set {ours} to say that Celeriac is meant.",
        CeleryWarning,
        stacklevel=3,
    )
