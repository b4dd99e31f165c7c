"""The file format: whose file this is, which version, and how an old one becomes a new one.

Part of the SQLite store. ``application_id`` says that the file is ours, ``user_version`` is the
schema version, one for all namespaces of a file; each namespace has its own set of tables. Every
transaction looks at it (:func:`check`): a process that runs on while another version migrates the
file writes nothing any more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from typing import Final

import apsw

from celeriac.crashpoints import crashpoint
from celeriac.exceptions import ImproperlyConfigured, StoreError, StoreVersionError

#: "Clrc" as a number.
APPLICATION_ID: Final = 0x436C7263
VERSION: Final = 4


def _to_2(connection: apsw.Connection, prefixes: list[str]) -> None:
    """Short messages in the record's row, and which worker held it. What is stored stays."""
    for prefix in prefixes:
        for column in ("worker INTEGER", "wire BLOB"):
            connection.execute(expand(f"ALTER TABLE @record ADD COLUMN {column}", prefix))


_TO_3: Final = """
CREATE TABLE @flow (seq INTEGER PRIMARY KEY, flow TEXT NOT NULL);
CREATE INDEX @flow_parts ON @flow (flow, seq);
ALTER TABLE @chord ADD COLUMN grown INTEGER NOT NULL DEFAULT 0;
DROP INDEX @chord_open;
CREATE INDEX @chord_open ON @chord (touched) WHERE size IS NULL AND (decided = '' OR cause <> '');
CREATE TABLE @outsider (number INTEGER PRIMARY KEY, chord TEXT NOT NULL, id TEXT NOT NULL);
CREATE INDEX @outsider_chord ON @outsider (chord, number);
ALTER TABLE @pending RENAME TO @before;
CREATE TABLE @pending (id TEXT NOT NULL, how INTEGER NOT NULL, state TEXT NOT NULL,
    cause TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (id, how)) WITHOUT ROWID;
INSERT INTO @pending SELECT id, skipped, state, cause, position FROM @before;
DROP TABLE @before;
"""


def _to_3(connection: apsw.Connection, prefixes: list[str]) -> None:
    """Workflows: their parts, joins that grow, what waits for what was never sent."""
    for prefix in prefixes:
        connection.execute(expand(_TO_3, prefix))


_TO_4: Final = """
CREATE TABLE @revoked_stamp (number INTEGER PRIMARY KEY AUTOINCREMENT, stamp TEXT NOT NULL UNIQUE,
    terminate TEXT, drop_at REAL NOT NULL);
CREATE INDEX @revoked_stamp_drop ON @revoked_stamp (drop_at);
"""


def _to_4(connection: apsw.Connection, prefixes: list[str]) -> None:
    """Stamps that calls were revoked by."""
    for prefix in prefixes:
        connection.execute(expand(_TO_4, prefix))


#: What makes version n + 1 of version n, by n: called inside the transaction that raises
#: ``user_version``, once for the whole file, with the prefixes of all its namespaces.
MIGRATIONS: Final[dict[int, Callable[[apsw.Connection, list[str]], None]]] = {
    1: _to_2,
    2: _to_3,
    3: _to_4,
}

_TABLE: Final = re.compile(r"@(\w+)")
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.:@/-]{1,128}")


def prefix_of(namespace: str) -> str:
    """The beginning of all table names of *namespace*.

    SQLite's names ignore case, so all but small letters, digits and ``_`` is written as its
    code; ``.`` ends the prefix and cannot be in it.
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise ImproperlyConfigured(
            f"namespace (with global_keyprefix) {namespace!r}: 1 to 128 letters, digits and "
            "_ . : @ / - are allowed."
        )
    return "".join(c if c in _PLAIN else f"${ord(c):x}$" for c in namespace) + "."


def expand(text: str, prefix: str) -> str:
    """Put the namespace's table names into SQL: ``@record`` becomes ``"celeriac.record"``."""
    return _TABLE.sub(lambda match: f'"{prefix}{match[1]}"', text)


def script() -> str:
    """The tables of one namespace, as SQL."""
    return resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")


def prepare(connection: apsw.Connection, path: str, prefix: str) -> int:
    """Make the file ours and the namespace's tables, or migrate, or refuse. Repeatable. Returns the
    version that was found.

    Must run inside a write transaction, so that of two processes that start at once one does it,
    and whoever dies before its end leaves the file as it was.
    """
    owner = _number(connection, "application_id")
    found = version = version_of(connection)
    tables = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_schema")}
    if owner != APPLICATION_ID:
        if owner or version or tables:
            raise StoreError(
                f"{path} is a SQLite database of another program (application id {owner:#x}), "
                "not a Celeriac store. Name another file in the broker URL."
            )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    if not version:
        found = version = _raise(connection, VERSION)
    check(connection, path)
    while version < VERSION:
        owned = [name.removesuffix("record") for name in tables if name.endswith(".record")]
        MIGRATIONS[version](connection, owned)
        version = _raise(connection, version + 1)
    if found < VERSION:
        crashpoint("migrate.begun")
    if f"{prefix}record" not in tables:
        connection.execute(expand(script(), prefix))
    return found


def check(connection: apsw.Connection, path: str) -> None:
    """Raise :class:`StoreVersionError` if the file is newer than this code. Inside a transaction
    it holds to its end, and costs less than a microsecond."""
    version = version_of(connection)
    if version > VERSION:
        raise StoreVersionError(
            f"{path} has schema version {version}, and this version of Celeriac knows {VERSION}. "
            "Install the version of Celeriac that wrote the file, or a later one."
        )


def version_of(connection: apsw.Connection) -> int:
    """The schema version of an open file."""
    return _number(connection, "user_version")


def _raise(connection: apsw.Connection, version: int) -> int:
    connection.execute(f"PRAGMA user_version = {version}")
    return version


def _number(connection: apsw.Connection, name: str) -> int:
    row = connection.execute(f"PRAGMA {name}").fetchone()
    assert row is not None
    return int(str(row[0]))
