"""What many idle workers cost a server, whom one enqueue wakes, and what waiting for results takes
up."""

import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import count

import pytest
from servers import server, until
from workers import HERE

from celeriac import states
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.testing.conformance import message

IDLERS = 200
#: Seconds the commands are counted for: several beats of each, and more than one whole wait.
WINDOW = 15.0
#: What clients send; everything else is called by scripts, of which each begins with a GET. Some of
#: INFO, too: passes of the reaper ask which run of the server it is.
SENT = {"evalsha", "eval", "blpop", "ping", "hello", "client|setname", "subscribe", "info"}
#: Enqueues of which each is to wake one worker.
SINGLE = 40


@pytest.fixture
def here():
    with server() as made:
        yield made


class Crowd:
    """Idle workers in a process of their own; what they say is kept by its first word."""

    def __init__(self, url: str, count: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "idle_crowd.py"), url, str(count)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said: Counter[str] = Counter()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.said[line.split()[0]] += 1

    def close(self) -> None:
        self.process.kill()
        self.process.wait(30)
        self._reader.join(30)
        self.process.stdout.close()


def commands(made) -> Counter[str]:
    """How often each command was run, by clients and inside scripts."""
    with made.connect() as client:
        stats = client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()})


@pytest.mark.slow
def test_200_idle_workers_cost_little_and_one_enqueue_wakes_one(here):
    crowd = Crowd(here.url, IDLERS)
    try:
        until("all of them work", lambda: crowd.said["ready"], 60)
        before, began, cpu = commands(here), time.monotonic(), used(here)
        threading.Event().wait(WINDOW)
        made, took, cpu = commands(here) - before, time.monotonic() - began, used(here) - cpu
        sent = sum(calls for name, calls in made.items() if name in SENT) / took
        whole = made.total() / took
        print(f"{sent:.0f} commands a second, {whole:.0f} with those inside scripts, "
              f"{cpu / took:.1%} of a core; {dict(made)}")  # fmt: skip
        assert sent < 0.75 * IDLERS
        assert whole < 3.5 * IDLERS
        assert made["blpop"] > 0 < made["evalsha"]
        assert not crowd.said["failed"]
        assert not crowd.said["woke"]

        store = connect(here.url, Options())
        for number in range(SINGLE):
            store.queue.enqueue([message(f"single-{number}", task="job", queue="celery")])
            until("it has run", lambda so_far=number: crowd.said["ran"] > so_far)
            # One that is still to commit could lease the next in the same step, unwoken.
            until("it has ended", lambda sent=f"single-{number}": succeeded(store, sent))
        assert crowd.said["ran"] == SINGLE
        # One whose wait has just ended by itself may look at the very moment, and the slower the
        # machine the longer that is.
        assert SINGLE / 2 < crowd.said["woke"] <= SINGLE * 2
        assert not crowd.said["failed"]
    finally:
        crowd.close()


def succeeded(store, id: str) -> bool:
    return store.inspection.get([id])[0].state == states.SUCCEEDED


def used(made) -> float:
    """Seconds of CPU the server has used."""
    with made.connect() as client:
        info = client.info("cpu")
    return info["used_cpu_user"] + info["used_cpu_sys"]


# -- waiting for results -------------------------------------------------------------------------

WAITERS = 1000


def listeners(made) -> int:
    return len(made.do("CLIENT", "LIST", "TYPE", "PUBSUB").splitlines())


def others(made) -> int:
    """Connections that do not listen, but for the one that asks."""
    return len(made.do("CLIENT", "LIST", "TYPE", "NORMAL").splitlines()) - 1


def end(store, owner, ids) -> None:
    """Be a worker that ends all of *ids*."""
    store.queue.register(owner, Manifest({"job": TaskFacts()}))
    outcome, commits, left = Outcome(states.SUCCEEDED), [], len(ids)
    for number in count(1):
        given = store.queue.exchange(
            owner, 0, number, commits, [], ["celery"], Want(100, 0, frozenset())
        )
        left -= len(commits)
        commits = [Commit(each.fence, outcome) for each in given.deliveries]
        if not left:
            return


def test_a_thousand_threads_wait_on_one_connection(here):
    store = connect(here.url, Options())
    ids = [f"thread-{number}" for number in range(WAITERS)]
    store.queue.enqueue([message(id, task="job", queue="celery") for id in ids])
    answers = {}

    def wait(id):
        answers.update(store.results.wait([id], 60))

    waiting = [threading.Thread(target=wait, args=(id,)) for id in ids]
    for each in waiting:
        each.start()
    until("all are waited for", lambda: len(here.do("PUBSUB", "CHANNELS", "*done:*")) == WAITERS)
    assert listeners(here) == 1
    # Besides, those that looked whether it was over already: as many as did so at once.
    assert others(here) < WAITERS / 10
    end(connect(here.url, Options()), "ender", ids)
    for each in waiting:
        each.join(60)
    assert {each.state for each in answers.values()} == {"succeeded"}
    assert answers.keys() == set(ids)
    assert listeners(here) == 1
