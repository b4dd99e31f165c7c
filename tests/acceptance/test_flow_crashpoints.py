"""``kill -9`` at every named crash point that can be met amid workflows, on each store.

Random workflows (``random_canvases.py``), and one whose steps are too large for one transaction,
are in progress when somebody dies; then all of it is held against edges, trees and ledger, as in
``test_flow_faults.py``, where strikes come from outside and at random. Where a worker dies at a
point, it is every second time with its whole family at once. ``FLOW_STRIKES`` and ``FLOW_FIRST``
choose as they do there. That each point is met on each store is for `test_fault_matrix.py` to say.
"""

import os
import random
import signal
import zlib
from itertools import cycle

import pytest
from chaos_points import Again, Mortal, wide
from workers import eventually, site_on

STORES = ("sqlite", "redis", "valkey")
#: Points of one who works, each with the hits at which one worker after the other dies.
WORKING = {
    "exchange.before": (2, 6, 12),
    "exchange.applied": (3, 5, 9),
    "beat.applied": (1, 2),
    "reap.applied": (1, 1),
    "delivery.received": (1, 4, 8),
    "delivery.sent": (2, 5, 11),
    "outcome.received": (1, 6, 13),
}
#: Points at which results are brought to another store.
RELAYING = {"relay.read": (2, 3), "relay.brought": (1, 4), "relay.struck": (2, 3)}
EXECUTING = ("executor.received", "executor.ran", "executor.sent")
SENDING = ("enqueue.before", "enqueue.applied")
STOPPING = ("release.applied", "close.applied")
#: A worker dies at these in `make test`; the others belong to `make test-faults`.
CORE = {("sqlite", "exchange.applied"), ("redis", "outcome.received")}
ACTIONS = ("kill", "killsession")


def on_each_store(points):
    """A case for each store and point."""
    cases = [
        pytest.param(store, point, marks=() if (store, point) in CORE else pytest.mark.faults)
        for store in STORES
        for point in points
    ]
    return pytest.mark.parametrize(("scene", "point"), cases, indirect=["scene"])


@pytest.fixture
def scene(tmp_path, request, shared):
    """Workflows on a store, and with another one for results where that is what it is about."""
    seed = int(os.environ.get("FLOW_STRIKES", random.randrange(1 << 30)))
    first = int(os.environ.get("FLOW_FIRST", zlib.crc32(request.node.name.encode()) % 100_000))
    print(f"FLOW_STRIKES={seed} FLOW_FIRST={first}")
    point = request.node.callspec.params.get("point", "")
    with site_on(request.param, tmp_path, shared, "chaos_tasks.py", noting=True) as place:
        settings = {}
        if point in RELAYING:
            settings["backend"] = f"sqlite:///{tmp_path}/results.db"
            place.environment["CELERIAC_RESULT_BACKEND"] = settings["backend"]
        yield Mortal(place, seed, first, **settings)


@pytest.fixture
def end(scene, request, record_property):
    """A function that has all end, and judges it."""

    def ended(judge=scene.finish):
        counts, problems = judge()
        print(dict(counts), dict(scene.struck))
        record_property("tally", (request.node.callspec.params["scene"], dict(counts)))
        assert not problems, "\n".join([*problems, scene.logs()])

    return ended


@on_each_store(WORKING | RELAYING)
def test_a_worker_dies_amid_workflows(scene, end, point):
    for hit, action in zip((WORKING | RELAYING)[point], cycle(ACTIONS), strict=False):
        scene.begin()
        scene.killed(scene.victim(point, hit, action))
    end()


@on_each_store(["sweep.before"])
def test_a_worker_dies_between_the_steps_of_a_large_one(scene, end, point):
    """A part's end releases more than one step may touch, or ends them all."""
    for do, hit, action in (("ok", 1, "kill"), ("fail", 2, "killsession"), ("ok", 2, "kill")):
        scene.begin(wide(do), count=1)
        scene.killed(scene.victim(point, hit, action))
    end()


@on_each_store(EXECUTING)
def test_an_executor_dies_amid_workflows(scene, end, point):
    scene.begin()
    # Each of its executors dies at its third task.
    worker = scene.victim(point, 3, "kill")
    eventually(lambda: worker.text().count("died of signal 9") >= 3, "three have died")
    scene.struck["executor"] += 3
    worker.kill()
    # One of them takes its whole family along.
    scene.begin()
    scene.killed(scene.victim(point, 2, "killsession"), "executor")
    end()


@on_each_store(STOPPING)
def test_a_worker_dies_while_it_stops_amid_workflows(scene, end, point):
    for _ in range(10):
        # What is sent ahead is handed back by who stops, if it has not begun.
        began = len(scene.ledger.read())
        scene.begin(wide(), count=1)
        worker = scene.victim(point, 1, "kill")
        scene.under_way(began + 4)
        worker.send(signal.SIGTERM)
        if worker.process.wait(60) == -signal.SIGKILL:
            scene.struck["worker"] += 1
            break
    assert scene.struck["worker"] == 1, "it had nothing to hand back, ten times"
    end()


@on_each_store(SENDING)
def test_a_client_dies_while_it_sends_workflows(scene, end, point):
    scene.begin()
    scene.victim("beat.applied", 4, "killsession")
    for _ in range(3):
        scene.client(point)
    end()


@on_each_store(["revoke.applied", "purge.applied"])
def test_a_command_dies_that_ends_workflows(scene, end, point):
    """A part of what is called off is, and not all: whoever runs goes on, and so do others."""
    names = scene.begin(wide(), count=2)
    scene.uncertain |= set(names)
    worker = scene.victim("outcome.received", 9, "killsession")
    scene.under_way(4)
    if point == "revoke.applied":
        words = ["revoke", *[id for name in names for id in scene.ids(name)], "--terminate"]
    else:
        words = ["purge", "-f"]
    scene.command(*words, point=point)
    scene.killed(worker)
    other = scene.victim("outcome.received", 3, "kill")
    scene.begin(count=1)
    if point == "revoke.applied":
        scene.command(*words)
    scene.killed(other)
    end()


@on_each_store(["retry.applied"])
def test_a_command_dies_that_retries_workflows(scene, end, point):
    """What was reopened by then runs, the rest once it is asked for again; workers die, too."""
    scene.mendable = True
    scene.begin(wide("mendable"), count=3)
    scene.killed(scene.victim("exchange.applied", 9, "kill"))
    end()
    again = Again(scene)
    failed = again.failed()
    for name in failed:
        scene.command("retry", scene.results[name].id, "--all-failed", point=point)
    worker = scene.victim("exchange.applied", 4, "killsession")
    for name in failed:
        scene.command("retry", scene.results[name].id, "--all-failed")
    scene.killed(worker)
    scene.end()
    end(again.judge)
