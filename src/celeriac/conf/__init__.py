"""Settings: every one known by a record, judged when it is set, refused by name if unknown.

A setting comes from the command line, the environment, the code or its default, in this order,
whatever the order in which they were read: each is kept as a layer of its own. What is wrong is
reported all at once, and then nothing is changed.

`table` holds the records, `values` judges one value, `names` knows Celery's names. Run as
``python -m celeriac.conf`` it prints the reference of all settings.

Layer L1: standard library, msgspec and L0. Any layer above may import it.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, Self

from celeriac.exceptions import CeleryWarning, ImproperlyConfigured

from .names import CELERY, INSTEAD, OURS_LATER, modern_name
from .record import SAME_AS_BROKER, Setting
from .table import GROUPS, SETTINGS
from .values import judge, near, parse, retry_waits, shown

__all__ = ["GROUPS", "SAME_AS_BROKER", "SETTINGS", "Layer", "Setting", "Settings", "describe"]

Layer = Literal["default", "code", "environment", "command line", "manifest"]
"""Where a value comes from. `manifest`: settled in another process, so nothing goes over it."""

_LAYERS: tuple[Layer, ...] = ("code", "environment", "command line", "manifest")
_PREFIX = "CELERIAC_"
_FALLBACKS = {"CELERY_BROKER_URL": "broker_url", "CELERY_RESULT_BACKEND": "result_backend"}
_DEFAULTS = {name: setting.default for name, setting in SETTINGS.items()}


def describe(name: str) -> Setting:
    """Return the record of the setting `name`; `KeyError`, saying what is near, if unknown."""
    if name not in SETTINGS:
        raise KeyError(_refusal(name))
    return SETTINGS[name]


class Settings(Mapping[str, Any]):
    """The settings of one app, read as attributes (``conf.lease``) or items (``conf["lease"]``).

    Setting an attribute or an item is `update`. Every way of setting raises
    `ImproperlyConfigured`, whose `problems` lists all that is wrong, and then changes nothing.
    """

    # For type checkers; what each means stands in `table`.
    broker_url: str | None
    result_backend: str | None
    namespace: str
    global_keyprefix: str
    sqlite_durability: Literal["full", "relaxed"]
    task_serializer: str
    result_serializer: str
    accept_content: tuple[str, ...]
    result_accept_content: tuple[str, ...] | None
    security_key: str | Mapping[str, str] | None
    payload_max: int
    result_max: int
    strict_typing: bool
    timezone: str
    enable_utc: bool
    imports: tuple[str, ...]
    include: tuple[str, ...]
    task_default_queue: str
    task_default_priority: int
    task_always_eager: bool
    task_eager_propagates: bool
    task_store_eager_result: bool
    task_publish_retry: bool
    task_publish_retry_policy: Mapping[str, Any]
    publish_timeout: float
    join_seal_timeout: float
    task_acks_late: bool
    task_reject_on_worker_lost: bool
    task_time_limit: float | None
    task_soft_time_limit: float | None
    task_track_started: bool
    task_ignore_result: bool
    result_expires: float | None
    tombstone_expires: float
    revoke_expires: float
    dead_expires: float
    dead_limit: int
    lease: float
    heartbeat: float
    lease_margin: float
    reap_interval: float
    max_crashes: int
    crash_delay: float
    max_losses: int
    loss_delay: float
    worker_concurrency: int | None
    worker_pool: Literal["prefork", "solo"]
    worker_max_tasks_per_child: int | None
    worker_max_memory_per_child: int | None
    memory_limit_fraction: float
    memory_kill_fraction: float
    grace: float
    worker_hijack_root_logger: bool
    worker_log_format: str
    worker_task_log_format: str
    worker_log_color: bool | None

    _layers: dict[Layer, dict[str, Any]]
    _values: dict[str, Any]  # the layers on top of each other
    _guard: Callable[[Mapping[str, Any]], None] | None = None

    def __init__(self, **values: Any) -> None:
        self._settle({layer: {} for layer in _LAYERS})
        self.update(values)

    # -- reading -------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # Values are in the instance's dictionary, so only what is unknown comes here.
        raise AttributeError(name if name.startswith("_") else _refusal(name))

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise KeyError(_refusal(name)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        changed = ", ".join(f"{name}={text}" for name, text in self._shown(with_defaults=False))
        return f"Settings({changed})"

    def origin(self, name: str) -> Layer:
        """Return where the value of the setting `name` comes from; `KeyError` if unknown."""
        describe(name)
        return next((each for each in reversed(_LAYERS) if name in self._layers[each]), "default")

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
        self._add("code", {**dict(values), **more})

    def load_command_line(self, values: Mapping[str, Any]) -> None:
        """Set what the command line says. Leave out options that were not given."""
        self._add("command line", values)

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
        problems = []
        for variable, (written, text) in found.items():
            name = variable.removeprefix(_PREFIX).lower()
            if name in SETTINGS:
                try:
                    values[name] = parse(SETTINGS[name], text)
                except ValueError as error:
                    problems.append(f"{written} = {shown(SETTINGS[name], text)}: {error}")
            elif name in CELERY:
                problems.append(f"{written}: {_refusal(name)}")
            elif hint := near(variable, [each.environment for each in SETTINGS.values()], 0.9):
                warnings.warn(
                    f"The variable {variable} is not read{hint}", CeleryWarning, stacklevel=2
                )
        _raise(problems)
        self._settle({**self._layers, "environment": values})

    def _add(self, layer: Layer, values: Mapping[str, Any]) -> None:
        judged: dict[str, Any] = {}
        problems = []
        for name, value in values.items():
            if name not in SETTINGS:
                problems.append(_refusal(name))
                continue
            try:
                judged[name] = judge(SETTINGS[name], value)
            except ValueError as error:
                problems.append(f"{name} = {shown(SETTINGS[name], value)}: {error}")
        _raise(problems)
        self._settle({**self._layers, layer: {**self._layers[layer], **judged}})

    def _settle(self, layers: dict[Layer, dict[str, Any]]) -> None:
        values = dict(_DEFAULTS)
        for layer in _LAYERS:
            values |= layers[layer]
        if self._guard is not None:
            self._guard(values)
        self._layers, self._values = layers, values
        vars(self).update(values)  # sending reads several, and __getattr__ would take 2 µs each

    def guard(self, check: Callable[[Mapping[str, Any]], None]) -> None:
        """Have *check* look at all values before each change; what it raises prevents it."""
        self._guard = check

    # -- together ------------------------------------------------------------------------------

    def validate(self) -> None:
        """Raise `ImproperlyConfigured`, with all problems, if settings contradict each other.

        To be called once all of them are set: before, a change in two steps would be refused
        half-way.
        """
        _raise(list(_contradictions(self)), "Settings contradict each other")

    # -- showing and sending -------------------------------------------------------------------

    def humanize(self, with_defaults: bool = False) -> str:
        """Return one line per setting: name, value, origin. Secrets and passwords are hidden."""
        return "\n".join(
            f"{name}: {text} ({self.origin(name)})" for name, text in self._shown(with_defaults)
        )

    def _shown(self, with_defaults: bool) -> Iterator[tuple[str, str]]:
        for name, value in self._values.items():
            if with_defaults or self.origin(name) != "default":
                yield name, shown(SETTINGS[name], value)

    def as_dict(self) -> dict[str, Any]:
        """Return all values as plain data that JSON can hold, for another process of this app.

        Secrets are in it, as they are: never log, store or publish it.
        """
        return {name: _plain(value) for name, value in self._values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make settings of what `as_dict` returned. They are settled: no layer goes over them."""
        settings = cls()
        settings._add("manifest", values)
        return settings


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, MappingProxyType) else value


# -- problems ----------------------------------------------------------------------------------


def _raise(problems: list[str], what: str = "Settings are wrong and nothing was changed") -> None:
    if problems:
        raise ImproperlyConfigured(what, problems=problems)


def _refusal(name: object) -> str:
    """Say why there is no setting `name`, and what to write instead."""
    if not isinstance(name, str):
        return f"{name!r}: the name of a setting is text, not {type(name).__name__}"
    if name in INSTEAD:
        return f"{name} {INSTEAD[name]}"
    if name in OURS_LATER:
        return f"{name} {OURS_LATER[name]}"
    if name in CELERY:
        return f"{name} is a setting of Celery that is not in this version; remove it"
    modern = modern_name(name, SETTINGS)
    if modern is None:
        return f"{name} is not a setting{near(name.lower(), [*SETTINGS, *CELERY])}"
    if modern in SETTINGS:
        return f"{name} is an old upper-case name; write {modern}"
    return f"{name} is an old upper-case name of {modern}, and {_refusal(modern)}"


def _warn_of_fallback(used: Mapping[str, str]) -> None:
    theirs, ours = " and ".join(used), " and ".join(used.values())
    warnings.warn(
        f"{theirs} from the environment: read because {ours} is missing. "
        f"Set {ours} to say that Celeriac is meant.",
        CeleryWarning,
        stacklevel=3,
    )


def _contradictions(conf: Settings) -> Iterator[str]:
    """Yield what is wrong with the settings taken together."""

    def say(*names: str) -> str:
        each = (f"{n} = {shown(SETTINGS[n], conf[n])} ({conf.origin(n)})" for n in names)
        return ", ".join(each)

    if conf.heartbeat * 3 > conf.lease - conf.lease_margin:
        yield (
            f"{say('heartbeat', 'lease', 'lease_margin')}: three heartbeats must fit into lease "
            "less lease_margin, or one late beat loses all tasks of a worker (seconds)"
        )
    soft, hard = conf.task_soft_time_limit, conf.task_time_limit
    if soft is not None and hard is not None and soft > hard:
        yield (
            f"{say('task_soft_time_limit', 'task_time_limit')}: the soft limit must not be longer "
            "than the hard one, or it is never reached (seconds)"
        )
    for serializer, accepted in (
        ("task_serializer", "accept_content"),
        ("result_serializer", "result_accept_content"),
    ):
        # None in result_accept_content: as accept_content.
        listed = accepted if conf[accepted] is not None else "accept_content"
        if conf[serializer] not in conf[listed]:
            yield f"{say(serializer, listed)}: what is written must be accepted; add it to {listed}"
    if not conf.enable_utc and conf.timezone == "UTC":
        yield (
            f"{say('enable_utc', 'timezone')}: local time needs its zone by name, such as "
            "timezone = 'Europe/Berlin', because the machines of one system may differ"
        )
    waits = retry_waits(conf.task_publish_retry_policy, conf.publish_timeout)
    if conf.task_publish_retry and waits > conf.publish_timeout:
        yield (
            f"{say('task_publish_retry_policy', 'publish_timeout')}: the waits of the policy are "
            "longer than sending may take (seconds); lower max_retries, set it to None, or raise "
            "publish_timeout"
        )
    if conf.memory_limit_fraction > conf.memory_kill_fraction:
        yield (
            f"{say('memory_limit_fraction', 'memory_kill_fraction')}: executors would be killed "
            "before they reach their limit; the first must not be above the second"
        )
    if conf.tombstone_expires < conf.lease + conf.publish_timeout:
        yield (
            f"{say('tombstone_expires', 'lease', 'publish_timeout')}: a call sent twice is known "
            "by its tombstone, which must outlast lease and publish_timeout together (seconds)"
        )
    if conf.join_seal_timeout < conf.publish_timeout:
        yield (
            f"{say('join_seal_timeout', 'publish_timeout')}: a group would fail while its sender "
            "still tries; join_seal_timeout must not be shorter (seconds)"
        )
