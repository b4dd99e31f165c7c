"""Reaching a real Redis or Valkey: every way a URL can name it, and calls within a budget."""

import os
import signal
import threading
import time

import msgspec
import pytest
import servers
from servers import LOOPBACK, server, until
from wires import Proxy

from celeriac import stores
from celeriac.clock import SYSTEM
from celeriac.exceptions import OperationalError, StoreError
from celeriac.message import Header, compose
from celeriac.stores.base import Options
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.link import BROKEN, pack
from celeriac.stores.redis.location import locate
from celeriac.stores.redis.script import Script
from celeriac.stores.redis.troubles import ScriptError

ECHO = Script.of("echo", "return {KEYS[1], ARGV[1]}")
COUNT = Script.of("count", "return redis.call('INCR', KEYS[1] .. 'n')")


def connect(url, namespace="n", **options):
    given = {"namespace": namespace, "timeout": 5.0, **options}
    return Connection(locate(url), Options(**given))


@pytest.fixture(scope="module", params=["redis", "valkey"])
def here(request):
    with server(request.param) as made:
        yield made


@pytest.fixture
def empty(here):
    here.do("FLUSHALL")
    return here


# -- scripts and commands ------------------------------------------------------------------------


def test_a_script_gets_the_prefix_and_its_arguments(empty):
    connection = connect(empty.url, keyprefix="app-")
    assert connection.prefix == b"app-{n}:"
    for argument in ("text", b"\xff\x00", 7):
        sent = argument if isinstance(argument, bytes) else str(argument).encode()
        assert connection.run(ECHO, argument) == [b"app-{n}:", sent]


def test_a_script_the_server_does_not_know_is_sent_whole(empty):
    connection = connect(empty.url)
    assert connection.run(COUNT) == 1
    empty.do("SCRIPT", "FLUSH")
    assert connection.run(COUNT) == 2
    empty.do("SCRIPT", "FLUSH")
    assert connection.pipeline([(COUNT,), ("PING",), (COUNT,)]) == [3, b"PONG", 4]


def test_what_a_script_refuses_comes_with_its_kind(empty):
    connection = connect(empty.url)
    no = Script.of("no", "return redis.error_reply('DUPLICATE ' .. ARGV[1])")
    with pytest.raises(ScriptError) as caught:
        connection.run(no, "a b")
    assert (caught.value.kind, caught.value.text) == ("DUPLICATE", "a b")
    empty.do("SCRIPT", "FLUSH")  # so that those behind the refusal have to be sent once more
    with pytest.raises(ScriptError):
        connection.pipeline([("PING",), (no, "x"), (COUNT,)])
    # All were run, and the link is as good as before.
    assert connection.run(COUNT) == 2


def test_a_script_that_fails_is_told_by_name(empty):
    connection = connect(empty.url)
    with pytest.raises(StoreError, match="refused broken: ERR"):
        connection.run(Script.of("broken", "return nil + 1"))
    assert connection.call("PING") == b"PONG"


def test_foreign_keys_under_our_names(empty):
    empty.do("LPUSH", "{n}:n", "x")
    with pytest.raises(StoreError, match="another program writes under the names of Celeriac"):
        connect(empty.url).run(Script.of("get", "return redis.call('GET', KEYS[1] .. 'n')"))


# -- the schema's version ------------------------------------------------------------------------


def test_the_schema_is_noted_once(empty):
    connect(empty.url).call("PING")
    assert empty.do("GET", "{n}:schema") == b"2"
    assert connect(empty.url).call("PING") == b"PONG"


def test_an_older_schema_is_raised_so_that_older_versions_are_refused(empty):
    empty.do("SET", "{n}:schema", "1")
    connect(empty.url).call("PING")
    assert empty.do("GET", "{n}:schema") == b"2"


def test_a_server_that_was_emptied_and_used_by_an_older_version_is_migrated(empty):
    """Whoever was there before notices with the next script, not with the next connection."""
    store = stores.connect(empty.url, Options(namespace="n"))
    store.queue.enqueue([compose(Header("a", "job", "n"), b"[[],{}]")])
    empty.do("SET", "{n}:schema", "1")
    store.queue.enqueue([compose(Header("b", "job", "n"), b"[[],{}]")])
    assert empty.do("GET", "{n}:schema") == b"2"
    assert [each.id for each in store.inspection.get(["a", "b"])] == ["a", "b"]
    # Where nobody is left to say it, whoever writes first does.
    empty.do("FLUSHALL")
    assert store.inspection.get(["a"]) == [None]
    assert empty.do("EXISTS", "{n}:schema") == 0
    store.queue.enqueue([compose(Header("a", "job", "n"), b"[[],{}]")])
    assert empty.do("GET", "{n}:schema") == b"2"


def test_a_replica_cannot_be_migrated_and_says_so():
    with server("redis") as primary, server("redis") as replica:
        primary.do("SET", "{n}:schema", "1")
        replica.do("REPLICAOF", LOOPBACK, primary.port)
        until("it has the key", lambda: replica.do("GET", "{n}:schema") == b"1")
        with pytest.raises(OperationalError, match="is a replica and cannot be written to"):
            connect(replica.url, timeout=4.0).call("PING")
        assert primary.do("GET", "{n}:schema") == b"1"


def test_a_newer_schema_is_refused(empty):
    from celeriac.exceptions import StoreVersionError

    empty.do("SET", "{n}:schema", "3")
    with pytest.raises(StoreVersionError, match="later version of Celeriac"):
        connect(empty.url).call("PING")


@pytest.mark.parametrize("make", [("SET", "{n}:schema", "mine"), ("LPUSH", "{n}:schema", "1")])
def test_a_foreign_schema_key_is_refused(empty, make):
    empty.do(*make)
    with pytest.raises(StoreError, match="another database") as caught:
        connect(empty.url).call("PING")
    assert "set namespace or global_keyprefix" in str(caught.value)


def test_namespaces_and_databases_are_apart(empty):
    one, two = connect(empty.url, "one"), connect(empty.url, "two")
    other = connect(empty.url.replace("/0", "/3"), "one")
    assert [each.run(COUNT) for each in (one, two, other, one)] == [1, 1, 1, 2]


# -- ways to name it -----------------------------------------------------------------------------


def test_the_server_says_what_it_is(here):
    found = connect(here.url).server()
    assert found.name in {"redis", "valkey"}
    assert found.version[:2] >= (7, 0)
    assert (found.mode, found.role) == ("standalone", "master")


def test_connections_have_a_name(here):
    connection = connect(here.url)
    connection.call("PING")
    assert b"name=celeriac" in here.do("CLIENT", "LIST")


@pytest.mark.parametrize("scheme", ["redis+socket", "unix"])
def test_unix_sockets(scheme):
    with servers.folder() as place:
        with server(unixsocket=str(place / "s")):
            url = f"{scheme}://{place / 's'}?db=2"
            assert connect(url).run(COUNT) == 1
            assert connect(url).where() == str(place / "s")
        with pytest.raises(OperationalError, match="Nobody answers at the socket"):
            connect(url).call("PING")


PASSWORD = "p@ss/w#rd?%:;é"
QUOTED = "p%40ss%2Fw%23rd%3F%25%3A%3B%C3%A9"


def test_passwords_with_special_characters():
    with server() as made:
        made.do("CONFIG", "SET", "requirepass", PASSWORD)
        host = f"{LOOPBACK}:{made.port}"
        assert connect(f"redis://:{QUOTED}@{host}/1").call("PING") == b"PONG"
        assert connect(f"redis://default:{QUOTED}@{host}").call("PING") == b"PONG"


def test_acl_users(empty):
    empty.do("ACL", "SETUSER", "worker", "on", f">{PASSWORD}", "~{n}:*", "&{n}:*", "+@all")
    url = f"redis://worker:{QUOTED}@{LOOPBACK}:{empty.port}"
    try:
        assert connect(url).run(COUNT) == 1
        with pytest.raises(OperationalError, match="user 'worker' may not do") as caught:
            connect(url, "other").call("PING")
        assert "NOPERM" in str(caught.value)
        empty.do("ACL", "SETUSER", "worker", "-evalsha", "-eval")
        with pytest.raises(OperationalError, match="evalsha"):
            connect(url).run(COUNT)
        assert PASSWORD not in str(caught.value)
        assert QUOTED not in str(caught.value)
    finally:
        empty.do("ACL", "DELUSER", "worker")


def test_an_acl_may_leave_out_what_we_can_do_without(empty):
    """CLIENT SETNAME is a nicety."""
    empty.do(
        "ACL", "SETUSER", "few", "on", ">pw", "~{n}:*", "-@all", "+get", "+set", "+incr",
        "+evalsha", "+eval",
    )  # fmt: skip
    try:
        connection = connect(f"redis://few:pw@{LOOPBACK}:{empty.port}")
        assert connection.run(COUNT) == 1
    finally:
        empty.do("ACL", "DELUSER", "few")


# -- links ---------------------------------------------------------------------------------------


def links(of):
    listed = of.do("CLIENT", "LIST", "TYPE", "NORMAL").splitlines()
    return {line.split()[0] for line in listed if b"name=celeriac" in line}


def clients(of):
    return len(links(of))


def test_as_many_links_as_calls_in_flight(empty):
    empty.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # those of earlier tests
    until("earlier ones are gone", lambda: clients(empty) == 0)
    connection = connect(empty.url)
    for _ in range(50):
        connection.run(COUNT)
    assert clients(empty) == 1
    start = threading.Barrier(5)

    def many():
        start.wait(60)
        for _ in range(200):
            connection.run(COUNT)

    threads = [threading.Thread(target=many) for _ in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert empty.do("GET", "{n}:n") == b"1050"
    assert 1 <= clients(empty) <= 5
    connection.close()
    until("they are closed", lambda: clients(empty) == 0)


def test_links_that_the_server_has_closed_are_replaced_unnoticed(empty):
    connection = connect(empty.url)
    connection.run(COUNT)
    empty.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert connection.run(COUNT) == 2
    assert connection.pipeline([("PING",)]) == [b"PONG"]


def test_a_forked_child_has_links_of_its_own_and_leaves_the_parents(empty):
    connection = connect(empty.url)
    connection.run(COUNT)
    # Among them may be links of earlier tests.
    before = links(empty)
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = b"%d" % connection.run(COUNT)
            connection.close()
        except BaseException as error:
            said = repr(error).encode()
        os.write(writable, said)
        os._exit(0)
    os.close(writable)
    os.waitpid(pid, 0)
    with os.fdopen(readable, "rb") as pipe:
        assert pipe.read() == b"2"
    assert connection.run(COUNT) == 3
    # The server hears of a closed link when it next looks; the parent goes on with the one it had.
    until("the child's is gone", lambda: links(empty) <= before)
    connection.close()


class Interrupted(BaseException):
    """As a soft time limit or a signal's handler raises it."""


def test_a_call_that_is_interrupted_leaves_no_answer_behind(empty):
    """The answer would be taken for the next call's."""
    connection = connect(empty.url)
    connection.run(COUNT)
    empty.pause()
    handler = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(Interrupted()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Interrupted):
            connection.run(ECHO, "stale")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        empty.resume()
    assert connection.run(ECHO, "fresh") == [b"{n}:", b"fresh"]


# -- the budget ----------------------------------------------------------------------------------


def test_a_reply_that_is_lost_is_asked_for_once_more(empty):
    """What is sent can be repeated: it was applied twice, and told of once."""
    with Proxy(empty.port) as proxy:
        connection = connect(f"redis://{LOOPBACK}:{proxy.port}")
        connection.run(COUNT)
        proxy.answers_left = 0
        assert connection.run(COUNT) == 3
        proxy.answers_left = 2
        assert connection.run(COUNT) == 5


def test_a_server_that_falls_silent_costs_no_more_than_the_budget(empty):
    with Proxy(empty.port) as proxy:
        connection = connect(f"redis://{LOOPBACK}:{proxy.port}", timeout=0.7)
        connection.call("PING")
        proxy.stall()
        began = SYSTEM.monotonic()
        with pytest.raises(OperationalError, match="does not answer in time"):
            connection.call("PING")
        assert 0.5 < SYSTEM.monotonic() - began < 10
        proxy.flow()
        assert connection.call("PING") == b"PONG"


def test_only_a_link_that_has_been_idle_is_doubted_after_half_of_the_budget(empty):
    """A slow server would else be asked twice by whoever has just come."""
    connection = connect(empty.url, timeout=20.0)
    deadline = SYSTEM.monotonic() + 20.0
    given = []
    for _ in range(2):
        connection._attempt(lambda link, by: given.append(by), deadline)
    assert given[0] == deadline
    assert given[1] == pytest.approx(deadline - 10.0, abs=5.0)


def test_a_link_that_is_dead_and_silent_costs_half_of_the_budget(empty):
    """What it was asked is asked again on a new one; who blocks on another is told."""
    with Proxy(empty.port) as proxy:
        connection = connect(f"redis://{LOOPBACK}:{proxy.port}", timeout=20.0)
        connection.call("PING")
        link = connection.link()
        link.send(pack(("BLPOP", "nobody rings it", "0")), None)
        told = []

        def wait():
            try:
                link.receive(None)
            except BROKEN as error:
                told.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        proxy.forsake()
        assert connection.call("PING") == b"PONG"
        waiting.join(servers.DEADLINE)
        assert not waiting.is_alive()
        assert told
        link.close()


def test_a_restart_within_the_budget_is_waited_out(tmp_path):
    with server(appendonly="yes") as made:
        connection = connect(made.url, timeout=30.0)
        assert connection.run(COUNT) == 1
        made.stop()
        threading.Timer(0.5, made.spawn).start()
        assert connection.run(COUNT) == 2
        made.wait_ready()


def test_what_never_answered_is_not_waited_for(empty):
    (port,) = servers.free_ports(1)
    began = time.monotonic()
    with pytest.raises(OperationalError, match="connection refused"):
        connect(f"redis://{LOOPBACK}:{port}", timeout=30.0).call("PING")
    assert time.monotonic() - began < 10


def test_options_that_change_nothing_are_told_of(here, caplog):
    Connection(locate(f"{here.url}?socket_timeout=3"), Options())
    assert "socket_timeout change nothing here" in caplog.text


def test_time_is_the_servers_unless_a_clock_is_handed_in(here):
    from celeriac.clock import ManualClock

    assert connect(here.url).now() == b""
    options = msgspec.structs.replace(Options(), clock=ManualClock(monotonic=12.5))
    assert Connection(locate(here.url), options).now() == b"12500"


def test_the_rights_that_the_reference_names_are_enough(empty):
    from celeriac.stores import connect as open_store
    from celeriac.testing.conformance import Kit, message

    empty.do(
        "ACL", "SETUSER", "few", "on", ">pw", "~{n}:*", "&{n}:*", "+@all", "-@dangerous", "+info"
    )
    try:
        kit = Kit(lambda _: open_store(f"redis://few:pw@{LOOPBACK}:{empty.port}", Options("n")))
        kit.send("a")
        listening = kit.store.bus.listen("c")
        kit.store.bus.publish("c", b"x")
        assert listening.get(60) == b"x"
        listening.close()
        worker = kit.worker()
        assert kit.store.queue.wait(["celery"], 1)
        kit.done(worker, "a")
        assert set(kit.store.results.wait(["a"], 20)) == {"a"}
        kit.store.queue.beat("w1")
        kit.store.queue.enqueue([message("b")])
        assert kit.store.queue.purge(["celery"]) == 1
        assert kit.store.inspection.counts().states
        assert "CONFIG" in kit.store.inspection.facts()["could not be read"]
        assert [each.code for each in kit.store.inspection.traps() if each.note][-1] == "unread"
    finally:
        empty.do("ACL", "DELUSER", "few")
