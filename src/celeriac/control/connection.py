"""``app.connection()``: what programs written for Celery hand to receivers of events.

Layer 4. The app keeps its own connections to its store; this stands for them, so that
``with app.connection() as connection:`` reads as it does there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from celeriac.exceptions import NotInThisVersion
from celeriac.later import missing

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac

__all__ = ["Connection", "check_connection", "refuse_options"]

_CHANNELS: Final = "There are no channels: what is published goes to the store's bus."
_LATER: Final = dict.fromkeys(
    ("channel", "default_channel", "Consumer", "Producer", "SimpleQueue"), _CHANNELS
)


class Connection:
    """The app's way to its store. Opened when it is used, closed with the app."""

    def __init__(self, app: Celeriac) -> None:
        self.app = app

    def connect(self) -> Self:
        """Open the store now. Raises ``OperationalError`` if it cannot be used."""
        self.app.store.inspection.workers()
        return self

    def ensure_connection(self, *_args: Any, **_options: Any) -> Self:
        """As :meth:`connect`: the store itself tries again for its whole budget."""
        return self.connect()

    @property
    def connected(self) -> bool:
        """Always true: the app opens its store when it is needed."""
        return True

    def as_uri(self) -> str:
        """The URL of the store, without a password."""
        url = self.app.broker_url
        password = urlsplit(url).password
        return url.replace(f":{password}@", ":**@") if password else url

    def close(self) -> None:
        """Nothing is closed: others of this process use the store as well."""

    release = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        raise missing("connection", name, _LATER)

    def __repr__(self) -> str:
        return f"<Connection {self.as_uri()}>"


def check_connection(connection: object, what: str) -> None:
    """Raise if *connection* is anything but one of the app's, or None."""
    if connection is not None and not isinstance(connection, Connection):
        raise NotInThisVersion(
            f"The argument connection of {what}", "The app keeps its own: leave it out."
        )


def refuse_options(args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Raise if ``app.connection()`` was asked for another place than the app's own."""
    given = [repr(each) for each in args if each is not None]
    given += [name for name, value in options.items() if value is not None]
    if given:
        raise NotInThisVersion(
            f"app.connection({', '.join(given)})",
            "It is the app's own way to its store: set broker_url in the settings.",
        )
