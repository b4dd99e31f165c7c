"""What an app has for looking into workers and steering them: doors to ``control``.

Layer 4. The base class of the app; it holds nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.control.connection import Connection
    from celeriac.control.events import Events
    from celeriac.control.remote import Control

__all__ = ["Doors"]


class Doors:
    """``app.control``, ``app.events`` and what goes with them."""

    @property
    def control(self) -> Control:
        """Commands: ``app.control.revoke(id)``, ``app.control.inspect().active()``."""
        from celeriac.control.remote import Control

        return Control(cast("Celeriac", self))

    @property
    def events(self) -> Events:
        """Live events: ``app.events.Receiver(connection, handlers={…}).capture()``."""
        from celeriac.control.events import Events

        return Events(cast("Celeriac", self))

    def connection(self, *args: Any, **options: Any) -> Connection:
        """The app's way to its store, for a receiver of events.

        Raises ``NotInThisVersion`` for a URL or options: the app's own settings say where.
        """
        from celeriac.control.connection import Connection, refuse_options

        refuse_options(args, options)
        return Connection(cast("Celeriac", self))

    connection_for_read = connection
    connection_for_write = connection

    def bugreport(self) -> str:
        """What ``celeriac report`` prints: versions, platform and settings, secrets hidden."""
        from celeriac.control.report import report

        return report(cast("Celeriac", self))
