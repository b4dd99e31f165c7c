"""What ``app.task(...)`` takes: names, values that mean something, and what is not built.

Layer 4. A task's options are attributes of its class; this module says which there are and judges
their values when the task is made, so that a wrong one is found at import and not at night.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypedDict

from celeriac.client import check_limits, checked_limit, checked_priority, refuse
from celeriac.exceptions import ImproperlyConfigured
from celeriac.ids import valid_id
from celeriac.policies.retries import check_retry_kwargs, seconds
from celeriac.serialization import content_type

__all__ = ["LATER_MEMBERS", "TASK_OPTIONS", "TaskOptions", "check_task", "check_task_options"]

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
    track_started: bool | None
    expires: float | timedelta | datetime | None
    priority: int | None
    queue: str | None
    serializer: str | None
    throws: Errors
    typing: bool | None


#: Every option, ``bind`` included, which is a word of the decorator and not of the task.
TASK_OPTIONS: Final = frozenset(TaskOptions.__annotations__) | {"bind"}

_LATER: Final[dict[str, str]] = {
    "rate_limit": "",
    "pydantic": "Annotated parameters are converted and checked without it.",
    "pydantic_strict": "",
    "pydantic_context": "",
    "pydantic_dump_kwargs": "",
    "acks_on_failure_or_timeout": "A task that fails or times out has ended.",
    "acks_on_failure": "A task that fails has ended.",
    "acks_on_timeout": "A task that times out has ended.",
    "retry_on_worker_lost": "A task whose executor died runs again, up to max_crashes times.",
    "compression": "",
    "store_errors_even_if_ignored": "The state and its reason are kept in any case.",
    "store_eager_result": "",
    "trail": "",
    "send_events": "",
    "shadow_name": "",
    "exchange": "Name the queue: queue=….",
    "routing_key": "Name the queue: queue=….",
    "delivery_mode": "What was sent is always durable.",
    "resultrepr_maxsize": "",
    "shared": "Use shared_task for tasks that every app has.",
    "filter": "",
    "lazy": "",
    "Request": "",
    "Strategy": "",
    "link": "Workflows are not in this version.",
    "link_error": "Workflows are not in this version.",
    "chain": "Workflows are not in this version.",
    "chord": "Workflows are not in this version.",
    "sensitive": "",
    "aliases": "",
}

_FLOWS: Final = "Until workflows are, let the first task call the next one's delay()."
#: What Celery's tasks have besides, and what to do instead.
LATER_MEMBERS: Final = {
    **dict.fromkeys(("chunks", "map", "starmap", "replace", "add_to_chord"), _FLOWS),
    **dict.fromkeys(("signature_from_request", "push_request", "pop_request"), ""),
    **dict.fromkeys(("backend", "add_trail", "send_event", "annotate", "shadow_name"), ""),
    **dict.fromkeys(("delay_on_commit", "apply_async_on_commit"), "Send it from on_commit()."),
}


def check_task_options(name: str, options: Mapping[str, Any], base: type) -> dict[str, Any]:
    """Return *options* as attributes of the task *name*, or raise for one that is wrong.

    Attributes that a base class of the application's own defines may be set, too.
    """
    what = f"the task {name!r}"
    attributes: dict[str, Any] = {}
    for option, value in options.items():
        if option not in TASK_OPTIONS:
            if option not in _LATER and hasattr(base, option):
                attributes[option] = value
                continue
            refuse(option, what, TASK_OPTIONS, _LATER)
        attributes["autoretry_for" if option == "retry_for" else option] = value
    if "retry_for" in options and "autoretry_for" in options:
        raise TypeError(f"{what} has both autoretry_for and retry_for; they mean the same")
    try:
        return {option: _judged(option, value) for option, value in attributes.items()}
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what}: {error}") from None


def check_task(name: str, soft: float | None, hard: float | None) -> None:
    """Raise ``ValueError`` if the limits of the task *name* contradict each other."""
    check_limits(soft, hard, f"the task {name!r}")


def _judged(option: str, value: Any) -> Any:
    if option in {"autoretry_for", "dont_autoretry_for", "throws"}:
        return _errors(option, value)
    if option in {"default_retry_delay", "retry_backoff_max"}:
        return _at_least(0, seconds(value, option), option)
    if option == "retry_kwargs":
        check_retry_kwargs(value)
        return dict(value)
    if option == "retry_backoff" and not isinstance(value, bool):
        return _at_least(0, seconds(value, option), option)
    if value is None:
        return None
    if option in {"time_limit", "soft_time_limit"}:
        return checked_limit(value, option)
    if option == "priority":
        return checked_priority(value)
    if option == "max_retries":
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"max_retries is {value!r}; it is a whole number, or None for ever")
    elif option in {"queue", "name"}:
        if not isinstance(value, str) or not valid_id(value):
            raise ValueError(f"{option} is {value!r}, which is no name: letters, digits, _ . : @ /")
    elif option == "serializer":
        try:
            content_type(value)
        except ImproperlyConfigured as error:
            raise type(error)(*error.args) from None
    elif option == "expires" and not isinstance(value, datetime):
        return seconds(value, option)
    return value


def _errors(option: str, value: Any) -> tuple[type[BaseException], ...]:
    classes = (value,) if isinstance(value, type) else tuple(value)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise TypeError(f"{option} holds {each!r}, which is no class of exceptions")
    return classes


def _at_least(least: float, value: float, option: str) -> float:
    if value < least:
        raise ValueError(f"{option} is {value:g}; it is {least:g} or more")
    return value
