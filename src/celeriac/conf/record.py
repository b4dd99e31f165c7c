"""What is known of one setting: the record, and short ways to write the three usual kinds.

Layer L1. Used by the table and the judges of values; read it through `celeriac.conf`.
"""

from typing import Any, Literal

from msgspec import Struct

from .names import CELERY

__all__ = ["SAME_AS_BROKER", "Kind", "Setting", "Where", "count", "flag", "seconds"]

Kind = Literal[
    "annotations",
    "bool",
    "choice",
    "choices",
    "compression",
    "fraction",
    "integer",
    "key",
    "log format",
    "module names",
    "name",
    "queues",
    "rate",
    "retry policy",
    "routes",
    "seconds",
    "text",
    "timezone",
    "tls",
    "transport",
    "url",
]
"""What a value is; `values` holds one judge for each."""

Where = Literal["everywhere", "sending", "worker", "store"]
"""Who acts on a setting: the code that sends, the worker, the store, or more than one of them."""

SAME_AS_BROKER = "broker://"
"""`result_backend` when nobody set it: results stay in the broker's store."""


class Setting(Struct, frozen=True, kw_only=True):
    """What is known of one setting.

    `unit` is empty where a value has none. `least` and `most` are inclusive. `choices` are the
    words allowed; `later` are words that Celery knows and this version refuses by name. `none`
    says what None means, and None is refused where it is empty. `secret` values are never shown.
    `local` ones may hold code, so they stay in the process that imports the application.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    unit: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    none: str = ""
    where: Where = "everywhere"
    secret: bool = False
    local: bool = False

    @property
    def environment(self) -> str:
        """The environment variable that sets it."""
        return f"CELERIAC_{self.name.upper()}"

    @property
    def celery(self) -> bool:
        """Whether Celery has a setting of this name."""
        return self.name in CELERY


def seconds(name: str, **facts: Any) -> Setting:
    """Make the record of a duration."""
    return Setting(name=name, kind="seconds", unit="seconds", **facts)


def count(name: str, **facts: Any) -> Setting:
    """Make the record of a whole number."""
    return Setting(name=name, kind="integer", **facts)


def flag(name: str, **facts: Any) -> Setting:
    """Make the record of a switch."""
    return Setting(name=name, kind="bool", **facts)
