"""Connections and transactions: the only file that opens the database.

Part of the SQLite store. One connection per process and thread; a write is one ``BEGIN IMMEDIATE``
transaction (:meth:`Database.write`), and what is to be told others of it (rings, ended ids) is
told after the commit.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol

import apsw

from celeriac.crashpoints import crashpoint
from celeriac.exceptions import OperationalError, StoreError, StoreVersionError
from celeriac.stores.base import Options
from celeriac.stores.sqlite import schema
from celeriac.stores.sqlite.patience import Patience
from celeriac.stores.sqlite.troubles import described_error

_log = logging.getLogger(__name__)

Row = tuple[Any, ...]
Value = None | int | float | str | bytes

#: Bytes of a page of a new file. A send changes one page in each of three trees, and writes those
#: to the log whole: with SQLite's 4096 it takes a tenth longer. With 1024 a worker's steps, which
#: change many pages, do.
_PAGE: Final = 2048
#: Pages of WAL after which a commit writes them back. SQLite's 1000 would make a busy worker sync
#: the database file several times a second. Processes without a worker wait longer, so that where a
#: worker runs it pays, not the request that calls ``delay()``.
_CHECKPOINT_WORKER: Final = 3000
_CHECKPOINT_CLIENT: Final = 4000
#: Bytes of WAL that stay on disk. To write over what is there costs a commit two thirds of what it
#: costs to make the file grow, since the file system has nothing to note about it.
_WAL_KEPT: Final = 16 << 20

#: Records inserted since are ahead of the counter: they leave it as it is, see ``schema.sql``.
_TAKE: Final = """
UPDATE @counter SET last = max(last, (SELECT coalesce(max(seq), 0) FROM @record)) + ?
WHERE one = 1 RETURNING last"""

#: Connections made before a fork, and those of threads that still run. They must not be closed by
#: the garbage collector of a child: SQLite would touch locks and WAL in the parent's name.
_kept: set[apsw.Connection] = set()


class Told(Protocol):
    """Who is told of a commit; see ``bells.Bells``."""

    def after_commit(self, step: Transaction) -> None:
        """Ring waiters, and tell who waits for the ids that ended."""


class _Slot(threading.local):
    """This thread's connection and the process that opened it."""

    connection: apsw.Connection | None = None
    pid: int = 0
    closer: _Closer | None = None


class _Closer:
    """Closes a thread's connection when the thread ends, unless a fork has copied it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.pid = os.getpid()
        self.kept = _kept

    # Bound early: at the end of the interpreter the module's names may be gone.
    def __del__(self, getpid: Callable[[], int] = os.getpid) -> None:
        if getpid() == self.pid:
            self.kept.discard(self.connection)
            self.connection.close()


class Reading:
    """Statements on one connection; ``@table`` names a table of the namespace."""

    __slots__ = ("connection", "database")

    def __init__(self, database: Database, connection: apsw.Connection) -> None:
        self.database = database
        self.connection = connection

    def rows(self, text: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one statement; all its rows."""
        found: list[Row] = self.connection.execute(self.database.sql(text), values).fetchall()
        return found

    def one(self, text: str, values: Sequence[Any] = ()) -> Row | None:
        """Run one statement; its first row, or None."""
        row: Row | None = self.connection.execute(self.database.sql(text), values).fetchone()
        return row


class Transaction(Reading):
    """One write transaction: the connection, the moment, and what to tell after the commit."""

    __slots__ = ("ended", "fresh", "leftover", "mono", "now", "rung", "summoned")

    def __init__(self, database: Database, connection: apsw.Connection) -> None:
        super().__init__(database, connection)
        self.now = database.clock.wall()
        self.mono = database.clock.monotonic()
        #: Queues of which one waiter is rung, and those of which all are.
        self.rung: set[int] = set()
        self.summoned: set[int] = set()
        self.ended: list[str] = []
        #: A step left edges to be followed: see ``Database.work_off``.
        self.leftover = False
        self.fresh: dict[str, int] = {}

    def execute(self, text: str, values: Sequence[Any] = ()) -> None:
        """Run one statement that answers nothing."""
        self.connection.execute(self.database.sql(text), values)

    def executemany(self, text: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each of *rows*."""
        self.connection.executemany(self.database.sql(text), rows)

    def number(self, text: str) -> int:
        """The number of a task or queue name, given now if it has none."""
        number = self.database.numbers.get(text) or self.fresh.get(text)
        if number is None:
            self.execute("INSERT INTO @name (text) VALUES (?) ON CONFLICT DO NOTHING", (text,))
            row = self.one("SELECT number FROM @name WHERE text = ?", (text,))
            assert row is not None
            # Not yet in the cache of the process: a rollback would give the number to another.
            number = self.fresh[text] = int(row[0])
        return number

    def places(self, count: int) -> int:
        """Take *count* consecutive numbers that were never used; return the first.

        Not for new records: their row ids are taken by being written (``enqueue.insert``).
        """
        row = self.one(_TAKE, (count,))
        assert row is not None
        return int(row[0]) - count + 1

    def used(self, seq: int) -> None:
        """Never give *seq* again, nor one below it, although its record is about to be deleted."""
        self.execute("UPDATE @counter SET last = ?1 WHERE last < ?1", (seq,))


class _ReadingTogether:
    """``Database.reading``. No generator: one that is interrupted on its way in would end whatever
    transaction there is when it is collected."""

    __slots__ = ("database",)

    def __init__(self, database: Database) -> None:
        self.database = database

    def __enter__(self) -> Reading:
        try:
            connection = self.database.connection()
            connection.execute("BEGIN")
            schema.check(connection, self.database.shown)
            return Reading(self.database, connection)
        except apsw.Error as error:
            raise self.database.described(error) from error
        except StoreVersionError:
            self.database.abandon()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.database.abandon()
        if isinstance(error, apsw.Error):
            raise self.database.described(error) from error


class _Writing:
    """``Database.write``, by hand: a generator's context manager costs each call several times as
    much."""

    __slots__ = ("database", "step")

    def __init__(self, database: Database) -> None:
        self.database = database

    def __enter__(self) -> Transaction:
        database = self.database
        try:
            connection = database.connection()
            database.check_file()
        except apsw.Error as error:
            raise database.described(error) from error
        try:
            connection.execute("BEGIN IMMEDIATE")
            schema.check(connection, database.shown)
            # Only now, as the lock may have been waited for: the step's moment is when it has it.
            self.step = Transaction(database, connection)
        except BaseException as error:
            # A signal's exception, say. Left open, the transaction would stop every later one.
            self._undo(connection, error)
            raise
        return self.step

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                self.step.connection.execute("COMMIT")
            except BaseException as problem:
                self._undo(self.step.connection, problem)
                raise
            self.database.committed(self.step)
        else:
            self._undo(self.step.connection, error)

    def _undo(self, connection: apsw.Connection, error: BaseException) -> None:
        """Roll back; raise SQLite's error as ours."""
        try:
            # A full disk may have rolled back already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except apsw.Error as problem:
            raise self.database.described(problem) from problem
        if isinstance(error, apsw.Error):
            raise self.database.described(error) from error


def build(path: str) -> None:
    """Make an empty file a WAL database. It is complete once this has returned."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.pragma("page_size", _PAGE)
        connection.pragma("journal_mode", "wal")
        connection.pragma("application_id", schema.APPLICATION_ID)
    except apsw.Error as error:
        raise described_error(error, path, 0.0, connection.system_errno) from error
    finally:
        connection.close()


class Database:
    """One database file, one namespace in it."""

    def __init__(self, path: Path, options: Options) -> None:
        self.path = path
        self.shown = str(path)
        self.options = options
        self.clock = options.clock
        self.boot = options.clock.boot_id()
        self.prefix = schema.prefix_of(options.keyprefix + options.namespace)
        #: Names as numbers and back; only what is committed.
        self.numbers: dict[str, int] = {}
        self._texts: dict[int, str] = {}
        self.told: Told | None = None
        #: An owner was registered through this object: connections from now on are a worker's.
        self.serves_worker = False
        #: Called after a commit that left part of a large workflow step for later.
        self.work_off: Callable[[], None] | None = None
        self._expanded: dict[str, str] = {}
        self._slot = _Slot()
        self._identity: tuple[int, int] | None = None
        with self._translated():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                found = schema.prepare(connection, self.shown, self.prefix)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        self._keep(connection)
        if found < schema.VERSION:
            crashpoint("migrate.applied")
            _log.warning(
                "%s was migrated from schema %d to %d. Older versions of Celeriac refuse it now.",
                path, found, schema.VERSION,
            )  # fmt: skip

    # -- statements

    def sql(self, text: str) -> str:
        """*text* with the namespace's table names put in."""
        expanded = self._expanded.get(text)
        if expanded is None:
            expanded = self._expanded[text] = schema.expand(text, self.prefix)
        return expanded

    def rows(self, text: str, values: Sequence[Any] = ()) -> list[Row]:
        """Read by one statement, which sees one state of the store."""
        with self._translated():
            return Reading(self, self.connection()).rows(text, values)

    def row(self, text: str, values: Sequence[Any] = ()) -> Row | None:
        """Read one row."""
        with self._translated():
            return Reading(self, self.connection()).one(text, values)

    def reading(self) -> AbstractContextManager[Reading]:
        """Several reads that see one state of the store."""
        return _ReadingTogether(self)

    def abandon(self) -> None:
        """Roll back what this thread has left open, if anything; see ``whole.py``."""
        slot = self._slot
        if slot.connection is not None and slot.pid == os.getpid():
            with self._translated():
                if slot.connection.in_transaction:
                    slot.connection.execute("ROLLBACK")

    def write(self) -> AbstractContextManager[Transaction]:
        """One durable step: all of it or, if anything raises, nothing."""
        return _Writing(self)

    def write_one(self, text: str, values: Sequence[Any]) -> bool:
        """One statement as a durable step; whether it changed anything. It has to change nothing
        if the file's version is not ``schema.VERSION``.

        SQLite makes it a transaction by itself, which saves the two statements around it.
        """
        try:
            self.check_file()
            connection = self.connection()
            connection.execute(self.sql(text), values)
        except apsw.Error as error:
            raise self.described(error) from error
        return connection.changes() > 0

    def committed(self, transaction: Transaction) -> None:
        """Keep and tell what a transaction did."""
        if transaction.fresh:
            self.numbers.update(transaction.fresh)
            self._texts.update({number: text for text, number in transaction.fresh.items()})
        if self.told is not None and (
            transaction.rung or transaction.ended or transaction.summoned
        ):
            self.told.after_commit(transaction)
        if transaction.leftover and self.work_off is not None:
            self.work_off()

    def version(self) -> int:
        """A number that changes when another connection has committed."""
        with self._translated():
            # Not Connection.data_version(): that asks the pager, which looks at the file only when
            # something is read.
            return int(str(self.connection().pragma("data_version")))

    # -- names

    def text(self, number: int) -> str:
        """The name behind a number."""
        text = self._texts.get(number)
        if text is None:
            row = self.row("SELECT text FROM @name WHERE number = ?", (number,))
            if row is None:
                raise StoreError(f"{self.path} is damaged: there is no name number {number}.")
            text = str(row[0])
            self._learn(text, number)
        return text

    def known_number(self, text: str) -> int | None:
        """The number of a name, or None if no record ever had it. Gives no numbers."""
        number = self.numbers.get(text)
        if number is None:
            row = self.row("SELECT number FROM @name WHERE text = ?", (text,))
            if row is None:
                return None
            number = int(row[0])
            self._learn(text, number)
        return number

    def _learn(self, text: str, number: int) -> None:
        # Inside a write transaction it may be this transaction's own and be rolled back.
        if not self.connection().in_transaction:
            self.numbers[text] = number
            self._texts[number] = text

    # -- connections

    def connection(self) -> apsw.Connection:
        """This thread's connection, opened if need be."""
        slot = self._slot
        if slot.connection is None or slot.pid != os.getpid():
            if slot.closer is not None:
                # Ours by inheritance: keep it for ever, unused and unclosed.
                _kept.add(slot.closer.connection)
            with self._translated():
                connection = self._open()
                schema.check(connection, self.shown)
            self._keep(connection)
            return connection
        return slot.connection

    def _keep(self, connection: apsw.Connection) -> None:
        slot = self._slot
        slot.connection = connection
        slot.pid = os.getpid()
        slot.closer = _Closer(connection)
        _kept.add(connection)

    def _open(self) -> apsw.Connection:
        self.check_file()
        connection = apsw.Connection(
            str(self.path), flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=256
        )
        connection.set_busy_handler(Patience(self.options.timeout))
        mode = connection.pragma("journal_mode", "wal")
        if mode != "wal":
            raise OperationalError(
                f"SQLite cannot keep a write-ahead log beside {self.path} (it answered "
                f'"{mode}"): the file system lacks shared memory or locks. Use a local disk.'
            )
        connection.pragma(
            "synchronous", "normal" if self.options.durability == "relaxed" else "full"
        )
        connection.wal_autocheckpoint(
            _CHECKPOINT_WORKER if self.serves_worker else _CHECKPOINT_CLIENT
        )
        connection.pragma("cache_size", -8000)
        connection.pragma("temp_store", "memory")
        connection.pragma("journal_size_limit", _WAL_KEPT)
        return connection

    # -- care

    def check_file(self) -> None:
        """Raise if the file is gone or was replaced: writes would go to nobody's file."""
        try:
            entry = os.stat(self.shown)  # noqa: PTH116 - each write calls this; Path costs double
        except OSError as error:
            raise OperationalError(
                f"The database {self.path} is gone ({error.strerror}). What was stored in it is "
                "lost; put the file back or restart workers and clients to begin a new one."
            ) from None
        identity = (entry.st_dev, entry.st_ino)
        if self._identity is None:
            self._identity = identity
        elif identity != self._identity:
            raise OperationalError(
                f"The database {self.path} was replaced by another file while this process used "
                "it. Restart this process to use the new file."
            )

    def checkpoint(self) -> bool:
        """Write the log back into the database, as far as that blocks nobody. For idle moments.

        True if all of it is written back: the next commit then begins the log anew. The log is not
        cut (see ``_WAL_KEPT``); what it holds beyond that, SQLite cuts when it begins anew.
        """
        try:
            pages, written = self.connection().wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            # Busy: somebody else does it. Anything else (a full disk, say) harms nobody here and is
            # told by the next write.
            _log.debug("checkpoint of %s put off: %s", self.path, error)
            return False
        return bool(pages == written)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn SQLite's errors into ours, with the file and what to do."""
        try:
            yield
        except apsw.Error as error:
            raise self.described(error) from error

    def described(self, error: apsw.Error) -> Exception:
        """An error of this thread's connection as ours."""
        connection = self._slot.connection
        if connection is not None and isinstance(error, apsw.SQLError):
            try:
                # Most likely the tables are no longer those that we know.
                schema.check(connection, self.shown)
            except StoreVersionError as outdated:
                return outdated
        number = connection.system_errno if connection is not None else 0
        return described_error(error, self.path, self.options.timeout, number)
