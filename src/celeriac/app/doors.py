"""What an app has for starting workers, looking into them and steering them.

Layer 4. The base class of the app; it holds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from celeriac.app.base import Celeriac
    from celeriac.app.starting import Worker
    from celeriac.conf import Settings
    from celeriac.control.connection import Connection
    from celeriac.control.events import Events
    from celeriac.control.remote import Control
    from celeriac.groupresult import GroupsOfApp
    from celeriac.resultset import ResultSet

__all__ = ["Doors"]


class Doors:
    """``app.control``, ``app.events``, ``app.start()`` and what goes with them."""

    conf: Settings
    _home: dict[str, Any]
    _autofinalize: bool

    @property
    def autofinalize(self) -> bool:
        """Whether the tasks may be used before ``finalize()`` is called."""
        return self._autofinalize

    @property
    def strict_typing(self) -> bool:
        """The setting ``strict_typing``."""
        return self.conf.strict_typing

    def __reduce__(self) -> tuple[Any, ...]:
        from celeriac.app.current import find_app
        from celeriac.app.place import module_name

        module = module_name(self._home)
        for name, value in list(self._home.items()):
            if value is self and module:
                return find_app, (module, name)
        from pickle import PicklingError

        raise PicklingError(
            f"{self!r} cannot be pickled: it is pickled as the name of a module's attribute, and "
            f"the module that made it ({module or 'none'}) has none that holds it. Assign it "
            "there: app = Celeriac(…)"
        )

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

    @property
    def GroupResult(self) -> GroupsOfApp:  # noqa: N802 - Celery's name
        """Makes result objects of groups: ``app.GroupResult(id, results)``, and those that were
        saved: ``app.GroupResult.restore(id)``."""
        from celeriac.groupresult import GroupsOfApp

        return GroupsOfApp(cast("Celeriac", self))

    def ResultSet(self, results: Iterable[Any]) -> ResultSet:  # noqa: N802 - Celery's name
        """Return several results as one thing to wait for."""
        from celeriac.resultset import ResultSet

        return ResultSet(results, cast("Celeriac", self))

    def bugreport(self) -> str:
        """What ``celeriac report`` prints: versions, platform and settings, secrets hidden."""
        from celeriac.control.report import report

        return report(cast("Celeriac", self))

    def start(self, argv: Sequence[str] | None = None) -> int:
        """Run a command of the command line for this app; return its exit code.

        *argv* is what follows the program's name; by default that of this process.
        """
        from celeriac.app.starting import run_command

        return run_command(cast("Celeriac", self), self._home, argv)

    def worker_main(self, argv: Sequence[str] | None = None) -> int:
        """Run a worker: ``app.worker_main(["worker", "--loglevel=INFO"])``.

        Its processes import the module of the app anew, so what starts the worker stands under
        ``if __name__ == "__main__":``. Raises ``ValueError`` if *argv* does not hold ``worker``.
        """
        from celeriac.app.starting import run_worker

        return run_worker(cast("Celeriac", self), self._home, argv)

    def Worker(self, **options: Any) -> Worker:  # noqa: N802 - Celery's name
        """Make a worker of options as ``celeriac worker`` takes them; ``start()`` runs it."""
        from celeriac.app.starting import Worker

        return Worker(cast("Celeriac", self), self._home, options)
