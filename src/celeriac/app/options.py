"""What ``app.task(...)`` takes: names, values that mean something, and what is not built.

Layer 4. A task's options are attributes of its class; this module says which there are and judges
their values when the task is made, so that a wrong one is found at import and not at night.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypedDict

from celeriac.app.inside import Inside
from celeriac.checks import agreed_soft_limit, seconds
from celeriac.client import checked_limit, checked_priority
from celeriac.compression import compression_of
from celeriac.conf import Settings
from celeriac.conf.rates import per_second, written
from celeriac.declined import asks_for_nothing, refuse
from celeriac.exceptions import ImproperlyConfigured
from celeriac.ids import valid_id
from celeriac.policies.retries import check_retry_kwargs
from celeriac.serialization import content_type

__all__ = [
    "LATER_MEMBERS",
    "TASK_OPTIONS",
    "TaskOptions",
    "check_task_options",
    "limits_of",
    "rate_of",
]

Errors = type[BaseException] | tuple[type[BaseException], ...] | list[type[BaseException]]


class TaskOptions(TypedDict, total=False):
    """The options of a task; each is explained at the attribute of ``Task`` of its name."""

    name: str | None
    base: type[Any] | None
    max_retries: int | None
    default_retry_delay: float | timedelta
    autoretry_for: Errors
    retry_for: Errors
    dont_autoretry_for: Errors
    retry_kwargs: Mapping[str, Any]
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool
    acks_late: bool | None
    reject_on_worker_lost: bool | None
    time_limit: float | None
    soft_time_limit: float | None
    ignore_result: bool | None
    store_errors_even_if_ignored: bool | None
    pydantic: bool
    pydantic_strict: bool
    pydantic_context: Mapping[str, Any] | None
    pydantic_dump_kwargs: Mapping[str, Any] | None
    resultrepr_maxsize: int
    store_eager_result: bool | None
    track_started: bool | None
    expires: float | timedelta | datetime | None
    priority: int | None
    queue: str | None
    rate_limit: str | float | None
    serializer: str | None
    compression: str | None
    sensitive: bool | Sequence[str]
    throws: Errors
    trail: bool
    typing: bool | None


#: Every option, ``bind`` included, which is a word of the decorator and not of the task.
TASK_OPTIONS: Final = frozenset(TaskOptions.__annotations__) | {"bind"}

_LATER: Final[dict[str, str]] = {
    "acks_on_failure_or_timeout": "A task that fails or times out has ended.",
    "acks_on_failure": "A task that fails has ended.",
    "acks_on_timeout": "A task that times out has ended.",
    "retry_on_worker_lost": "A task whose executor died runs again, up to max_crashes times.",
    "send_events": "",
    "shadow_name": "",
    "exchange": "Name the queue: queue=….",
    "routing_key": "Name the queue: queue=….",
    "delivery_mode": "What was sent is always durable.",
    "shared": "Use shared_task for tasks that every app has.",
    "filter": "",
    "lazy": "",
    "Request": "",
    "Strategy": "",
    "link": "Link it to the signature: task.s(…).link(…), task.s(…) | …",
    "link_error": "Link it to the signature: task.s(…).link(…), task.s(…) | …",
    "chain": "Link it to the signature: task.s(…).link(…), task.s(…) | …",
    "chord": "Link it to the signature: task.s(…).link(…), task.s(…) | …",
    "aliases": "",
}

#: Options that are True or False, besides those of None.
_TRUTHS: Final = frozenset(
    {
        "acks_late", "bind", "ignore_result", "pydantic", "pydantic_strict",
        "reject_on_worker_lost", "retry_jitter", "store_eager_result",
        "store_errors_even_if_ignored", "track_started", "trail", "typing",
    }
)  # fmt: skip

_OWN: Final = (
    "An attribute of your own is declared on a base class first: class Base(Task): {} = None, and "
    "@app.task(base=Base, …)"
)
#: What Celery's tasks have besides, and what to do instead.
LATER_MEMBERS: Final = {
    "signature_from_request": "Use self.signature(self.request.args, self.request.kwargs).",
    "backend": "Read results with task.AsyncResult(id).",
    **dict.fromkeys(("annotate", "from_config"), "Set task_annotations or @app.task(…)."),
    "shadow_name": "Name the task with @app.task(name=…).",
    "request_stack": "Use task.request, push_request() and pop_request().",
    **dict.fromkeys(("bind", "on_bound"), "Use app.on_init(), or task_annotations."),
    "add_around": "Define __call__ in a base class and call super().__call__() in it.",
    **dict.fromkeys(
        ("start_strategy", "Strategy", "Request"),
        "Use handlers of a base class (before_start, on_failure …) or signals.",
    ),
    "send_events": "Events are sent while somebody listens, or with `celeriac worker -E`.",
    "__header__": "Use task.arguments.check(args, kwargs).",
    **dict.fromkeys(("delay_on_commit", "apply_async_on_commit"), "Send it from on_commit()."),
}


def check_task_options(
    name: str, options: Mapping[str, Any], base: type, problems: Sequence[Exception] = ()
) -> dict[str, Any]:
    """Return *options* as attributes of the task *name*, or raise for all that are wrong.

    Attributes that a base class of the application's own defines may be set, too. *problems* are
    what else was found wrong with the task, to be told with the rest: one problem is raised as
    what it is, several as one ``ImproperlyConfigured`` that lists them.
    """
    what = f"the task {name!r}"
    found = list(problems)
    attributes: dict[str, Any] = {}
    for option, value in options.items():
        try:
            if option in _LATER and asks_for_nothing(option, value):
                continue
            if option not in TASK_OPTIONS and (option in _LATER or not hasattr(base, option)):
                refuse(option, what, TASK_OPTIONS, _LATER, _OWN.format(option))
            kept = "autoretry_for" if option == "retry_for" else option
            attributes[kept] = _judged(option, value)
        except (TypeError, ValueError, ImproperlyConfigured) as error:
            found.append(error)
    found.extend(_together(options, attributes))
    _raise_all(what, found)
    return attributes


def _together(given: Mapping[str, Any], judged: Mapping[str, Any]) -> Iterator[Exception]:
    """What is wrong with options that are right by themselves."""
    if "retry_for" in given and "autoretry_for" in given:
        yield TypeError("autoretry_for and retry_for are both given; they mean the same")
    soft, hard = judged.get("soft_time_limit"), judged.get("time_limit")
    if soft is not None and hard is not None and soft >= hard:
        yield ValueError(
            f"soft_time_limit is {soft:g} s and time_limit {hard:g} s, so the soft one would never "
            "be reached"
        )


def _raise_all(what: str, found: Sequence[Exception]) -> None:
    if not found:
        return
    if len(found) > 1:
        raise ImproperlyConfigured(
            f"{what} cannot be made, its options are wrong", problems=[str(each) for each in found]
        )
    text = str(found[0])
    raise type(found[0])(text if what in text else f"{what}: {text}") from None


def limits_of(
    name: str, soft: float | None, hard: float | None, conf: Settings
) -> tuple[float | None, float | None]:
    """Return soft and hard time limit of the task *name*, which says these, in seconds.

    Where it says none, those of the settings hold. Raises ``ValueError`` if they contradict each
    other.
    """
    own = "the task's options"
    told_soft = (conf.task_soft_time_limit, "the settings") if soft is None else (soft, own)
    told_hard = (conf.task_time_limit, "the settings") if hard is None else (hard, own)
    agreed = agreed_soft_limit(name, told_soft, told_hard, conf.task_soft_time_limit)
    return agreed, told_hard[0]


def rate_of(name: str, limit: str | float | None, conf: Settings) -> str:
    """Return the rate limit of the task *name*, which says *limit*, as text; "" if it has none.

    Raises ``ValueError`` for a limit that is none.
    """
    if conf.worker_disable_rate_limits:
        return ""
    try:
        return written(conf.task_default_rate_limit if limit is None else limit)
    except ValueError as error:
        raise ValueError(f"the task {name!r}: {error}") from None


def _sensitive(value: Any) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) or not all(isinstance(each, str) for each in value):
        raise TypeError(
            f"sensitive is {value!r}; it is True for all arguments, or a list of their names"
        )
    return tuple(value)


def _judged(option: str, value: Any) -> Any:
    if option in {"autoretry_for", "retry_for", "dont_autoretry_for", "throws"}:
        return _errors(option, value)
    if option in {"default_retry_delay", "retry_backoff_max"}:
        return _at_least(0, seconds(value, option), option)
    if option == "retry_kwargs":
        return _retry_kwargs(value)
    if option == "retry_backoff" and not isinstance(value, bool):
        return _at_least(0, seconds(value, option), option)
    if value is None:
        return None
    if option in _TRUTHS and not isinstance(value, bool):
        raise TypeError(f"{option} is {value!r}; it is True or False")
    if callable(getattr(Inside, option, None)) and not callable(value):
        raise TypeError(f"{option} is {value!r}; it is a function: a handler of the task")
    if option in {"time_limit", "soft_time_limit"}:
        return checked_limit(value, option)
    if option == "sensitive":
        return _sensitive(value)
    if option in {"pydantic_context", "pydantic_dump_kwargs"} and not isinstance(value, Mapping):
        raise TypeError(f"{option} is {value!r}; it is a dictionary")
    if option == "resultrepr_maxsize":
        return int(_at_least(0, seconds(value, option), option))
    if option == "priority":
        return checked_priority(value)
    if option == "rate_limit":
        per_second(value)  # raises for what is none
    if option == "max_retries":
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"max_retries is {value!r}; it is a whole number, or None for ever")
    elif option in {"queue", "name"}:
        if not isinstance(value, str) or not valid_id(value):
            raise ValueError(f"{option} is {value!r}, which is no name: letters, digits, _ . : @ /")
    elif option == "serializer":
        content_type(value)  # raises for a name that nobody knows
    elif option == "compression":
        return compression_of(value)
    elif option == "expires" and not isinstance(value, datetime):
        return seconds(value, option)
    return value


def _retry_kwargs(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"retry_kwargs is {value!r}; it is a dictionary")
    check_retry_kwargs(value)
    return dict(value)


def _errors(option: str, value: Any) -> tuple[type[BaseException], ...]:
    if not isinstance(value, type | tuple | list | set | frozenset):
        raise TypeError(f"{option} is {value!r}; it is a class of exceptions, or several in a list")
    classes = (value,) if isinstance(value, type) else tuple(value)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise TypeError(f"{option} holds {each!r}, which is no class of exceptions")
    return classes


def _at_least(least: float, value: float, option: str) -> float:
    if value < least:
        raise ValueError(f"{option} is {value:g}; it is {least:g} or more")
    return value
