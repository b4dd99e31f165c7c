"""Results in another store than the tasks: the pair and the relay, without processes."""

import threading
from itertools import count

import msgspec
import pytest

from celeriac import Celeriac, states
from celeriac.clock import ManualClock
from celeriac.conf import Settings
from celeriac.exceptions import OperationalError, ResultNotFound, StoreFull
from celeriac.outcome import Outcome
from celeriac.records import Manifest, Outgoing, StoredResult, TaskFacts
from celeriac.stores import connect, pair, same_place
from celeriac.stores.base import Options
from celeriac.stores.memory import make_store
from celeriac.testing.conformance import Worker, message
from celeriac.testing.faults import Faults, wrap
from celeriac.testing.worker import start_worker
from celeriac.worker.duties import relay as relays
from celeriac.worker.duties.relay import BATCH, BATCH_BYTES, Relay, bring, next_limit

DEADLINE = 30.0


# -- which store is another one ----------------------------------------------------------------


def place(url, **options):
    return url, Options(**options)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (place("redis://localhost"), place("redis://localhost:6379/0"), True),
        (place("redis://localhost"), place("valkey://me:word@localhost/0"), True),
        (place("redis://localhost/0"), place("redis://localhost/1"), False),
        (place("redis://localhost"), place("redis://localhost:6380"), False),
        (place("redis://localhost"), place("unix:///tmp/redis.sock"), False),
        (place("unix:///tmp/redis.sock"), place("redis+socket:///tmp/redis.sock?db=0"), True),
        (place("redis+cluster://a,b"), place("redis+cluster://b,a"), True),
        (
            place("sentinel://a/0?master_name=x"),
            place("sentinel://a/0", transport={"master_name": "x"}),
            True,
        ),
        (
            place("sentinel://a/0?master_name=x"),
            place("sentinel://a/0", transport={"master_name": "y"}),
            False,
        ),
        (place("sqlite:///a.db"), place("sqlite:///./a.db"), True),
        (place("sqlite:///a.db"), place("sqlite:///b.db"), False),
        (place("sqlite:///a.db"), place("redis://localhost"), False),
        (place("memory://"), place("memory://other"), False),
    ],
)
def test_which_urls_name_one_store(one, other, same):
    assert same_place(one[0], other[0], one[1], other[1]) is same
    assert same_place(other[0], one[0], other[1], one[1]) is same


@pytest.mark.parametrize(
    ("broker", "backend"),
    [
        ("redis://localhost", "broker://"),
        ("redis://localhost", None),
        ("redis://localhost", "disabled://"),
        ("redis://localhost", "rpc://"),
        ("redis://localhost", "redis://localhost:6379/0"),
        ("memory://", "cache+memory://"),
    ],
)
def test_settings_that_ask_for_one_store(broker, backend):
    conf = Settings(result_backend=backend)
    assert pair.backend_url(conf, broker) is None
    assert pair.broker_options(conf, paired=False).mirror is False


def test_each_of_two_stores_has_options_of_its_own():
    conf = Settings(
        broker_url="sentinel://a/0",
        result_backend="sentinel://a/0",
        broker_transport_options={"master_name": "tasks"},
        result_backend_transport_options={"master_name": "results"},
        broker_use_ssl={"ssl_ca_certs": "/tasks.pem"},
        redis_backend_use_ssl={"ssl_ca_certs": "/results.pem"},
        namespace="shop",
    )
    tasks, results = pair.broker_options(conf, paired=True), pair.backend_options(conf)
    assert tasks.mirror
    assert not results.mirror
    assert tasks.transport == {"master_name": "tasks"}
    assert results.transport == {"master_name": "results"}
    assert tasks.ssl == {"ssl_ca_certs": "/tasks.pem"}
    assert results.ssl == {"ssl_ca_certs": "/results.pem"}
    assert results.namespace == "shop"


def test_the_tls_of_results_is_not_that_of_tasks_in_another_store():
    conf = Settings(redis_backend_use_ssl=True)
    assert pair.broker_options(conf, paired=False).ssl is True
    assert pair.broker_options(conf, paired=True).ssl is None


# -- the pair ----------------------------------------------------------------------------------


class Two:
    """Two stores in memory on one clock, with faults in each, and a worker that is driven."""

    def __init__(self):
        self.clock = ManualClock()
        options = Options(clock=self.clock)
        self.faults = Faults(), Faults()
        self.tasks = wrap(
            make_store("memory://tasks", msgspec.structs.replace(options, mirror=True)),
            self.faults[0],
        )
        self.far = wrap(make_store("memory://results", options), self.faults[1])
        self.opened = []
        self.results = pair.PairedResults(lambda: self.open(self.tasks), lambda: self.far)
        self.tasks.queue.register("w1", Manifest({"job": TaskFacts()}))
        self.worker = Worker(self.tasks, "w1")

    def open(self, store):
        self.opened.append(store)
        return store

    def done(self, id, body=b"1"):
        self.tasks.queue.enqueue([message(id)])
        self.worker.succeed(self.worker.take(), body)

    def relay(self):
        self.bring(self.tasks.queue.outbox(100))

    def bring(self, rows):
        for step in bring(rows):
            getattr(getattr(self.far, step.face), step.method)(*step.args)


@pytest.fixture
def two():
    return Two()


def test_what_has_ended_is_read_from_the_store_of_results_alone(two):
    two.done("a")
    two.relay()
    assert two.results.get_many(["a"])[0].body == b"1"
    assert two.results.wait(["a"], 0.0)["a"].body == b"1"
    assert two.opened == []


def test_what_is_not_there_is_what_the_record_says(two):
    two.done("a")
    two.relay()
    two.done("b", b"2")
    two.tasks.queue.enqueue([message("c")])
    a, b, c, none = two.results.get_many(["a", "b", "c", "none"])
    assert (a.body, b.body, none) == (b"1", b"2", None)
    assert c.state == states.QUEUED
    assert two.results.wait(["c"], 0.0) == {}
    assert two.results.wait(["c", "b"], 0.0) == {"b": b}
    assert two.results.wait(["c", "none"], None) == {"none": None}
    assert two.results.wait(["none"], 0.0, patient=True) == {}
    assert two.results.wait([], None) == {}


def test_who_waits_is_woken_by_what_is_brought(two, monkeypatch):
    monkeypatch.setattr(pair, "_NET", 2 * DEADLINE)
    two.tasks.queue.enqueue([message("a")])
    found = {}
    thread = threading.Thread(target=lambda: found.update(two.results.wait(["a"], DEADLINE)))
    thread.start()
    two.worker.succeed(two.worker.take(), b"1")
    two.relay()
    thread.join(DEADLINE)
    assert found["a"].body == b"1"


def test_who_waits_looks_himself_where_nobody_brings_it(two):
    two.tasks.queue.enqueue([message("a"), message("b")])
    found = {}
    thread = threading.Thread(target=lambda: found.update(two.results.wait(["a"], DEADLINE)))
    thread.start()
    two.worker.succeed(two.worker.take(), b"1")
    thread.join(DEADLINE)
    assert found["a"].body == b"1"
    gone = {}
    thread = threading.Thread(target=lambda: gone.update(two.results.wait(["b"], DEADLINE)))
    thread.start()
    assert two.tasks.inspection.discard(["b"]) == ["b"]
    thread.join(DEADLINE)
    assert gone == {"b": None}


def test_forget_is_for_both(two):
    two.done("a")
    two.relay()
    two.results.forget(["a"])
    assert two.far.results.get_many(["a"]) == [None]
    assert two.results.get_many(["a"])[0].forgotten
    two.relay()
    assert two.results.get_many(["a"])[0].forgotten


def test_what_a_relay_brings_late_does_not_undo_a_forget(two):
    two.done("a")
    late = two.tasks.queue.outbox(10)
    two.results.forget(["a"])
    two.bring(late)
    two.tasks.queue.mirrored([each.number for each in late])
    two.relay()
    assert two.results.get_many(["a"])[0].forgotten


def test_a_relay_that_was_held_up_does_not_bring_back_an_earlier_end(two):
    two.tasks.queue.enqueue([message("a")])
    two.worker.fail(two.worker.take())
    late = two.tasks.queue.outbox(10)
    two.relay()
    assert two.tasks.inspection.retry(["a"]) == ["a"]
    two.relay()
    assert two.far.results.get_many(["a"]) == [None]
    assert two.results.get_many(["a"])[0].state == states.QUEUED
    two.clock.advance(1)
    two.worker.succeed(two.worker.take(), b"1")
    two.relay()
    two.bring(late)
    assert two.results.get_many(["a"])[0].body == b"1"


def test_joins_are_read_where_tasks_are(two):
    two.tasks.queue.open_join("j", message("body"))
    assert two.results.join_results("j") == []
    assert two.opened == [two.tasks]


def test_results_can_be_put(two):
    result = StoredResult("a", states.SUCCEEDED, ended_at=1.0)
    two.results.put_many([result])
    assert two.far.results.get_many(["a"]) == [result]


def test_an_error_names_the_store(two):
    two.tasks.queue.enqueue([message("a")])
    two.faults[1].arm("before", "results.get_many")
    with pytest.raises(OperationalError, match=r"^the store of results \(result_backend\): inj"):
        two.results.get_many(["a"])
    two.faults[0].arm("before", "results.get_many")
    with pytest.raises(OperationalError, match=r"^the store of tasks \(broker_url\): injected"):
        two.results.get_many(["a"])
    two.faults[1].arm("before", "results.wait")
    with pytest.raises(OperationalError, match="store of results"):
        two.results.wait(["a"], 1.0)
    two.faults[0].arm("before", "results.forget")
    with pytest.raises(OperationalError, match="store of tasks"):
        two.results.forget(["a"])


def test_the_kind_of_an_error_stays():
    full = StoreFull("no room")
    expected = pytest.raises(StoreFull, match=r"^the store of results: no room")
    with expected as caught, pair.named("the store of results"):
        raise full
    assert caught.value is full


# -- the relay ---------------------------------------------------------------------------------


def rows(number, size):
    result = StoredResult("a", states.SUCCEEDED, body=b"x" * size)
    return [Outgoing(each, "a", result) for each in range(number)]


def test_how_many_are_brought_at_once():
    assert next_limit(16, rows(16, 10)) == 32
    assert next_limit(BATCH, rows(BATCH, 10)) == BATCH
    assert next_limit(BATCH, rows(10, BATCH_BYTES // 10)) == 10
    assert next_limit(10, rows(10, 2 * BATCH_BYTES)) == 1
    assert next_limit(1, rows(1, BATCH_BYTES)) == 1
    assert next_limit(1, rows(1, 10)) == 2
    assert next_limit(64, []) == 128
    assert next_limit(BATCH, [Outgoing(1, "gone", None)]) == BATCH


@pytest.fixture
def running(two):
    """A relay that runs; what ended it before its time is raised."""
    failures = []
    relay = Relay(two.tasks, lambda: two.far, "memory://results")
    relay.start(failures.append)
    yield relay
    relay.stop(DEADLINE)
    assert failures == []


def brought(two, *ids):
    """Wait until the store of results has all of *ids*."""
    for id in ids:
        found = two.far.results.wait([id], DEADLINE, patient=True)
        assert id in found
    return two.far.results.get_many(ids)


def emptied(two):
    deadline = threading.Event()
    for _ in range(3000):
        if not two.tasks.queue.outbox(1):
            return
        deadline.wait(0.01)
    raise AssertionError("the outbox was not emptied")


def test_a_relay_brings_what_ends(two, running):
    worker = Worker(running.store, "w1")
    two.worker = worker
    for number in range(100):
        two.done(f"id-{number}")
    assert len(brought(two, *(f"id-{number}" for number in range(100)))) == 100
    emptied(two)


def test_a_relay_is_rung_by_whatever_ends_tasks(two, monkeypatch):
    relay = Relay(two.tasks, lambda: two.far, "memory://results")
    rung = []
    monkeypatch.setattr(relay, "_bell", msgspec.structs.replace(Bell(), rung=rung))
    queue = relay.store.queue
    queue.enqueue([message("a")])
    queue.wait(["celery"], 0.0)
    worker = Worker(relay.store, "w1")
    delivery = worker.take()
    assert rung == []
    worker.commit(delivery, Outcome(states.SUCCEEDED))
    assert len(rung) == 1
    queue.revoke(["b"])
    queue.purge(["celery"])
    queue.release("w1", [], started=True)
    queue.reap()
    assert len(rung) == 5
    two.clock.advance(10)
    queue.beat("w1")
    assert len(rung) == 6
    queue.close_owner("w1")
    assert len(rung) == 7


class Bell(msgspec.Struct):
    """Notes each ring."""

    rung: list[int] = []

    def set(self):
        self.rung.append(1)


@pytest.mark.parametrize("kind", ["before", "after"])
@pytest.mark.parametrize(
    ("which", "method"), [(0, "queue.outbox"), (1, "results.put_many"), (0, "queue.mirrored")]
)
def test_a_relay_goes_on_after_a_fault(two, running, which, kind, method):
    two.faults[which].arm(kind, method)
    two.done("a")
    running.ring()
    brought(two, "a")
    emptied(two)
    assert two.faults[which].injected == [(method, kind)]
    two.done("b")
    running.ring()
    brought(two, "b")


def test_a_relay_says_how_many_results_wait(two, caplog):
    away = count()

    def connect_later():
        if next(away) < 3:
            raise OperationalError("nobody listens at 127.0.0.1:1")
        return two.far

    two.done("a")
    two.done("b")
    relay = Relay(two.tasks, connect_later, "redis://127.0.0.1:1/0")
    with caplog.at_level("WARNING"), relay.running(lambda error: None):
        brought(two, "a", "b")
        emptied(two)
    said = "\n".join(each.getMessage() for each in caplog.records)
    assert "The store of results redis://127.0.0.1:1/0 does not take them; tasks go on" in said
    assert "2 results wait in the store of tasks" in said
    assert said.count("does not take them") == 1
    assert "takes them again" in said


def test_a_store_of_results_that_is_away_does_not_keep_a_worker_from_beginning(two, caplog):
    def passing():
        error = OperationalError("away")
        error.passing = True
        raise error

    assert Relay(two.tasks, passing, "redis://x").first_look() is None
    assert "does not take them" in caplog.text

    def lasting():
        raise OperationalError("wrong password")

    with pytest.raises(OperationalError, match=r"the store of results .*: wrong password"):
        Relay(two.tasks, lasting, "redis://x").first_look()


def test_a_relay_that_stops_brings_what_is_there(two):
    relay = Relay(two.tasks, lambda: two.far, "memory://results")
    with relay.running(lambda error: None):
        for number in range(500):
            two.done(f"id-{number}")
    assert all(two.far.results.get_many([f"id-{number}" for number in range(500)]))


def test_a_bug_of_a_relay_is_told(two):
    told = threading.Event()
    errors = []

    def broken():
        raise ZeroDivisionError

    def failed(error):
        errors.append(error)
        told.set()

    relay = Relay(two.tasks, broken, "memory://results")
    relay.start(failed)
    assert told.wait(DEADLINE)
    assert isinstance(errors[0], ZeroDivisionError)


def test_a_relay_removes_what_was_kept_long_enough_there(two, monkeypatch):
    monkeypatch.setattr(relays, "SWEEP_SECONDS", 0.0)
    relay = Relay(two.tasks, lambda: two.far, "memory://results")
    with relay.running(lambda error: None):
        two.done("a")
        relay.ring()
        brought(two, "a")
        emptied(two)
        two.clock.advance(86_401)
        waited = threading.Event()
        for _ in range(3000):
            relay.ring()
            if two.far.results.get_many(["a"]) == [None]:
                return
            waited.wait(0.01)
    raise AssertionError("it is still there")


# -- the application ---------------------------------------------------------------------------


@pytest.fixture
def app(tmp_path):
    made = Celeriac(
        "shop",
        broker=f"sqlite:///{tmp_path}/tasks.db",
        backend=f"sqlite:///{tmp_path}/results.db",
        set_as_current=False,
    )

    @made.task(name="add")
    def add(x, y):
        return x + y

    yield made
    made.close()


def test_an_application_with_two_stores(app, tmp_path):
    assert app.backend_url == f"sqlite:///{tmp_path}/results.db"
    result = app.tasks["add"].delay(1, 2)
    assert not (tmp_path / "results.db").exists()
    with start_worker(app):
        assert result.get(timeout=DEADLINE) == 3
    stored = connect(app.backend_url).results.get_many([result.id])[0]
    assert stored.state == states.SUCCEEDED
    assert app.store.queue.outbox(10) == []
    assert app.backend_store is app.backend_store


def test_another_backend_is_used_from_the_next_call_on(app, tmp_path):
    result = app.tasks["add"].delay(1, 2)
    with start_worker(app):
        assert result.get(timeout=DEADLINE) == 3
    before = app.store
    app.conf.result_backend = "broker://"
    assert app.backend_url is None
    assert app.store is not before
    assert not app.store.options.mirror
    assert app.results is app.store.results
    assert app.backend_store is app.store
    assert app.AsyncResult(result.id).get(timeout=DEADLINE) == 3
    app.conf.result_backend = f"sqlite:///{tmp_path}/third.db"
    assert app.store.options.mirror
    assert app.AsyncResult(result.id).get(timeout=DEADLINE) == 3
    with pytest.raises(ResultNotFound):
        app.AsyncResult("never").get(timeout=DEADLINE)


def test_eager_results_that_are_kept_are_in_the_store_of_results(app):
    app.conf.update(task_always_eager=True, task_store_eager_result=True)
    result = app.tasks["add"].delay(1, 2)
    assert app.backend_store.results.get_many([result.id])[0].state == states.SUCCEEDED
    assert app.AsyncResult(result.id).get(timeout=DEADLINE) == 3
