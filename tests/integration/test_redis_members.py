"""Members of a workflow that are simply queued are stored by a script of their own
(``lua/enqueue_members.lua``): it writes what the general one does, and leaves to that one what it
does not know."""

import itertools

import pytest
from msgspec.structs import replace
from redis_dump import kept
from servers import server

from celeriac import states
from celeriac.exceptions import HeaderIncomplete, StoreError
from celeriac.message import Edges
from celeriac.outcome import Outcome
from celeriac.records import Commit
from celeriac.stores import connect
from celeriac.stores.redis import scripts
from celeriac.stores.redis.script import Script
from celeriac.testing.conformance import Kit, message

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def place():
    with server("redis") as made:
        yield made


class Half:
    """A store of its own; the script *without* does nothing in it but what *text* says."""

    def __init__(self, place, without, text):
        name = self.name = f"members{next(_numbers)}"
        self.place = place
        self.kit = Kit(lambda options: connect(place.url, replace(options, namespace=name)))
        self.steps = self.kit.store.queue._steps
        self.steps._scripts[without] = Script.of(without, text)

    def do(self, command, key, *more):
        return self.place.do(command, f"{{{self.name}}}:{key}", *more)

    def kept(self):
        """All that is there, by key."""
        return kept(self.place, self.name)


class Both:
    """A store that has the script of members alone, and one that has the general one alone."""

    def __init__(self, place):
        self.lean = Half(place, "enqueue", "return redis.error_reply('ERR not lean')")
        self.general = Half(place, "enqueue_members", "return 0")

    def each(self, act):
        for half in (self.lean, self.general):
            act(half.kit)

    def alike(self):
        assert self.lean.kept() == self.general.kept()


@pytest.fixture
def both(place):
    return Both(place)


def member(index, join="J", **more):
    edges = Edges(join=(join, index), within=(join, index)) if join else None
    return message(f"m{index}", edges=edges, flow="F", group=join or "G", index=index, **more)


def opened(kit):
    edges = Edges(waits=True, gathers="J")
    kit.store.queue.open_join("J", message("body", edges=edges, flow="F"))


LONG = {"payload": b"p" * scripts.LONG}


@pytest.mark.parametrize("more", [{}, {"queue": "other", "priority": 7}, {"nonce": "m0"}, LONG])
def test_members_of_an_open_join(both, more):
    def act(kit):
        opened(kit)
        kit.enqueue(*[member(index, **more) for index in range(1 if "nonce" in more else 30)],
                    join="J")  # fmt: skip
        kit.clock.advance(3)
        kit.enqueue(*[member(index) for index in range(30, 5030)], join="J")

    both.each(act)
    both.alike()
    for half in (both.lean, both.general):
        half.kit.store.queue.seal("J", 5030)
    both.alike()


def test_members_of_a_group_without_a_join(both):
    both.each(lambda kit: kit.enqueue(*[member(index, join=None) for index in range(20)]))
    both.alike()


def test_they_run_and_release_the_body(both):
    def act(kit):
        opened(kit)
        kit.enqueue(*[member(index) for index in range(6)], join="J")
        kit.store.queue.seal("J", 6)
        worker = kit.worker("w")
        held = worker.lease(10)
        assert [each.id for each in held] == [f"m{index}" for index in range(6)]
        worker.exchange([Commit(each.fence, Outcome(states.SUCCEEDED, b"r")) for each in held])
        assert worker.take().id == "body"

    both.each(act)
    both.alike()


@pytest.mark.parametrize(
    "messages",
    [
        [member(0), message("x", flow="F")],
        [member(0), message("x", flow="other")],
        [member(0), message("x", edges=Edges(success=("m0",)), flow="F")],
        [member(0), message("x", edges=Edges(waits=True, takes="m0"), flow="F")],
        [member(0), message("x", flow="F", eta=1e12)],
        [member(0), message("x", flow="F", expires=1e12)],
        [member(0), message("x", flow="F", queue="other")],
        [member(0), message("x", flow="F", priority=3)],
        [member(0), member(0)],
    ],
)
def test_whatever_is_not_plain_is_stored_alike(place, messages):
    halves = [Half(place, "-", ""), Half(place, "enqueue_members", "return 0")]
    for half in halves:
        opened(half.kit)
        half.kit.enqueue(*messages, join="J")
    assert halves[0].kept() == halves[1].kept()


def _revoked(kit):
    opened(kit)
    kit.store.queue.revoke(["m1"])


def _referred(kit):
    opened(kit)
    kit.enqueue(message("e", edges=Edges(waits=True, takes="m1"), flow="F"))


def _sent_before(kit):
    opened(kit)
    kit.enqueue(member(1), join="J")


def _sealed(kit):
    opened(kit)
    kit.store.queue.seal("J", 3)


def _failed(kit):
    opened(kit)
    kit.enqueue(member(7), join="J")
    worker = kit.worker("w")
    worker.exchange([Commit(worker.take().fence, Outcome(states.FAILED))])


@pytest.mark.parametrize("before", [_revoked, _referred, _sent_before, _sealed, _failed])
def test_whatever_is_known_of_them_before_is_respected(place, before):
    halves = [Half(place, "-", ""), Half(place, "enqueue_members", "return 0")]
    for half in halves:
        before(half.kit)
        half.kit.enqueue(member(0), member(1), member(2), join="J")
    assert halves[0].kept() == halves[1].kept()


def test_a_join_that_is_not_known_or_was_given_up_refuses_them(place):
    half = Half(place, "-", "")
    with pytest.raises(StoreError, match="is not known"):
        half.kit.enqueue(member(0), join="J")
    opened(half.kit)
    half.kit.clock.advance(1000)
    half.kit.store.queue.reap()
    with pytest.raises(HeaderIncomplete):
        half.kit.enqueue(member(0), join="J")
    assert "m:m0" not in half.kept()


@pytest.mark.parametrize("key", ["q:celery:0", "o:0", "bell:celery", "fl:F"])
def test_a_key_of_another_program_leaves_no_member_behind(place, key):
    half = Half(place, "-", "")
    half.do("SET", key, "theirs")
    before = half.kept()
    with pytest.raises(StoreError, match="another program writes under the names of Celeriac"):
        half.kit.enqueue(*[member(index, join=None) for index in range(3)])
    assert half.kept() == before
