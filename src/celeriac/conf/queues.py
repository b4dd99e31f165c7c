"""Queues as an application declares them: what ``task_queues`` may hold.

Layer L1: plain data. A queue needs no declaration; one that is declared is read by every worker
without ``-Q``, may be named by its routing key, and may cap priorities. The arguments have
kombu's names; those that would change nothing here are refused.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from celeriac.exceptions import NotInThisVersion
from celeriac.ids import valid_id

__all__ = ["Exchange", "Queue", "bound", "read_queues"]

HIGHEST: Final = 255
_KINDS: Final = ("direct", "topic")
_EXPECTED: Final = "a list of names, dictionaries or Queue objects, or a dictionary by name"
_DURABLE: Final = "What was sent is always durable."
_INSTEAD: Final = {
    "auto_delete": _DURABLE,
    "delivery_mode": _DURABLE,
    "exclusive": "Every worker that is told to read a queue may.",
    "no_ack": "Use acks_late=False for tasks that shall run at most once.",
    "expires": "A queue is there as long as it holds tasks.",
    "message_ttl": "Set expires on the tasks (seconds).",
    "bindings": "Give one exchange and routing_key.",
    "alias": "Use the queue's name.",
}


class Exchange:
    """A name and a type (``direct`` or ``topic``), which say how routing keys are compared."""

    def __init__(self, name: str = "", type: str = "direct", **more: Any) -> None:
        _refuse("Exchange", name, more)
        if type not in _KINDS:
            what = f"the exchange {name!r} of type {type!r}"
            raise NotInThisVersion(what, "There are direct and topic; send to each queue by name.")
        self.name = name
        self.type = type

    def __repr__(self) -> str:
        return f"Exchange({self.name!r}, {self.type!r})"


class Queue:
    """A declared queue.

    Args:
        name: what tasks and workers name it by.
        exchange: an `Exchange` or its name; only compared with what a route says.
        routing_key: what routes may name it by; by default its name. With a topic exchange ``*``
            stands for one word and ``#`` for any number of them.
        queue_arguments: ``{"x-max-priority": n}``: more urgent priorities count as *n*.
        max_priority: the same as ``x-max-priority``.
        exchange_type: of an exchange given by its name.
        more: other arguments of kombu's, refused by name.

    Raises:
        ValueError: a name, key or priority that cannot be.
        NotInThisVersion: an argument of kombu's that would change nothing here.
    """

    __slots__ = ("exchange", "exchange_type", "max_priority", "name", "routing_key")

    def __init__(
        self,
        name: Any,
        exchange: Exchange | str | None = None,
        routing_key: str = "",
        queue_arguments: Mapping[str, Any] | None = None,
        max_priority: int | None = None,
        exchange_type: str = "direct",
        **more: Any,
    ) -> None:
        if not isinstance(name, str) or not valid_id(name):
            raise ValueError(
                f"{name!r} is no name of a queue: 1 to 128 letters, digits or _ . : @ / - with a "
                "letter or digit first"
            )
        _refuse("Queue", name, more)
        for argument, value in (queue_arguments or {}).items():
            if argument != "x-max-priority":
                what = f"{argument} in queue_arguments of the queue {name!r}"
                raise NotInThisVersion(what, "There is x-max-priority; remove the others.")
            max_priority = value
        if not isinstance(exchange, Exchange):
            exchange = _exchange(exchange, exchange_type)
        self.name: str = name
        self.exchange = exchange.name
        self.exchange_type = exchange.type
        self.routing_key = routing_key or name
        self.max_priority = None if max_priority is None else _priority(name, max_priority)

    def matches(self, exchange: str | None, routing_key: str | None) -> bool:
        """Whether a call with these would have been put into this queue; None is not asked."""
        if exchange is not None and exchange != self.exchange:
            return False
        if routing_key is None:
            return True
        if self.exchange_type == "topic":
            return _topic(self.routing_key.split("."), routing_key.split("."))
        return routing_key == self.routing_key

    def plain(self) -> dict[str, Any]:
        """Return it as a dictionary that `read_queues` reads."""
        return {each: getattr(self, each) for each in self.__slots__}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Queue) and self.plain() == other.plain()

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Queue({self.name!r})"


def read_queues(value: object) -> tuple[Queue, ...]:
    """Return the queues that *value*, a value of ``task_queues``, declares.

    Raises ``ValueError`` for what is none, and for a name that stands there twice.
    """
    if isinstance(value, Mapping):
        queues = [_declared(name, facts) for name, facts in value.items()]
    elif isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ValueError(f"expected {_EXPECTED}")  # noqa: TRY004 - judges of settings raise it alone
    else:
        queues = [_read(each) for each in value]
    names = [each.name for each in queues]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the queue {twice[0]!r} is declared twice")
    return tuple(queues)


def bound(
    queues: Iterable[Queue], exchange: str | None, routing_key: str | None
) -> tuple[Queue, ...]:
    """Return those of *queues* that *exchange* and *routing_key* lead to."""
    return tuple(each for each in queues if each.matches(exchange, routing_key))


def _declared(name: object, facts: object) -> Queue:
    if facts is not None and not isinstance(facts, Mapping):
        raise ValueError(f"{name!r} is mapped to {facts!r}; expected {_EXPECTED}")
    return _from_dict({"name": name, **(facts or {})})


def _read(value: object) -> Queue:
    if isinstance(value, Queue):
        return value
    if isinstance(value, str):
        return Queue(value)
    if isinstance(value, Mapping):
        return _from_dict(value)
    if isinstance(getattr(value, "name", None), str):  # kombu's Queue
        return Queue(
            value.name,  # type: ignore[attr-defined]  # looked at above
            _exchange(getattr(value, "exchange", None)),
            getattr(value, "routing_key", None) or "",
            getattr(value, "queue_arguments", None),
            getattr(value, "max_priority", None),
        )
    raise ValueError(f"{value!r} declares no queue; expected {_EXPECTED}")


def _from_dict(facts: Mapping[str, Any]) -> Queue:
    given = {key: value for key, value in facts.items() if value is not None}
    if not all(isinstance(key, str) for key in given) or "name" not in given:
        raise ValueError(f"{dict(facts)!r} declares no queue: it needs a name")
    if "binding_key" in given:
        given.setdefault("routing_key", given.pop("binding_key"))
    return Queue(**given)


def _exchange(value: object, type: str = "direct") -> Exchange:
    """Read an exchange: nothing, a name, or an object that has one."""
    name = value if isinstance(value, str) else getattr(value, "name", "")
    return Exchange(name or "", getattr(value, "type", None) or type)


def _refuse(kind: str, name: str, more: Mapping[str, Any]) -> None:
    for argument, value in more.items():
        if argument == "durable" and value is True:
            continue
        what = f"{argument} of {kind}({name!r})"
        raise NotInThisVersion(what, _INSTEAD.get(argument, "Remove it."))


def _priority(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= HIGHEST:
        raise ValueError(
            f"the highest priority of the queue {name!r} is {value!r}; it is a whole number from 0 "
            f"to {HIGHEST}, and priorities go up to 9"
        )
    return value


def _topic(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(_topic(rest, words[at:]) for at in range(len(words) + 1))
    return bool(words) and first in {"*", words[0]} and _topic(rest, words[1:])
