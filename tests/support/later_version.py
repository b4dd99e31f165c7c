"""Celeriac as a later version would be, whose stores have one schema more.

``python later_version.py COMMAND …`` is its command ``celeriac``. It adds a column to SQLite's
records, and on Redis counts how often it has migrated.
"""

from __future__ import annotations

import sys

import apsw

from celeriac.stores.redis import schema as redis
from celeriac.stores.sqlite import schema as sqlite


def _extra_column(connection: apsw.Connection, prefixes: list[str]) -> None:
    for prefix in prefixes:
        connection.execute(sqlite.expand("ALTER TABLE @record ADD COLUMN extra INTEGER", prefix))


def become() -> None:
    """From now on this process is of that version. Before it opens a store."""
    sqlite.MIGRATIONS[sqlite.VERSION] = _extra_column
    sqlite.VERSION += 1
    redis.MIGRATIONS[redis.VERSION] = "redis.call('INCR', P .. 'migrations')"
    redis.VERSION += 1


if __name__ == "__main__":
    become()
    from celeriac.cli import main

    sys.exit(main())
