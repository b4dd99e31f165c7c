"""What can be wrong with a Redis, on real servers: each with its own message, none with a secret,
all within the budget."""

import pytest
import servers
from servers import LOOPBACK, free_ports, server
from wires import speaking, swallowing

from celeriac import stores
from celeriac.clock import SYSTEM
from celeriac.exceptions import ImproperlyConfigured, OperationalError, StoreFull
from celeriac.stores.base import Options
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.link import Link
from celeriac.stores.redis.location import locate
from celeriac.stores.redis.script import Script
from celeriac.testing.conformance import message

WRITE = Script.of("write", "return redis.call('SET', KEYS[1] .. ARGV[1], ARGV[2])")
DRAIN = Script.of("drain", "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1] .. 'd', 1)")
#: Seconds. A busy machine needs them for what takes milliseconds elsewhere.
BUDGET = 3.0


def problem(url, error=OperationalError, timeout=BUDGET, call=("PING",)):
    """The text of the error, which comes within the budget."""
    began = SYSTEM.monotonic()
    with pytest.raises(error) as caught:
        Connection(locate(url), Options(namespace="n", timeout=timeout)).call(*call)
    took = SYSTEM.monotonic() - began
    assert took < timeout + 8, f"{took:.1f} s"
    text = str(caught.value)
    assert "hunter2" not in text
    # Nor in what a traceback would show beside it.
    assert caught.value.__cause__ is None
    return text


@pytest.fixture(scope="module")
def here():
    with server() as made:
        yield made


@pytest.fixture(scope="module")
def locked():
    with server(requirepass="hunter2") as made:
        yield made


# -- nobody, or nobody who answers ---------------------------------------------------------------


def test_nobody_listens():
    (port,) = free_ports(1)
    text = problem(f"redis://:hunter2@{LOOPBACK}:{port}")
    assert text.startswith(f"Cannot connect to {LOOPBACK}:{port}: connection refused.")
    assert "firewall" in text


def test_a_name_that_is_not_known():
    assert "is not known here" in problem("redis://:hunter2@no-such-host.invalid")


def test_a_firewall_that_drops():
    with swallowing() as port:
        text = problem(f"redis://{LOOPBACK}:{port}")
    assert f"Cannot connect to {LOOPBACK}:{port}: no answer in time" in text


def test_one_that_takes_the_connection_and_says_nothing():
    with speaking() as port:
        assert "does not answer in time" in problem(f"redis://{LOOPBACK}:{port}")


def test_one_that_hangs_up():
    with speaking(hang_up=True) as port:
        assert "broke off" in problem(f"redis://{LOOPBACK}:{port}")


@pytest.mark.parametrize(
    "says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00"]
)
def test_one_that_is_no_redis(says):
    with speaking(says, hang_up=True) as port:
        text = problem(f"redis://:hunter2@{LOOPBACK}:{port}")
    assert f"What answers at {LOOPBACK}:{port} is no Redis" in text


def test_tls_to_a_port_without(here):
    text = problem(f"rediss://{LOOPBACK}:{here.port}")
    assert "does not speak TLS: write redis://" in text


# -- who we are ----------------------------------------------------------------------------------


def test_a_wrong_password(locked):
    text = problem(f"redis://:hunter2x@{LOOPBACK}:{locked.port}")
    assert "refuses the password of the default user" in text
    assert "%40" in text


def test_a_wrong_user(locked):
    text = problem(f"redis://nobody:hunter2@{LOOPBACK}:{locked.port}")
    assert "refuses the password of user 'nobody'" in text


def test_no_password(locked):
    assert "wants a password and none is given" in problem(f"redis://{LOOPBACK}:{locked.port}")


def test_a_password_for_a_server_that_has_none(here):
    text = problem(f"redis://:hunter2@{LOOPBACK}:{here.port}")
    assert "a password is given and the server has none set" in text


def test_the_right_one_is_never_shown(locked):
    connection = Connection(locate(f"redis://:hunter2@{LOOPBACK}:{locked.port}"), Options())
    assert connection.call("PING") == b"PONG"
    link = connection.link()
    for each in (connection, connection.location, link, link.__dict__, vars(connection)):
        assert "hunter2" not in repr(each)
    link.close()
    with pytest.raises(OperationalError) as caught:
        connection.call("NOSUCH", "hunter2")
    assert "unknown command" in str(caught.value)


# -- the wrong server ----------------------------------------------------------------------------


def test_a_wrong_database(here):
    text = problem(f"redis://{LOOPBACK}:{here.port}/99", ImproperlyConfigured)
    assert "no database 99" in text
    assert "16 by default" in text


def test_a_sentinel_named_as_a_server(tmp_path):
    with servers.watched(sentinels=1) as group:
        port = group.sentinels[0].port
        text = problem(f"redis://{LOOPBACK}:{port}", ImproperlyConfigured)
        assert f"write sentinel://{LOOPBACK}:{port}/0?master_name=" in text
        text = problem(f"sentinel://{LOOPBACK}:{group.primary.port}/0?master_name=mymaster")
        assert "no sentinel leads to the primary 'mymaster'" in text
        text = problem(f"sentinel://{LOOPBACK}:{port}/0?master_name=other")
        assert "knows no 'other'" in text
        text = problem(f"redis://{LOOPBACK}:{group.replica.port}", call=("SET", "{n}:a", "b"))
        assert "is a replica and cannot be written to" in text


def test_a_server_that_is_too_old(here, monkeypatch):
    monkeypatch.setattr("celeriac.stores.redis.link.OLDEST", (99, 0))
    text = problem(here.url, ImproperlyConfigured)
    assert "is Redis 7." in text
    assert "needs Redis 6.2 or later" in text


def without(*commands):
    """Directives by which a server does not know *commands*, as one of version 5 has no HELLO."""
    return {f"rename-command {command}": "" for command in commands}


def test_a_server_so_old_that_it_does_not_tell_its_version_when_greeted(monkeypatch):
    monkeypatch.setattr("celeriac.stores.redis.link.OLDEST", (99, 0))
    with server("redis-6.2", **without("HELLO")) as made:
        text = problem(made.url, ImproperlyConfigured)
    assert "is Redis 6.2.14; Celeriac needs Redis 6.2 or later" in text
    with server("valkey", **without("HELLO")) as made:
        assert "is Valkey 9." in problem(made.url, ImproperlyConfigured)


@pytest.mark.parametrize("kind", ["redis", "redis-6.2"])
def test_a_server_that_never_tells_its_version_is_tried_out(kind):
    """Whether its scripts take flags is found out; a proxy may hide both commands."""
    with server(kind, **without("HELLO", "INFO")) as made:
        store = stores.connect(made.url, Options(timeout=BUDGET))
        store.queue.enqueue([message("a")])
        assert store.queue.reap().owners == ()
        assert store.inspection.get(["a"])[0].state == "queued"


# -- not now -------------------------------------------------------------------------------------


def test_a_server_that_is_loading():
    slow = {"loading_process_events_interval_bytes": "1024", "rdbcompression": "no"}
    with server(key_load_delay="0", **slow) as made:
        with made.connect() as client:
            for number in range(300):
                client.set(f"k{number}", "x" * 2000)
            client.save()
        made.stop()
        # 20 ms for each of 300 keys.
        config = made.folder / "server.conf"
        config.write_text(config.read_text().replace("key-load-delay 0", "key-load-delay 20000"))
        made.spawn()
        servers.until("it listens", lambda: _listens(made.port))
        assert "still loads its data" in problem(made.url, timeout=2.0)
        # With time enough the same call waits for it.
        connection = Connection(locate(made.url), Options(namespace="n", timeout=60.0))
        assert connection.call("PING") == b"PONG"


def _listens(port):
    import socket

    try:
        socket.create_connection((LOOPBACK, port), 1).close()
    except OSError:
        return False
    return True


def test_memory_that_is_full_refuses_what_is_sent_and_lets_workers_drain(here):
    here.do("CONFIG", "SET", "maxmemory", "1")
    connection = Connection(locate(here.url), Options(namespace="full", timeout=BUDGET))
    try:
        with pytest.raises(StoreFull, match="has no room: nothing was stored"):
            connection.run(WRITE, "a", "x" * 1000)
        assert connection.run(DRAIN) == b"OK"
    finally:
        here.do("CONFIG", "SET", "maxmemory", "0")
    assert connection.run(WRITE, "a", "x") == b"OK"


def test_a_disk_that_is_full_refuses_what_is_sent():
    with servers.folder() as place:
        target = place / "gone"
        target.mkdir()
        with server(save="3600 1", dir=str(target), enable_protected_configs="yes") as made:
            made.do("SET", "x", "y")
            target.rmdir()
            made.do("BGSAVE")

            def failed():
                with made.connect() as client:
                    return client.info("persistence")["rdb_last_bgsave_status"] == "err"

            servers.until("the snapshot has failed", failed)
            connection = Connection(locate(made.url), Options(namespace="n", timeout=BUDGET))
            with pytest.raises(StoreFull, match="cannot write to its disk"):
                connection.run(WRITE, "a", "x")
            made.do("CONFIG", "SET", "dir", str(place))
            made.do("BGSAVE")
            servers.until("a snapshot is made", lambda: not failed())
            assert connection.run(WRITE, "a", "x") == b"OK"


def test_too_many_clients(here):
    connection = Connection(locate(here.url), Options(namespace="n", timeout=BUDGET))
    connection.call("CONFIG", "SET", "maxclients", "4")
    others: list[Link] = []

    def fill():
        while len(others) < 10:
            others.append(connection.link())

    try:
        with pytest.raises(OperationalError, match="maxclients"):
            fill()
    finally:
        connection.call("CONFIG", "SET", "maxclients", "10000")
        for each in others:
            each.close()


def test_too_few_good_replicas(here):
    here.do("CONFIG", "SET", "min-replicas-to-write", "1")
    try:
        connection = Connection(locate(here.url), Options(namespace="n", timeout=BUDGET))
        with pytest.raises(OperationalError, match="fewer good replicas"):
            connection.run(WRITE, "a", "x")
    finally:
        here.do("CONFIG", "SET", "min-replicas-to-write", "0")


def test_a_node_of_a_cluster_named_as_a_server():
    with servers.cluster() as whole:
        key = "{n}:schema"
        others = [each for each in whole.nodes if each is not whole.owner_of(key)]
        text = problem(others[0].url, ImproperlyConfigured)
        assert "write redis+cluster://" in text
