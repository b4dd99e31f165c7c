"""Waiting for results and listening on the bus, on a real server that also goes away."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import servers
from servers import LOOPBACK, server, until
from wires import Proxy

from celeriac import stores
from celeriac.clock import SYSTEM
from celeriac.exceptions import OperationalError
from celeriac.message import Header, compose
from celeriac.records import StoredResult
from celeriac.stores.base import Options
from celeriac.stores.redis import listener as module
from celeriac.stores.redis.bus import RedisBus
from celeriac.stores.redis.connection import Connection
from celeriac.stores.redis.listener import Listener
from celeriac.stores.redis.location import locate

PREFIX = "{n}:"


@pytest.fixture(scope="module", params=["redis", "valkey"])
def here(request):
    with server(request.param) as made:
        yield made


@pytest.fixture
def empty(here):
    here.do("FLUSHALL")
    # Those of earlier tests, which last as long as their threads.
    here.do("CLIENT", "KILL", "TYPE", "pubsub")
    return here


def connect(port, timeout=5.0):
    return Connection(locate(f"redis://{LOOPBACK}:{port}"), Options(namespace="n", timeout=timeout))


class Desk:
    """Waits through a listener; results are keys of their own, which *end* sets."""

    def __init__(self, port, made, timeout=5.0):
        self.connection = connect(port, timeout)
        self.listener = Listener(self.connection)
        self.made = made
        self.looks = 0

    def look(self, ids):
        found = self.connection.pipeline([("GET", f"{PREFIX}r:{id}") for id in ids])
        self.looks += 1
        pairs = zip(ids, found, strict=True)
        return {id: StoredResult(id, "succeeded", body=body) for id, body in pairs if body}

    def end(self, *ids):
        with self.made.connect() as client:
            for id in ids:
                client.set(f"{PREFIX}r:{id}", id)
                client.publish(f"{PREFIX}done:{id}", "")

    def wait(self, *ids, timeout=servers.DEADLINE):
        return self.listener.wait(ids, timeout, self.look)

    def waiting(self, *ids, **more):
        return Thread(lambda: self.wait(*ids, **more))

    def subscribed(self):
        return {each.decode() for each in self.made.do("PUBSUB", "CHANNELS", f"{PREFIX}done:*")}


class Thread:
    def __init__(self, call):
        self.answer = self.error = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self.answer = self._call()
        except Exception as error:
            self.error = error

    def alive(self):
        return self._thread.is_alive()

    def result(self):
        self._thread.join(servers.DEADLINE)
        assert not self._thread.is_alive()
        if self.error:
            raise self.error
        return self.answer


@pytest.fixture
def desk(empty):
    return Desk(empty.port, empty)


def channel(id):
    return f"{PREFIX}done:{id}"


def test_what_has_ended_before_is_found(desk):
    desk.end("a")
    assert set(desk.wait("a", "b")) == {"a"}


def test_what_ends_while_it_is_waited_for(desk):
    waiting = desk.waiting("a", "b")
    until("it listens", lambda: {channel("a"), channel("b")} <= desk.subscribed())
    desk.end("b")
    assert set(waiting.result()) == {"b"}


def test_the_timeout(desk):
    assert desk.wait("a", timeout=0.05) == {}


def pubsub_clients(made):
    return [line for line in made.do("CLIENT", "LIST", "TYPE", "PUBSUB").splitlines() if line]


def test_one_connection_whatever_the_number_of_threads_and_ids(desk):
    waiting = [desk.waiting(*(f"{number}-{each}" for each in range(20))) for number in range(40)]
    until("all are asked for", lambda: len(desk.subscribed()) == 800)
    assert len(pubsub_clients(desk.made)) == 1
    desk.end(*(f"{number}-7" for number in range(40)))
    assert [set(each.result()) for each in waiting] == [{f"{number}-7"} for number in range(40)]
    # Kept for the next wait; of what nobody waits for any more, not much is.
    assert len(pubsub_clients(desk.made)) == 1
    again = desk.waiting("again")
    until("it is asked for", lambda: channel("again") in desk.subscribed())
    assert len(desk.subscribed()) <= 201
    desk.end("again")
    assert again.result()


def test_threads_that_leave_hand_the_ear_on(desk):
    waiting = {id: desk.waiting(id) for id in "abcdef"}
    until("all are asked for", lambda: len(desk.subscribed()) == 6)
    for id, each in waiting.items():
        desk.end(id)
        assert set(each.result()) == {id}


def test_waits_that_time_out_hand_the_ear_on(desk):
    short = [desk.waiting(f"never-{number}", timeout=0.3) for number in range(10)]
    long = desk.waiting("a")
    assert [each.result() for each in short] == [{}] * 10
    desk.end("a")
    assert long.result()


def test_two_threads_wait_for_the_same(desk):
    waiting = [desk.waiting("a") for _ in range(5)]
    until("it listens", lambda: channel("a") in desk.subscribed())
    desk.end("a")
    assert all(each.result() for each in waiting)


def test_many_ids_in_one_wait(desk):
    ids = [f"id-{number}" for number in range(5000)]
    waiting = desk.waiting(*ids)
    until("it has looked", lambda: desk.looks == 1)
    assert len(desk.subscribed()) == 5000
    desk.end(ids[4321])
    assert set(waiting.result()) == {ids[4321]}
    # One look when it began; then at what was said alone.
    assert desk.looks == 2


def test_what_the_message_says_need_not_be_read(empty):
    desk = Desk(empty.port, empty)
    desk.listener = Listener(
        desk.connection, lambda name, data: StoredResult(name, "succeeded", body=data)
    )
    waiting = desk.waiting("a")
    until("it listens", lambda: channel("a") in desk.subscribed())
    until("it has looked", lambda: desk.looks == 1)
    empty.do("PUBLISH", channel("a"), "body")
    assert waiting.result()["a"].body == b"body"
    assert desk.looks == 1


# -- the connection breaks -----------------------------------------------------------------------


def test_what_ends_while_the_link_is_down_is_found_after(desk):
    waiting = desk.waiting("a")
    until("it listens", lambda: channel("a") in desk.subscribed())
    with desk.made.connect() as client, client.pipeline() as both:
        # In one step of the server: the result comes, and nobody can be told of it.
        both.set(f"{PREFIX}r:a", "a")
        both.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        both.execute()
    assert set(waiting.result()) == {"a"}


def test_a_link_that_is_dead_and_silent_is_found_out(empty, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    with Proxy(empty.port) as proxy:
        desk = Desk(proxy.port, empty, timeout=servers.DEADLINE)
        waiting = desk.waiting("a")
        until("it listens and has looked", lambda: desk.looks == 1)
        proxy.stall()
        desk.end("a")
        # Still nothing is said: the server must be asked, does not answer, and is left.
        until("it tries anew", lambda: proxy.accepted > 2)
        proxy.flow()
        assert set(waiting.result()) == {"a"}


def test_a_record_that_is_gone_without_a_word_is_found_out(empty, monkeypatch):
    """Somebody has emptied the server: nobody will ever say that it has ended."""
    monkeypatch.setattr(module, "_NAP", 0.3)
    store = stores.connect(empty.url, Options(namespace="n"))
    store.queue.enqueue([compose(Header("a", "job", "n"), b"[[],{}]")])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.results.wait, ["a"], None)
        until("it listens", lambda: empty.do("PUBSUB", "CHANNELS", "*done:*") != [])
        empty.do("FLUSHALL")
        assert waiting.result(servers.DEADLINE) == {"a": None}


def test_an_outage_longer_than_the_budget_is_told():
    with server() as made:
        desk = Desk(made.port, made, timeout=0.5)
        waiting = [desk.waiting("a"), desk.waiting("b")]
        until("it listens", lambda: len(desk.subscribed()) == 2)
        made.stop(9)
        for each in waiting:
            with pytest.raises(OperationalError, match="connection refused"):
                each.result()
        made.spawn()
        made.wait_ready()
        desk.end("a")
        assert set(desk.wait("a")) == {"a"}


def test_a_forked_child_waits_on_a_connection_of_its_own(desk):
    desk.end("before")
    desk.wait("before")
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.write(writable, ",".join(desk.wait("a", timeout=30)).encode())
        os._exit(0)
    os.close(writable)
    waiting = desk.waiting("b")
    until("both listen", lambda: {channel("a"), channel("b")} <= desk.subscribed())
    assert len(pubsub_clients(desk.made)) == 2
    desk.end("a", "b")
    assert set(waiting.result()) == {"b"}
    with os.fdopen(readable, "rb") as pipe:
        assert pipe.read() == b"a"
    os.waitpid(pid, 0)


# -- the bus -------------------------------------------------------------------------------------


@pytest.fixture
def bus(empty):
    return RedisBus(connect(empty.port))


def test_a_subscription_outlives_its_link(bus, empty):
    listening = bus.listen("c")
    bus.publish("c", b"1")
    assert listening.get(60) == b"1"
    empty.do("CLIENT", "KILL", "TYPE", "pubsub")
    waiting = Thread(lambda: listening.get(servers.DEADLINE))
    until("it listens again", lambda: empty.do("PUBSUB", "NUMSUB", f"{PREFIX}bus:c")[1] == 1)
    bus.publish("c", b"2")
    assert waiting.result() == b"2"
    listening.close()


def test_an_outage_that_outlasts_the_wait_is_told():
    with server() as made:
        listening = RedisBus(connect(made.port, 0.5)).listen("c")
        made.stop(9)
        began = SYSTEM.monotonic()
        with pytest.raises(OperationalError):
            listening.get(1.0)
        assert SYSTEM.monotonic() - began < servers.DEADLINE / 2
        listening.close()


def test_a_channel_is_the_namespaces_own(bus, empty):
    other = RedisBus(Connection(locate(empty.url), Options(namespace="other", timeout=5.0))).listen(
        "c"
    )
    bus.publish("c", b"x")
    assert other.get(0.1) is None
    other.close()


def test_large_publications(bus):
    listening = bus.listen("c")
    sent = [os.urandom(300_000) for _ in range(5)]
    for each in sent:
        bus.publish("c", each)
    assert [listening.get(60) for _ in sent] == sent
    listening.close()


def test_a_wake_ends_the_waits_of_other_stores_of_this_process(empty):
    """Two applications of one process may each have opened the same place."""
    first, second = (stores.connect(empty.url) for _ in range(2))
    elsewhere = stores.connect(empty.url, Options(namespace="elsewhere"))
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(first.queue.wait(["q"], 60)))
    waiting.start()
    until("a waiter asleep", lambda: b"cmd=blpop" in empty.do("CLIENT", "LIST"))
    elsewhere.queue.wake()
    second.queue.wake()
    waiting.join(60)
    assert answers == [True]
