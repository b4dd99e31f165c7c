"""What ``task_routes`` may hold, read into parts: tables of names, functions, names of functions.

Layer L1: it judges shapes and calls nothing. `celeriac.routing` asks the parts in their order.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from celeriac.checks import checked_priority, checked_queue
from celeriac.exceptions import NotInThisVersion

__all__ = ["ROUTE_OPTIONS", "Part", "Table", "kept", "options_of", "read_routes"]

#: What a route may say: options of ``apply_async``.
ROUTE_OPTIONS: Final = frozenset(
    [
        "queue", "exchange", "routing_key", "priority", "countdown", "eta", "expires",
        "time_limit", "soft_time_limit", "serializer", "compression", "headers",
        "ignore_result",
    ]
)  # fmt: skip
_ELSEWHERE: Final = {
    "task_id": "Every call has an id of its own.",
    "retry": "Set task_publish_retry.",
    "retry_policy": "Set task_publish_retry_policy.",
    "delivery_mode": "What was sent is always durable.",
}
_EXPECTED: Final = (
    "expected a dictionary from names of tasks to queues or options, a function, the name of one "
    "('module.function'), an object with route_for_task, or a list of these"
)
_GLOB: Final = re.compile(r"[*?\[]")

Options = Mapping[str, Any]


class Table(NamedTuple):
    """Routes by name: whole names go first, then patterns in their order."""

    exact: Mapping[str, Options]
    patterns: tuple[tuple[re.Pattern[str], Options, str], ...]

    def find(self, name: str) -> tuple[Options, str] | None:
        """Return what the task *name* is sent with, and the key that says so."""
        if name in self.exact:
            return self.exact[name], name
        for pattern, options, key in self.patterns:
            if pattern.match(name):
                return options, key
        return None


Part = Table | str | Callable[..., Any]
"""One part of the setting: a table, the name of a router, or a router."""


def read_routes(value: object) -> tuple[Part, ...]:
    """Return the parts of *value*, a value of ``task_routes``, in their order.

    Raises ``ValueError`` for what is no route, and ``NotInThisVersion`` for an option of Celery's
    that a route cannot have here.
    """
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        return (_part(value),)
    if value and all(map(_is_pair, value)):
        return (_table(value),)  # written without the outer list, which means the same
    return tuple(map(_part, value))


def kept(value: Any) -> Any:
    """Return *value* as a setting keeps it: what would be changed later cannot be."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: kept(each) for key, each in value.items()})
    return tuple(map(kept, value)) if isinstance(value, list | tuple) else value


def options_of(route: object, of: str) -> Options:
    """Return the options that *route* means, which is the name of a queue or a dictionary.

    *of* says whose it is, for the error: ``ValueError``.
    """
    name = getattr(route, "name", None)  # a Queue
    if isinstance(route, str) or isinstance(name, str):
        route = {"queue": route}
    if not isinstance(route, Mapping):
        raise ValueError(  # noqa: TRY004 - judges of settings raise it alone
            f"{of} is {route!r}; it is the name of a queue, or a dictionary such as "
            "{'queue': 'mail', 'priority': 5}"
        )
    return {name: _option(name, value, of) for name, value in route.items() if value is not None}


def _option(name: str, value: Any, of: str) -> Any:
    if name not in ROUTE_OPTIONS:
        if name in _ELSEWHERE:
            raise NotInThisVersion(f"{name} in {of}", _ELSEWHERE[name])
        known = ", ".join(sorted(ROUTE_OPTIONS))
        raise ValueError(f"{of} has no option {name!r}; it has {known}")
    try:
        if name == "queue":
            return checked_queue(getattr(value, "name", value))
        if name == "priority":
            return checked_priority(value)
    except ValueError as error:
        raise ValueError(f"{of}: {error}") from None
    if name in {"exchange", "routing_key"}:
        value = getattr(value, "name", value)
        if not isinstance(value, str):
            raise ValueError(f"{of}: {name} is {value!r}; it is text")
    return _thawed(value)


def _thawed(value: Any) -> Any:
    """Undo `kept`, for what is to be written into messages."""
    if isinstance(value, Mapping):
        return {key: _thawed(each) for key, each in value.items()}
    return value


def _is_pair(value: object) -> bool:
    """Whether *value* is a pattern and a route, not two parts."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    pattern, route = value
    return isinstance(pattern, str | re.Pattern) and not isinstance(route, list | tuple)


def _part(value: object) -> Part:
    if isinstance(value, Mapping):
        return _table(value.items())
    if isinstance(value, list | tuple):
        return _table([value] if _is_pair(value) else value)
    if isinstance(value, str):
        module, _, name = value.replace(":", ".").rpartition(".")
        if not module or not all(part.isidentifier() for part in [*module.split("."), name]):
            raise ValueError(f"{value!r} is no name of a router; {_EXPECTED}")
        return value
    if callable(value) or hasattr(value, "route_for_task"):
        return value  # type: ignore[return-value]  # an object with route_for_task
    raise ValueError(f"{value!r} is no route; {_EXPECTED}")


def _table(rows: Iterable[Any]) -> Table:
    exact: dict[str, Options] = {}
    patterns: list[tuple[re.Pattern[str], Options, str]] = []
    for row in rows:
        if not isinstance(row, list | tuple) or len(row) != 2:
            raise ValueError(f"{row!r} is no pair of a task's name and its route; {_EXPECTED}")
        key, route = row
        if not isinstance(key, str | re.Pattern):
            text = f"{key!r} is no name of a task, pattern or regular expression"
            raise ValueError(text)  # noqa: TRY004 - judges of settings raise it alone
        text = key if isinstance(key, str) else key.pattern
        options = options_of(route, f"the route of {text!r}")
        if isinstance(key, re.Pattern):
            if not isinstance(text, str):
                wrong = f"the regular expression {text!r} is of bytes; names are text"
                raise ValueError(wrong)  # noqa: TRY004 - judges of settings raise it alone
            patterns.append((key, options, text))
        elif _GLOB.search(key):
            patterns.append((re.compile(fnmatch.translate(key)), options, text))
        else:
            exact[key] = options
    return Table(exact, tuple(patterns))
