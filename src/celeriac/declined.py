"""Options of calls and tasks: which there are, which of Celery's are refused, and when not.

Layer 4. An option that is not built is refused by name, unless its value is what is done anyway:
Celery's own default, or nothing at all. Then it is accepted, for it asks for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

from celeriac.checks import FLOW_OPTIONS, SEND_OPTIONS
from celeriac.exceptions import NotInThisVersion
from celeriac.stamps import names_of

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = [
    "FLOW_OPTIONS",
    "SEND_OPTIONS",
    "asks_for_nothing",
    "check_on_message",
    "check_options",
    "refuse",
]

_ROUTES: Final = "Name the queue: queue=…, or set task_routes."
_FLOWS: Final = "It belongs to where the call is sent first: apply_async()."
_BROKER: Final = "The app keeps its own connections."
#: Options of Celery's ``apply_async`` that this version does not have, and what to do instead.
_LATER: Final[dict[str, str]] = {
    **dict.fromkeys(("router", "route_name"), _ROUTES),
    **dict.fromkeys(FLOW_OPTIONS, _FLOWS),
    "replaced_task_nesting": "",
    **dict.fromkeys(("producer", "connection", "publisher"), _BROKER),
    **dict.fromkeys(("reply_to", "shadow"), "Pass headers={…} instead."),
    "retries": "It is counted by the store.",
    "result_cls": "",
    **dict.fromkeys(
        [
            "delivery_mode",
            "mandatory",
            "immediate",
            "confirm_timeout",
            "timeout",
            "declare",
            "expiration",
        ],
        "What was sent is always durable and confirmed.",
    ),
}

# Values, besides None, that ask for what is done anyway. For a call as for a task.
_NOTHING: Final[Mapping[str, tuple[Any, ...]]] = {
    **dict.fromkeys(("link", "link_error", "chain", "declare"), ([], ())),
    **dict.fromkeys(("mandatory", "immediate"), (False,)),
    **dict.fromkeys(("retries", "replaced_task_nesting"), (0,)),
    **dict.fromkeys(
        ("acks_on_failure_or_timeout", "acks_on_failure", "acks_on_timeout", "send_events"), (True,)
    ),
    "delivery_mode": (2, "persistent"),
    "retry_on_worker_lost": (False,),
    "shared": (False,),
    "lazy": (True, False),
    "aliases": ([], ()),
    "Request": ("celery.worker.request:Request",),
    "Strategy": ("celery.worker.strategy:default",),
}


def asks_for_nothing(name: str, value: object) -> bool:
    """Whether *value* of the option *name*, which is not built, is what is done anyway."""
    if value is None:
        return True
    return any(type(value) is type(each) and value == each for each in _NOTHING.get(name, ()))


def check_options(given: Mapping[str, Any], what: str, app: Celeriac) -> None:
    """Raise for a name in *given* that is no option of a call: by name if it is one of Celery's.

    One that asks for nothing is passed over, and so is *app*'s own connection. The names that
    ``stamped_headers`` lists are options, too.
    """
    stamped = names_of(given)
    for name, value in given.items():
        if name in SEND_OPTIONS or name in stamped:
            continue
        if name in _LATER and (asks_for_nothing(name, value) or _is_own(name, value, app)):
            continue
        refuse(name, what, SEND_OPTIONS, _LATER)


def _is_own(name: str, value: object, app: Celeriac) -> bool:
    """Whether it is a connection that ``app.connection()`` returned."""
    if name not in {"connection", "publisher", "producer"}:
        return False
    from celeriac.control.connection import Connection

    return isinstance(value, Connection) and value.app is app


def check_on_message(hearer: object) -> None:
    """Raise ``NotInThisVersion`` if *hearer*, the argument ``on_message`` of ``get()``, is one."""
    if hearer is not None:
        raise NotInThisVersion(
            "The argument on_message of get()",
            "No messages come back: read result.state and result.info while you wait, for example "
            "in on_interval=….",
        )


def refuse(
    name: str, what: str, known: Iterable[str], later: Mapping[str, str], cure: str = ""
) -> NoReturn:
    """Raise for an unknown option: ``NotInThisVersion`` if *later* has it, else ``TypeError``.

    *cure* is what else may help who wrote it, as a sentence.
    """
    if name in later:
        raise NotInThisVersion(f"The option {name} of {what}", later[name])
    from difflib import get_close_matches

    near = get_close_matches(name, [*known, *later], n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(known))}"
    raise TypeError(f"{what} has no option {name!r}{hint}{cure and f'. {cure}'}")
