"""The client of a soak: sends the generations whose numbers it reads, and writes down what became
of each order. It is killed now and then; the next one goes on where it was.

    python soak_client.py SEED FOLDER
"""

import datetime as dt
import faulthandler
import heapq
import os
import sys
import time
from pathlib import Path

import tasks
from random_canvases import build
from soak_oracle import Receipts
from soak_plan import BEFORE, STRANGER, batch, rng

from celeriac.exceptions import OperationalError
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.testing.faults import Faults, Rule, wrap

#: Seconds between two orders, at most.
PACE = 0.08
#: Of so many short calls of a generation the client waits for the results, for at most so long.
AWAITED, PATIENCE = 3, 100.0
#: Seconds in which a store must have answered that breaks only now and then.
DEADLINE = 60.0
#: Seconds after which a call hangs: it has ``publish_timeout`` (5 s) in all, and a machine that has
#: other work may be late. Then this client ends by itself, and its log says where it was.
HUNG = 20.0


def insist(ask):
    """What the store answers, which is asked until it does."""
    until = time.monotonic() + DEADLINE
    while True:
        try:
            return ask()
        except OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


class Client:
    def __init__(self, seed, folder):
        self.seed, self.folder = seed, folder
        options = Options.from_settings(tasks.app.conf)
        self.store = insist(lambda: connect(os.environ["BROKER"], options))
        self.faults = Faults(
            Rule("queue.enqueue", "after", probability=0.03),
            Rule("queue.enqueue", "before", probability=0.02),
            seed=os.getpid(),
        )
        tasks.app.lend(wrap(self.store, self.faults), tasks.app.client)

    def send(self, number):
        """All of a generation that no client before this one has sent."""
        path = self.folder / f"receipts-{number}"
        known = Receipts.read(path.read_text() if path.exists() else "")
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        pick, later, awaited = rng(self.seed, number, "pace"), [], []
        for order in batch(self.seed, number):
            pause = pick.random() * PACE
            if order.id not in known.tried:
                if self.order(order) and order.kind == "short":
                    awaited.append(order.id)
                time.sleep(pause)
            if order.revoke not in (None, BEFORE) and order.id not in known.revoked:
                heapq.heappush(later, (time.monotonic() + order.revoke, order.id, order.ending))
            while later and later[0][0] <= time.monotonic():
                self.revoke(heapq.heappop(later))
        while later:
            time.sleep(max(0.0, later[0][0] - time.monotonic()))
            self.revoke(heapq.heappop(later))
        for id in awaited[:AWAITED]:
            self.await_result(id)
        self.write("all", number)
        os.close(self.file)

    def order(self, order):
        """Send it; whether it has been acknowledged."""
        if order.revoked_first:
            insist(lambda: self.store.queue.revoke(order.revoked_first, order.ending))
        self.write("try", order.id, time.monotonic())
        faulthandler.dump_traceback_later(HUNG, exit=True)
        try:
            call(tasks.app, order)
        except OperationalError:
            self.write("doubt", order.id)
            return False
        finally:
            faulthandler.cancel_dump_traceback_later()
        self.write("ok", order.id)
        return True

    def await_result(self, id):
        """Wait for what comes of a call; a result that nobody tells us of ends this client."""
        value = insist(lambda: tasks.app.AsyncResult(id).get(timeout=PATIENCE, propagate=False))
        assert value is not None

    def revoke(self, due):
        _, id, ending = due
        insist(lambda: self.store.queue.revoke([id], ending))
        self.write("revoked", id, time.monotonic())

    def write(self, *what):
        # The newline comes first: a kill may tear a line, and the next must not be a part of it.
        os.write(self.file, ("\n" + " ".join(map(str, what)) + " .").encode())


def call(app, order):
    """Send *order*."""
    if order.tree:
        build(app, order.tree, order.id).apply_async()
        return
    options = {"task_id": order.id, **order.options}
    if order.later and order.options["priority"] % 2:
        now = dt.datetime.now(dt.UTC)
        options["eta"] = now + dt.timedelta(seconds=order.later)
    elif order.later:
        options["countdown"] = order.later
    if order.task == STRANGER:
        app.send_task(order.task, args=order.args, **options)
    else:
        app.tasks[order.task].apply_async(order.args, **options)


if __name__ == "__main__":
    client = Client(sys.argv[1], Path(sys.argv[2]))
    for line in sys.stdin:
        client.send(int(line))
