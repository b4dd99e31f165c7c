"""The primary is killed under a worker at work: behind sentinels, and in a cluster.

Copies are made after the answer, so what the primary alone had is lost with it; what both servers
had before is not. The ids that are asked about are those that the replica had acknowledged, too.
"""

import contextlib
import signal
import threading
from itertools import count

import pytest
import servers
from workers import LENIENCE, eventually, site

from celeriac.clock import SYSTEM
from celeriac.exceptions import CeleriacError
from celeriac.message import Header, compose
from celeriac.stores import connect
from celeriac.stores.base import Options

#: Within so many seconds after the new primary is announced a worker goes on.
RETURN = 5.0 * LENIENCE
#: Seconds a task takes, and tasks that both servers are to have before the primary dies.
NAP = 0.01
ENOUGH = 150


class Sender(threading.Thread):
    """Sends a task every 0.01 s, failures included, until told to stop; keeps the ids that
    were acknowledged, and of those the ones that the replica has, too."""

    def __init__(self, url, primary):
        super().__init__(daemon=True)
        self.store = connect(url, Options(timeout=10.0))
        self.primary = primary
        self.acknowledged: list[str] = []
        self.copied: list[str] = []
        self.failures: list[str] = []
        self.stopping = threading.Event()

    def run(self):
        for number in count():
            if self.stopping.wait(0.01):
                return
            id = f"sent-{number}"
            try:
                self.store.queue.enqueue([task(id)])
            except CeleriacError as error:
                self.failures.append(str(error))
                continue
            self.acknowledged.append(id)
            if number % 10 == 9 and not self.failures:
                self.copy()

    def copy(self):
        """What was sent so far is copied before this command is: it is the later one."""
        so_far = list(self.acknowledged)
        with contextlib.suppress(servers.redis.RedisError), self.primary.connect() as client:
            client.publish("mark", "")
            client.set("mark", 1)
            if client.wait(1, 5000) >= 1:
                self.copied = so_far

    def stop(self):
        self.stopping.set()
        self.join(servers.DEADLINE)
        assert not self.is_alive()


def task(id, name="tasks.nap", seconds=NAP, priority=0):
    header = Header(id, name, f"nonce-{id}", priority=priority)
    return compose(header, b"[[%g],{}]" % seconds)


def strike(tmp_path, url, primary, announced):
    """Kill *primary* while a worker is at it; *announced* tells when there is another."""
    with site(tmp_path, broker=url) as place:
        worker = place.worker().ready()
        sender = Sender(url, primary)
        sender.start()
        eventually(lambda: len(sender.copied) >= ENOUGH, "the replica has many")
        eventually(lambda: len(place.ledger("end")) >= 20, "the worker is at work")
        primary.stop(signal.SIGKILL)
        eventually(announced, "there is a new primary", interval=0.01)
        began = SYSTEM.monotonic()
        # What is sent now runs before all that waits.
        store = connect(url, Options(timeout=20.0))
        store.queue.enqueue([task("after", priority=9)])
        place.wait_ledger("end", "after")
        took = SYSTEM.monotonic() - began
        sender.stop()
        place.ended(["after", *sender.copied])
        records = place.store.inspection.get(["after", *sender.copied])
        assert {each.state for each in records} == {"succeeded"}
        assert took < RETURN
        assert worker.process.poll() is None
        # Of what only the old one had acknowledged, some may be lost, and how many is told.
        known = place.store.inspection.get(sender.acknowledged)
        lost = [id for id, each in zip(sender.acknowledged, known, strict=True) if each is None]
        assert not set(lost) & set(sender.copied)
        place.ended([id for id in sender.acknowledged if id not in set(lost)])
        print(
            f"went on {took:.1f} s after the new primary; {len(sender.acknowledged)} sent, "
            f"{len(sender.copied)} of them surely copied, {len(lost)} lost"
        )
        # Nobody is left behind with the id of a worker that the new one never knew.
        eventually(lambda: len(place.alive_workers()) == 1, "one worker lives")
        assert worker.stop() == 0


@pytest.mark.slow
def test_behind_sentinels_the_primary_dies_under_a_worker(tmp_path):
    with servers.watched() as group:
        strike(tmp_path, group.url, group.primary, lambda: group.leader() == group.replica.port)


@pytest.mark.slow
def test_a_node_of_the_cluster_dies_under_a_worker(tmp_path):
    key = "{celeriac}:schema"
    with servers.cluster(replicated=key) as whole:
        owner = whole.owner_of(key)
        strike(tmp_path, whole.url, owner, lambda: whole.owner_of(key) is whole.replica)
