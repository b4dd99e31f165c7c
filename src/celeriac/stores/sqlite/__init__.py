"""The SQLite store: the whole seam in one file, for every process of one machine.

Layer 2; imported by ``stores.connect`` when a ``sqlite://`` URL is first used. ``sqlite:///a.db``
names a file relative to the working directory, ``sqlite:////var/lib/a.db`` an absolute one. Beside
it lie SQLite's own ``-wal`` and ``-shm`` and the folder ``-bells`` (``bells.py``). Each namespace
has its own tables in the file (``schema.py``).

Reading order: ``schema.sql`` (what is stored), ``database.py`` (connections, transactions),
``queue.py`` (when each step begins and ends), ``enqueue.py``, ``lease.py``, ``commits.py``,
``ending.py``, ``owners.py``, ``reap.py`` (what the steps do).
"""

from __future__ import annotations

from typing import Final

from celeriac.exceptions import ImproperlyConfigured
from celeriac.stores.base import Capabilities, Options, Store
from celeriac.stores.sqlite.bells import Bells
from celeriac.stores.sqlite.bus import SqliteBus
from celeriac.stores.sqlite.coordinator import SqliteCoordinator, SqliteSchedules
from celeriac.stores.sqlite.database import Database, build
from celeriac.stores.sqlite.inspection import SqliteInspection, durability
from celeriac.stores.sqlite.listener import Listener
from celeriac.stores.sqlite.location import check_place, create, locate
from celeriac.stores.sqlite.queue import SqliteQueue
from celeriac.stores.sqlite.results import SqliteResults
from celeriac.stores.sqlite.waiter import Waiters

_DURABILITIES: Final = ("full", "relaxed")
#: One exchange may compute while the other one's commit waits for the disk.
_LANES: Final = 2


def open_store(url: str, options: Options) -> Store:
    """Open, or create, the database that *url* names.

    Raises :class:`~celeriac.exceptions.ImproperlyConfigured` for a place that cannot hold one (see
    ``location.py``), :class:`~celeriac.exceptions.StoreVersionError` for a file of a later
    version, :class:`~celeriac.exceptions.OperationalError` if it cannot be opened now.
    """
    if options.durability not in _DURABILITIES:
        raise ImproperlyConfigured(
            f"durability {options.durability!r} is not known: use one of {_DURABILITIES}."
        )
    path = locate(url)
    check_place(path)
    create(path, build)
    database = Database(path, options)
    bells = Bells(database)
    database.told = bells
    return Store(
        url=url,
        capabilities=Capabilities(
            survives_kill=True,
            survives_power_loss=options.durability == "full",
            shared=True,
            lanes=_LANES,
            durability=durability(options.durability),
        ),
        options=options,
        queue=SqliteQueue(database, Waiters(database, bells)),
        results=SqliteResults(database, Listener(database, bells)),
        coordinator=SqliteCoordinator(database),
        schedules=SqliteSchedules(database),
        inspection=SqliteInspection(database),
        bus=SqliteBus(bells),
    )


def place_of(url: str, options: Options) -> object:
    """What two URLs of one store have in common; opens nothing."""
    return locate(url)


__all__ = ["open_store", "place_of"]
