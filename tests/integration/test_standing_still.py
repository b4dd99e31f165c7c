"""Protocol section 5 between processes: who stood still, who did not, and whom each gives up.

Each process has the store open by itself; all go by one clock, which the test drives.
"""

import pytest
from msgspec.structs import replace
from servers import server, until

from celeriac import states
from celeriac.clock import Clock, ManualClock
from celeriac.exceptions import OperationalError
from celeriac.records import Manifest, StoredResult
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.stores.memory import make_store
from celeriac.stores.memory.queue import MemoryQueue

LEASE = 15.0


class Place:
    """Where a store is; each call opens it as another process does."""

    def __init__(self, kind, folder, shared):
        self.clock = ManualClock()
        self.options = Options(clock=self.clock, random=lambda: 0.5, lease=LEASE)
        if kind == "memory":
            made = make_store("memory://", self.options)
            self.open = lambda: replace(made, queue=MemoryQueue(made.queue._core))
            return
        url = f"sqlite:///{folder}/tasks.db"
        if kind != "sqlite":
            url = shared.url(kind)
            self.options = replace(self.options, namespace=shared.namespace())
        self.open = lambda: connect(url, self.options)

    def worker(self, name):
        """A process with one owner, which has registered."""
        queue = self.open().queue
        queue.register(name, Manifest({}))
        return queue


@pytest.fixture(params=["memory", "sqlite", "redis"])
def kind(request):
    return request.param


@pytest.fixture
def place(kind, tmp_path, shared):
    return Place(kind, tmp_path, shared)


def work_beside(place, first, second, turns=10):
    """Both beat every three seconds, and the first makes all the passes."""
    for _ in range(turns):
        assert first.beat("w1").reaped is not None
        place.clock.advance(1.0)
        assert second.beat("w2").reaped is None
        place.clock.advance(2.0)


def given_up(place, queue, name, seconds):
    """Whom *queue*, which beats as *name* every second, gives up within *seconds*."""
    found = []
    for _ in range(int(seconds)):
        place.clock.advance(1.0)
        reaped = queue.beat(name).reaped
        found += reaped.owners if reaped is not None else ()
    return found


@pytest.mark.parametrize("before", ["registered", "beats", "made a pass long ago"])
def test_who_left_all_passes_to_its_mate_sees_that_it_stood_still(place, before):
    first, second = place.worker("w1"), place.worker("w2")
    if before == "made a pass long ago":
        second.reap()
        place.clock.advance(3.0)
    if before != "registered":
        work_beside(place, first, second)
    place.clock.advance(2 * LEASE)
    assert second.beat("w2").reaped.owners == ()
    assert not first.beat("w1").lost
    # From here on w1 is silent, and has one lease.
    assert given_up(place, second, "w2", LEASE) == []
    assert given_up(place, second, "w2", 4) == ["w1"]


def test_who_was_given_up_still_sees_that_everybody_stood_still(place):
    """It hears so by its first beat, takes another name, and makes a pass at once."""
    first, second = place.worker("w1"), place.worker("w2")
    work_beside(place, first, second)
    first.reap(["w2"])
    place.clock.advance(2 * LEASE)
    assert second.beat("w2").lost
    second.register("w3", Manifest({}))
    assert second.beat("w3").reaped.owners == ()
    assert not first.beat("w1").lost


def test_less_than_half_a_lease_is_no_stand_still(place):
    first, second = place.worker("w1"), place.worker("w2")
    assert given_up(place, second, "w2", 9) == []
    place.clock.advance(LEASE / 2 - 1)
    assert second.beat("w2").reaped.owners == ("w1",)
    assert first.beat("w1").lost


def test_who_stood_still_alone_extends_nobody(place):
    """Its mate made passes meanwhile, so everybody else could beat."""
    place.worker("dead")
    awake, sleeper = place.worker("w1"), place.worker("w2")
    work_beside(place, awake, sleeper, turns=1)
    assert given_up(place, awake, "w1", 10) == []
    place.clock.advance(2.5)
    assert sleeper.beat("w2").reaped.owners == ("dead",)


@pytest.mark.parametrize("passes", [0, 5])
def test_who_starts_afresh_gives_up_who_died_long_ago(place, passes):
    first = place.worker("w1")
    for _ in range(passes):
        place.clock.advance(3.0)
        first.beat("w1")
    place.clock.advance(3600.0)
    second = place.worker("w2")
    place.clock.advance(3.0)
    assert second.beat("w2").reaped.owners == ("w1",)


def test_who_has_no_owner_gives_up_who_is_lost(place):
    place.worker("w1")
    place.clock.advance(LEASE + 1)
    assert place.open().queue.reap().owners == ("w1",)


def test_of_who_has_no_owner_a_gap_says_nothing(place):
    """As of workers that look after a store of results: they pass there once a minute."""
    store = place.open()
    store.queue.reap()
    place.worker("w1")
    store.results.put_many(
        [StoredResult("a", states.SUCCEEDED, body=b"1", ended_at=place.clock.wall())]
    )
    place.clock.advance(60.0)
    assert store.queue.reap().owners == ("w1",)
    assert store.results.get_many(["a"]) != [None]
    place.clock.advance(place.options.result_expires)
    store.queue.reap()
    assert store.results.get_many(["a"]) == [None]
    # Of clocks that run apart it says what it says of anybody.
    store.results.put_many(
        [StoredResult("b", states.SUCCEEDED, body=b"1", ended_at=place.clock.wall())]
    )
    place.clock.jump_wall(2 * place.options.result_expires)
    store.queue.reap()
    place.clock.jump_wall(-2 * place.options.result_expires)
    assert store.results.get_many(["b"]) != [None]


@pytest.mark.parametrize(("kind", "call"), [("sqlite", "ride_along"), ("redis", "run")])
def test_a_pass_that_failed_hides_nothing_from_the_next(place, monkeypatch, call):
    first, second = place.worker("w1"), place.worker("w2")
    work_beside(place, first, second)
    place.clock.advance(2 * LEASE)

    def fail(*args, **options):
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(second._reaper, call, fail)
        with pytest.raises(OperationalError):
            second.beat("w2")
    place.clock.advance(1.0)
    assert second.beat("w2").reaped.owners == ()
    assert not first.beat("w1").lost


def test_deadlines_further_ahead_than_a_lease_are_cut(place):
    """Somebody has set back the clock that leases go by, as happens where it is a server's."""
    place.worker("w1")
    place.clock._monotonic -= 500.0
    assert place.open().queue.reap().owners == ()
    place.clock.advance(LEASE - 1)
    assert place.open().queue.reap().owners == ()
    place.clock.advance(2.0)
    assert place.open().queue.reap().owners == ("w1",)


# --- a server's clock, and its restart ------------------------------------------------------------


class Behind(Clock):
    """A machine whose time stands still while the server's runs on."""

    def __init__(self):
        self.now = Clock.monotonic(self)

    def monotonic(self):
        return self.now


@pytest.mark.parametrize("kind", ["redis", "valkey"])
@pytest.mark.parametrize("sees", [True, False])
def test_a_servers_clock_that_was_set_forward_loses_no_lease(kind, shared, monkeypatch, sees):
    options = Options(lease=2.0, namespace=shared.namespace())
    first, second = (connect(shared.url(kind), options) for _ in range(2))
    first.queue.register("w1", Manifest({}))
    if sees:
        monkeypatch.setattr(second.queue._steps, "clock", Behind())
    second.queue.register("w2", Manifest({}))
    until("no lease lives", lambda: not any(each.alive for each in first.inspection.workers()))
    if not sees:  # the same without the rule: time has really passed, or nobody can tell
        second.queue._reaper.turns.last = None
    assert second.queue.beat("w2").reaped.owners == (() if sees else ("w1",))


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_a_server_that_was_restarted_gives_everybody_a_lease(kind):
    clock = ManualClock()
    options = Options(clock=clock, lease=LEASE)
    with server(kind, appendonly="yes", appendfsync="always") as made:
        first = connect(made.url, options).queue
        first.register("w1", Manifest({}))
        first.beat("w1")
        made.stop()
        clock.advance(2 * LEASE)
        made.start()
        # A new process has nothing to compare with but what the store tells.
        assert connect(made.url, options).queue.reap().owners == ()
        assert not first.beat("w1").lost
        clock.advance(LEASE + 1)
        assert connect(made.url, options).queue.reap().owners == ("w1",)
