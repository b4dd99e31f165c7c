"""Where a SQLite store may be, what its file is, and who may open it."""

import os
import stat
import sys
import traceback
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from celeriac.exceptions import (
    ImproperlyConfigured,
    OperationalError,
    StoreError,
    StoreVersionError,
)
from celeriac.message import Edges, Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.stores.sqlite import codes, location, schema
from celeriac.stores.sqlite.location import check_place, filesystem_of, locate
from celeriac.stores.sqlite.rows import encode_edges

NOBODY = 65534


def send(store, id="a"):
    store.queue.enqueue([compose(Header(id, "job", "n"), b"[[],{}]")])


def as_nobody(call):
    """Run *call* as a user who owns nothing, in a child if we are root; its error, or ""."""
    if os.geteuid() != 0:
        try:
            call()
        except ImproperlyConfigured as error:
            return str(error)
        return ""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            call()
            text = ""
        except ImproperlyConfigured as error:
            text = str(error)
        except BaseException:
            text = traceback.format_exc()
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return text


# -- URLs


def test_three_slashes_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("sqlite:///jobs.db") == tmp_path / "jobs.db"
    assert locate("sqlite:///sub/../my%20jobs.db") == tmp_path / "my jobs.db"


def test_four_slashes_are_absolute():
    assert locate("sqlite:////var/lib/jobs.db") == Path("/var/lib/jobs.db")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://", "sqlite:///relative.db"),
        ("sqlite:///", "sqlite:///relative.db"),
        ("sqlite://jobs.db", "sqlite:///relative.db"),
        ("sqlite:///jobs.db?timeout=3", "options"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///jobs%00.db", "names no file"),
        ("sqlite:////var/lib/", "names no file"),
    ],
)
def test_other_forms_are_refused_with_what_to_write(url, says):
    with pytest.raises(ImproperlyConfigured, match=says):
        locate(url)


# -- places


def test_a_new_file_is_for_its_owner_alone(tmp_path):
    old = os.umask(0)
    try:
        send(connect(f"sqlite:///{tmp_path}/jobs.db"))
    finally:
        os.umask(old)
    for name in ("jobs.db", "jobs.db-wal", "jobs.db-shm"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "jobs.db",
        "jobs.db-bells",
        "jobs.db-shm",
        "jobs.db-wal",
    ]
    assert stat.S_IMODE((tmp_path / "jobs.db-bells").stat().st_mode) == 0o700


def test_the_folder_of_bells_is_for_its_owner_alone(tmp_path):
    store = connect(f"sqlite:///{tmp_path}/jobs.db")
    store.queue.wait(["celery"], 0.0)
    for folder in (tmp_path / "jobs.db-bells", tmp_path / "jobs.db-bells" / "celeriac"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ImproperlyConfigured, match=r"missing.*No such file.*broker="):
        connect(f"sqlite:///{tmp_path}/missing/jobs.db")


def test_an_unwritable_folder_is_named_with_its_owner_and_the_line_to_write(tmp_path):
    folder = tmp_path / "shut"
    folder.mkdir(mode=0o555)
    for each in (tmp_path, *tmp_path.parents):
        if each != Path("/tmp") and each.stat().st_uid == os.geteuid() and "pytest" in str(each):
            each.chmod(0o755)  # so that nobody gets there at all
    text = as_nobody(lambda: check_place(folder / "jobs.db"))
    assert str(folder) in text
    assert "uid" in text
    assert "not writable" in text
    assert 'broker="sqlite:////' in text


def test_a_folder_for_everybody_is_refused(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(ImproperlyConfigured, match="writable for everybody"):
        check_place(shared / "jobs.db")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused_for_a_new_file(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    with pytest.raises(ImproperlyConfigured, match=rf"theirs belongs to .*uid {NOBODY}.*broker="):
        check_place(theirs / "jobs.db")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_symlink_to_a_file_of_somebody_else_is_refused(tmp_path):
    target = tmp_path / "target.db"
    target.touch()
    os.chown(target, NOBODY, NOBODY)
    (tmp_path / "jobs.db").symlink_to(target)
    with pytest.raises(ImproperlyConfigured, match=rf"symbolic link.*uid {NOBODY}"):
        check_place(tmp_path / "jobs.db")


def test_a_symlink_to_ones_own_file_is_followed(tmp_path):
    send(connect(f"sqlite:///{tmp_path}/target.db"))
    (tmp_path / "jobs.db").symlink_to(tmp_path / "target.db")
    store = connect(f"sqlite:///{tmp_path}/jobs.db")
    assert store.inspection.get(["a"])[0] is not None


def test_a_symlink_to_nowhere_is_refused(tmp_path):
    (tmp_path / "jobs.db").symlink_to(tmp_path / "gone.db")
    with pytest.raises(ImproperlyConfigured, match="leads nowhere"):
        check_place(tmp_path / "jobs.db")


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "jobs.db").mkdir()
    with pytest.raises(ImproperlyConfigured, match="not a file"):
        check_place(tmp_path / "jobs.db")


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "afs"])
def test_network_file_systems_are_refused_by_name(tmp_path, kind):
    with pytest.raises(ImproperlyConfigured, match=rf"network file system \({kind}\)"):
        check_place(tmp_path / "jobs.db", filesystem=lambda folder: kind)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's list of mounts")
def test_the_kernel_tells_the_type_of_a_file_system():
    assert filesystem_of(Path("/proc/self")) == "proc"


def test_of_the_mounts_the_innermost_and_latest_counts(tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    place = tmp_path / "my share"
    place.mkdir()
    escaped = str(place).replace(" ", "\\040")
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"2 1 0:5 / {escaped} rw shared:1 - ext4 /dev/sdb1 rw\n"
        f"3 1 0:6 / {escaped} rw - nfs4 server:/share rw\n"
        f"4 1 0:7 / {escaped}-other rw - tmpfs none rw\n"
    )
    monkeypatch.setattr(location, "_MOUNTS", mounts)
    assert filesystem_of(place) == "nfs4"
    assert filesystem_of(tmp_path) == "ext4"


# -- the file


def test_a_newer_schema_is_refused_and_both_versions_are_named(tmp_path):
    connect(f"sqlite:///{tmp_path}/jobs.db")
    file = apsw.Connection(str(tmp_path / "jobs.db"))
    file.pragma("user_version", schema.VERSION + 6)
    file.close()
    told = rf"schema version {schema.VERSION + 6}.*knows {schema.VERSION}\."
    with pytest.raises(StoreVersionError, match=told):
        connect(f"sqlite:///{tmp_path}/jobs.db")


def test_an_older_schema_is_migrated_step_by_step_for_all_namespaces(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/jobs.db"
    send(connect(url, Options(namespace="one")))
    send(connect(url, Options(namespace="two")))
    seen = []

    def migrate(connection, prefixes):
        seen.append(sorted(prefixes))
        for prefix in prefixes:
            connection.execute(f'ALTER TABLE "{prefix}record" ADD COLUMN extra INTEGER')

    newer = schema.VERSION + 1
    monkeypatch.setitem(schema.MIGRATIONS, schema.VERSION, migrate)
    monkeypatch.setattr(schema, "VERSION", newer)
    store = connect(url, Options(namespace="one"))
    assert seen == [["one.", "two."]]
    assert store.inspection.facts()["schema version"] == newer
    assert store.inspection.get(["a"])[0] is not None
    connect(url, Options(namespace="two"))
    assert len(seen) == 1


def test_a_file_of_schema_1_is_migrated_and_its_tasks_run(tmp_path):
    """Its tables as version 1 made them; messages lay in a table of their own."""
    path = tmp_path / "jobs.db"
    file = made_by(path, 1)
    message = compose(Header("old", "job", "n"), b"[[],{}]")
    file.execute("""INSERT INTO "celeriac.name" VALUES (1, 'job'), (2, 'celery')""")
    file.execute(
        """INSERT INTO "celeriac.record" (seq, state, special, id, task, queue, priority, place,
        send_nonce, enqueued_at) VALUES (1, 2, 0, 'old', 1, 2, 0, 1, 'n', 1.0)"""
    )
    file.execute('INSERT INTO "celeriac.message" VALUES (1, ?)', (message.encode(),))
    file.close()
    path.chmod(0o600)

    store = connect(f"sqlite:///{path}")
    assert store.inspection.facts()["schema version"] == schema.VERSION
    send(store, "new")
    store.queue.register("w", Manifest(tasks={"job": TaskFacts()}, hostname="here"))
    found = store.queue.exchange("w", 0, 1, [], [], ["celery"], Want(free=9)).deliveries
    assert [each.id for each in found] == ["old", "new"]
    assert found[0].wire == message.encode()
    done = [Commit(each.fence, Outcome("succeeded", body=b"1")) for each in found]
    store.queue.exchange("w", 0, 2, done, [], ["celery"], Want())
    assert [each.worker for each in store.inspection.get(["old", "new"])] == ["here", "here"]


def made_by(path, version):
    """A file as schema *version* made it, open."""
    file = apsw.Connection(str(path))
    file.pragma("journal_mode", "wal")
    file.pragma("application_id", schema.APPLICATION_ID)
    file.pragma("user_version", version)
    script = (Path(__file__).parent / "golden" / f"sqlite-schema-{version}.sql").read_text()
    file.execute(schema.expand(script, schema.prefix_of("celeriac")))
    return file


def columns(path):
    """Tables and indexes of a file, with the columns of each."""
    with closing(apsw.Connection(str(path))) as file:
        return {
            name: {
                (column, kind, needed, default)
                for _, column, kind, needed, default, _ in file.execute(
                    "SELECT * FROM pragma_table_info(?)", (name,)
                )
            }
            for (name,) in file.execute("SELECT name FROM sqlite_schema").fetchall()
        }


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_a_migrated_file_has_the_tables_of_a_new_one(tmp_path, version):
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    made_by(old, version).close()
    old.chmod(0o600)
    for path in (old, new):
        connect(f"sqlite:///{path}").inspection.facts()
    assert columns(old) == columns(new)


def test_a_workflow_of_schema_2_goes_on(tmp_path):
    """One member of two is in, and of an errback that is not needed what follows is to be ended."""
    path = tmp_path / "jobs.db"
    file = made_by(path, 2)
    file.execute("""INSERT INTO "celeriac.name" VALUES (1, 'job'), (2, 'celery')""")
    for seq, (id, state, edges) in enumerate(
        [
            ("m0", codes.SUCCEEDED, Edges(join=("J", 0))),
            ("m1", codes.QUEUED, Edges(join=("J", 1))),
            ("body", codes.WAITING, Edges(waits=True, gathers="J")),
            ("e", codes.IGNORED, Edges(waits=True, success=("f",))),
            ("f", codes.WAITING, Edges(waits=True)),
        ],
        1,
    ):
        wire = compose(Header(id, "job", "n", edges=edges), b"[[],{}]").encode()
        file.execute(
            """INSERT INTO "celeriac.record" (seq, state, special, id, task, queue, priority,
            place, send_nonce, enqueued_at, wire) VALUES (?, ?, 1, ?, 1, 2, 0, ?, 'n', 1.0, ?)""",
            (seq, state, id, seq, wire),
        )
        file.execute('INSERT INTO "celeriac.edges" VALUES (?, ?)', (seq, encode_edges(edges)))
    file.execute(
        """INSERT INTO "celeriac.chord" (id, body, size, count, touched, boot)
        VALUES ('J', 'body', 2, 1, 0.0, '')"""
    )
    file.execute("""INSERT INTO "celeriac.member" VALUES ('J', 0, 'm0', 1)""")
    file.execute("""INSERT INTO "celeriac.pending" VALUES ('e', 'ignored', 'a', 1, 1)""")
    file.close()
    path.chmod(0o600)

    store = connect(f"sqlite:///{path}")
    store.queue.reap()
    assert store.inspection.get(["f"])[0].state == "ignored"
    store.queue.register("w", Manifest(tasks={"job": TaskFacts()}, hostname="here"))
    (found,) = store.queue.exchange("w", 0, 1, [], [], ["celery"], Want(free=9)).deliveries
    done = [Commit(found.fence, Outcome("succeeded", body=b"1"))]
    (found,) = store.queue.exchange("w", 0, 2, done, [], ["celery"], Want(free=9)).deliveries
    assert found.id == "body"
    assert store.inspection.join("J").size == 2


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/jobs.db"
    send(connect(url))

    def migrate(connection, prefixes):
        connection.execute(f'DROP TABLE "{prefixes[0]}message"')
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setitem(schema.MIGRATIONS, schema.VERSION, migrate)
        patch.setattr(schema, "VERSION", schema.VERSION + 1)
        with pytest.raises(RuntimeError, match="broken"):
            connect(url)
    assert connect(url).inspection.get(["a"])[0].wire is not None


def test_a_database_of_another_program_is_left_alone(tmp_path):
    file = apsw.Connection(str(tmp_path / "jobs.db"))
    file.execute("CREATE TABLE theirs (a)")
    file.close()
    with pytest.raises(StoreError, match="another program"):
        connect(f"sqlite:///{tmp_path}/jobs.db")


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "jobs.db").write_bytes(b"these are not the pages of a database" * 50)
    with pytest.raises(StoreError, match=r"jobs\.db is not a sound SQLite database"):
        connect(f"sqlite:///{tmp_path}/jobs.db")


def test_an_empty_file_becomes_a_store(tmp_path):
    (tmp_path / "jobs.db").touch()
    store = connect(f"sqlite:///{tmp_path}/jobs.db")
    send(store)
    assert store.inspection.facts()["journal mode"] == "wal"


def test_namespaces_of_one_file_know_nothing_of_each_other(tmp_path):
    url = f"sqlite:///{tmp_path}/jobs.db"
    small, large = connect(url, Options(namespace="shop")), connect(url, Options(namespace="SHOP"))
    send(small)
    assert large.inspection.get(["a"]) == [None]
    assert connect(url, Options(namespace="op", keyprefix="sh")).inspection.get(["a"])[0]


def test_prefixes_differ_where_namespaces_do():
    names = ["a", "A", "a.b", "a_b", "a-b", "a:b", "a/b", "$61$", "61"]
    legal = [name for name in names if "$" not in name]
    assert len({schema.prefix_of(name).lower() for name in legal}) == len(legal)
    with pytest.raises(ImproperlyConfigured, match="namespace"):
        schema.prefix_of('a"; DROP TABLE x; --')
    with pytest.raises(ImproperlyConfigured, match="namespace"):
        schema.prefix_of("")


def test_an_unknown_durability_is_refused(tmp_path):
    with pytest.raises(ImproperlyConfigured, match="durability 'fast'"):
        connect(f"sqlite:///{tmp_path}/jobs.db", Options(durability="fast"))


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("relaxed", 1)])
def test_the_durability_that_is_told_is_the_one_in_force(tmp_path, durability, level):
    store = connect(f"sqlite:///{tmp_path}/jobs.db", Options(durability=durability))
    connection = store.queue._database.connection()
    assert connection.pragma("synchronous") == level
    assert connection.pragma("journal_mode") == "wal"
    assert store.capabilities.survives_power_loss is (durability == "full")
    assert store.inspection.facts()["durability"] == store.capabilities.durability


def test_the_library_is_one_without_the_wal_reset_bug():
    version = tuple(map(int, apsw.sqlite_lib_version().split(".")))
    assert version >= (3, 51, 3)


def test_a_deleted_file_is_noticed_at_the_next_write(tmp_path):
    store = connect(f"sqlite:///{tmp_path}/jobs.db")
    (tmp_path / "jobs.db").unlink()
    with pytest.raises(OperationalError, match=r"jobs\.db is gone"):
        store.queue.beat("w1")
    with pytest.raises(OperationalError, match=r"jobs\.db is gone"):
        send(store)


def test_a_replaced_file_is_noticed_at_the_next_write(tmp_path):
    store = connect(f"sqlite:///{tmp_path}/jobs.db")
    connect(f"sqlite:///{tmp_path}/other.db")
    (tmp_path / "other.db").replace(tmp_path / "jobs.db")
    with pytest.raises(OperationalError, match="was replaced by another file"):
        store.queue.beat("w1")


def test_a_missing_folder_is_told_with_what_to_do_once(tmp_path):
    with pytest.raises(ImproperlyConfigured) as caught:
        check_place(tmp_path / "none" / "jobs.db")
    text = str(caught.value)
    assert "No such file or directory. Create it, or name another place: Celeriac(" in text
    assert text.lower().count("name another place") == 1


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sqlite", "'sqlite' is no URL; write sqlite:///jobs.db."),
        ("jobs/a.db", "'jobs/a.db' is no URL; write sqlite:///jobs/a.db."),
        ("/var/a.db", "'/var/a.db' is no URL; write sqlite:////var/a.db."),
        ("memory", "'memory' is no URL; write memory://."),
        ("", "'' is no URL; write sqlite:///jobs.db."),
        ("amqp", "RabbitMQ is not in this version"),
        ("sqlit:///a.db", "Did you mean sqlite://?"),
    ],
)
def test_what_is_no_url_is_told_with_the_url_that_was_meant(url, text):
    with pytest.raises(ImproperlyConfigured) as caught:
        connect(url)
    assert text in str(caught.value)
