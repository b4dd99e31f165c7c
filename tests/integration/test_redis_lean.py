"""The exchange that is made most has a script of its own (``lua/lean.lua``): it writes and answers
what the general one does, and leaves to that one what it does not know."""

import itertools
import random

import pytest
import redis
from msgspec.structs import replace
from redis_dump import kept
from servers import server

from celeriac import states
from celeriac.exceptions import StoreError
from celeriac.message import Edges, decode
from celeriac.outcome import Outcome
from celeriac.records import Commit, TaskFacts
from celeriac.stores import connect
from celeriac.stores.redis import scripts
from celeriac.stores.redis.script import Script
from celeriac.testing.conformance import Kit, message

#: Longer than what is read of a long message to look at it.
LONG_NAME = "t" * 20_000
TASKS = {"job": TaskFacts(), "once": TaskFacts(late=False), LONG_NAME: TaskFacts()}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def place():
    with server("redis") as made:
        yield made


class Half:
    """A store that has one half of the script alone, and one worker."""

    def __init__(self, place, text):
        name = self.name = f"lean{next(_numbers)}"
        self.place = place
        self.kit = Kit(lambda options: connect(place.url, replace(options, namespace=name)))
        self.steps = self.kit.store.queue._steps
        whole = self.steps.script("exchange").text
        self.steps._scripts["exchange"] = Script.of("exchange", text(whole))
        self.worker = self.kit.worker(tasks=TASKS, hostname="here")

    def kept(self):
        """All that is there, by key."""
        return kept(self.place, self.name)


def general(whole):
    return whole.replace(scripts._source("lean"), "")


def lean(whole):
    """With an error in place of all that comes behind it."""
    return whole[: whole.index("-- step.lua")] + "return redis.error_reply('ERR not lean')"


class Both:
    """The two halves, told the same."""

    def __init__(self, place):
        self.halves = [Half(place, lean), Half(place, general)]

    def send(self, *ids, **header):
        for half in self.halves:
            half.kit.send(*ids, **header)

    def exchange(self, *arguments, **more):
        first, second = (half.worker.exchange(*arguments, **more) for half in self.halves)
        assert first == second
        assert self.halves[0].kept() == self.halves[1].kept()
        return first

    def advance(self, seconds):
        for half in self.halves:
            half.kit.clock.advance(seconds)


@pytest.fixture
def both(place):
    return Both(place)


def ends(answer, **outcome):
    return [Commit(each.fence, Outcome(states.SUCCEEDED, **outcome)) for each in answer.deliveries]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("body", [b"r", None, b"x" * 5000])
def test_leases_and_ends_leave_the_same_behind(both, keep, body):
    both.send(*(f"t{number}" for number in range(300)))
    answer = both.exchange(free=2, ahead=5, brief=["job"])
    while answer.deliveries:
        both.advance(0.25)
        answer = both.exchange(ends(answer, body=body, keep=keep), 3, ahead=140, brief=["job"])
    assert not answer.more


@pytest.mark.parametrize("ahead", [0, 3, 40])
def test_long_messages_are_leased_whole(both, ahead):
    """Of those that are only looked at the beginning is read."""
    chance = random.Random(ahead)
    around = range(scripts.LONG - 150, scripts.LONG + 50)
    lengths = [*chance.sample(around, 60), 1_000_000, 3, 2_000_000, 7]
    for number, length in enumerate(lengths):
        task = LONG_NAME if number % 20 == 19 else "job"
        both.send(f"t{number}", task=task, payload=bytes([number]) * length)
    held = []
    while len(held) < len(lengths):
        held += both.exchange(free=1, ahead=ahead, brief=["job"]).deliveries
    assert [each.id for each in held] == [f"t{number}" for number in range(len(lengths))]
    for number, (each, length) in enumerate(zip(held, lengths, strict=True)):
        assert decode(each.wire).payload == bytes([number]) * length


def test_tasks_and_leases_of_all_sorts_in_one(both):
    both.send("a", "b", "c")
    both.send("d", "e", task="once")
    both.send("f", nonce="f")
    first = both.exchange(free=2)
    both.advance(1.0)
    second = both.exchange(free=3)
    third = both.exchange(free=3)
    commits = ends(second, body=b"1") + ends(first, body=b"2", keep=False) + ends(third)
    assert [each.fence.id for each in commits] == ["c", "d", "e", "a", "b", "f"]
    answer = both.exchange(commits, 1)
    assert {str(each) for each in answer.verdicts} == {"ok"}


def test_what_must_begin_at_once_is_not_leased_ahead(both):
    both.send("a")
    both.send("b", task="once")
    answer = both.exchange(free=1, ahead=5, brief=["job", "once"])
    assert [each.id for each in answer.deliveries] == ["a"]
    assert answer.more


def test_an_unmeasured_task_is_not_leased_ahead(both):
    both.send("a", "b")
    answer = both.exchange(free=1, ahead=5, brief=["other"])
    assert [each.id for each in answer.deliveries] == ["a"]


def test_nothing_is_there(both):
    assert both.exchange(free=5) == both.exchange(free=5)


def test_other_priorities_and_queues(both):
    both.send("a", "b", queue="mail", priority=7)
    answer = both.exchange(free=1, queues=["celery", "mail"])
    both.exchange(ends(answer, body=b"r"), 1, queues=["celery", "mail"])


def test_queues_take_turns_and_within_one_the_most_urgent_comes_first(both):
    both.send("a1", "a2", "a3", queue="a")
    both.send("a4", queue="a", priority=9)
    both.send("b1", "b2", queue="b", priority=3)
    both.send("c1", queue="c")
    queues = ["a", "b", "c", "none"]
    first = both.exchange(free=2, queues=queues)
    second = both.exchange(ends(first), 9, queues=queues)
    assert [each.id for each in first.deliveries] == ["a4", "b1"]
    assert first.more
    assert [each.id for each in second.deliveries] == ["c1", "a1", "b2", "a2", "a3"]
    assert not second.more


def test_a_queue_whose_head_finds_no_room_does_not_hold_up_the_others(both):
    both.send("a1", task="once", queue="a")
    both.send("a2", queue="a")
    both.send(*(f"b{number}" for number in range(9)), queue="b")
    answer = both.exchange(free=0, ahead=6, brief=["job"], queues=["a", "b"])
    assert [each.id for each in answer.deliveries] == [f"b{number}" for number in range(6)]


@pytest.mark.parametrize("seed", range(30))
def test_any_mixture_of_queues_priorities_and_room(both, seed):
    """Many queues or few, long or short; whatever is wanted of them; ends late or at once."""
    chance = random.Random(seed)
    names = [f"queue{number}" for number in range(chance.choice((1, 2, 3, 8)))]
    urgencies = chance.choice(((0,), (0, 5), tuple(range(10))))
    count, held = itertools.count(), []
    for _ in range(12):
        for _ in range(chance.randrange(5)):
            both.send(
                *(f"t{next(count)}" for _ in range(chance.choice((1, 2, 30)))),
                task=chance.choice(("job", "job", "once")),
                queue=chance.choice(names), priority=chance.choice(urgencies),
                payload=b"p" * chance.choice((9, 9, scripts.LONG)),
            )  # fmt: skip
        both.advance(chance.random())
        chance.shuffle(held)
        ended = [held.pop() for _ in range(chance.randint(0, len(held)))]
        keep, body = chance.random() < 0.5, chance.choice((b"r", None))
        answer = both.exchange(
            [Commit(fence, Outcome(states.SUCCEEDED, body, keep)) for fence in ended],
            chance.choice((0, 1, 3, 40)), ahead=chance.choice((0, 2, 60)),
            brief=chance.choice(([], ["job"], ["job", "once"])),
            queues=chance.sample(names, chance.randint(1, len(names))),
        )  # fmt: skip
        held += [each.fence for each in answer.deliveries]


def unlike(half):
    """Things that the lean half leaves to the general one, each as a call that shows it."""
    kit, worker = half.kit, half.worker
    now = kit.now()

    def edges():
        kit.enqueue(message("a", edges=Edges(success=("b",))))
        kit.enqueue(message("b", edges=Edges(waits=True)))
        worker.lease(1)

    def strange():
        kit.send("a", task="nobody knows it")
        worker.lease(1)

    def expiring():
        kit.send("a", expires=now + 60)
        worker.lease(1)

    def due():
        kit.send("a", eta=now + 1)
        kit.clock.advance(2)
        worker.lease(1)

    def started():
        worker.exchange(started=[message_held()])

    def message_held():
        kit.send("a")
        return worker.take()

    def failed():
        worker.fail(message_held())

    def again():
        worker.again(message_held())

    def fenced():
        delivery = message_held()
        fence = replace(delivery.fence, attempt=9)
        worker.exchange([Commit(fence, Outcome(states.SUCCEEDED, b"r"))])

    def twice():
        commit = Commit(message_held().fence, Outcome(states.SUCCEEDED, b"r"))
        worker.exchange([commit, commit])

    def repeated():
        worker.exchange(free=1, seq=1)
        worker.exchange(free=1, seq=1)

    def unknown():
        kit.store.queue.close_owner("w1")
        worker.lease(1)

    def come_back():
        delivery = message_held()
        kit.store.queue.release("w1", [delivery.fence])
        worker.lease(1)

    calls = (edges, strange, expiring, due, started, failed, again, fenced, twice,
             repeated, unknown, come_back)  # fmt: skip
    return {each.__name__: each for each in calls}


UNLIKE = ("edges", "strange", "expiring", "due", "started", "failed", "again", "fenced", "twice",
          "repeated", "unknown", "come_back")  # fmt: skip


@pytest.mark.parametrize("what", UNLIKE)
def test_what_is_not_plain_is_left_to_the_general_one_and_nothing_is_written(place, what):
    half = Half(place, lean)
    call = unlike(half)[what]
    seen = {}
    run = half.steps.connection.run

    def watched(script, *args):
        seen["before"] = half.kept()
        return run(script, *args)

    half.steps.connection.run = watched
    with pytest.raises(StoreError, match="not lean"):
        call()
    assert half.kept() == seen["before"]


def test_the_list_of_what_is_not_plain_is_whole(place):
    assert set(unlike(Half(place, lean))) == set(UNLIKE)


@pytest.mark.parametrize("body", [b"r", None, b"x" * 5000])
def test_both_say_the_same_to_who_waits_for_the_result(place, body):
    said = []
    for half in (Half(place, lean), Half(place, general)):
        with place.connect() as client:
            ear = client.pubsub(ignore_subscribe_messages=False)
            ear.subscribe(f"{{{half.name}}}:done:a")
            assert ear.get_message(timeout=30)["type"] == "subscribe"
            half.kit.send("a")
            half.worker.succeed(half.worker.take(), body)
            said.append(_message(ear)["data"])
    assert said[0] == said[1]


def _message(ear: redis.client.PubSub) -> dict:
    while True:
        found = ear.get_message(timeout=30)
        assert found is not None
        if found["type"] == "message":
            return found
