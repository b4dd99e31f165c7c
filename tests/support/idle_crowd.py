"""Many idle workers in one process: ``idle_crowd.py URL COUNT``.

Each has a store of its own and all of a worker that talks to one: its lanes with their bell, its
heart, its ear for commands. Only the executors are stand-ins that succeed at once. What happens is
printed, a line each: ``ready``, ``woke NUMBER`` (a wait has ended because of work), ``ran NUMBER``.
"""

import sys
import threading
import time

from celeriac import states
from celeriac.outcome import Outcome
from celeriac.records import Manifest, TaskFacts
from celeriac.stores import connect
from celeriac.stores.base import Options
from celeriac.worker.dispatch import Dispatch, Hand
from celeriac.worker.duties.commands import Ear
from celeriac.worker.duties.heart import Heart
from celeriac.worker.incarnation import Incarnation
from celeriac.worker.lanes import Lanes

TASKS = {"job": TaskFacts()}
QUEUES = ("celery",)
HEARTBEAT = 3.0
_printing = threading.Lock()


def say(text):
    with _printing:
        print(text, flush=True)


def failed(error):
    say(f"failed {error!r}")


class Idler:
    """A worker but for its executors."""

    def __init__(self, number, url):
        self.number = number
        store = connect(url, Options())
        for name in ("wait", "wait_and_lease"):  # as the lanes wait on a store that can do both
            if hasattr(store.queue, name):
                setattr(store.queue, name, self.listened(getattr(store.queue, name)))
        incarnation = Incarnation(lease=15.0, margin=3.0)
        self.dispatch = Dispatch(incarnation, TASKS, None, self.wake)
        self.hand = Hand(0, self.run)
        self.dispatch.join(self.hand)
        self.done = []
        self.lanes = Lanes(store, self.dispatch, QUEUES, store.capabilities.lanes, failed)
        self.heart = Heart(store, incarnation, None, HEARTBEAT, lambda beat: None, failed)
        self.ear = Ear(store, incarnation, f"idler-{number}", None, lambda command: None, failed)
        self.heart.register(Manifest(TASKS, hostname=f"idler-{number}", queues=QUEUES))

    def start(self):
        self.heart.start()
        self.ear.start()
        self.lanes.start()

    def listened(self, wait):
        def wrapped(*args):
            found = wait(*args)
            if found:
                say(f"woke {self.number}")
            return found

        return wrapped

    def run(self, first, items):
        """The lock of the dispatch is held: what ran is answered by the main thread."""
        for key, _ in enumerate(items, first):
            say(f"ran {self.number}")
            self.done.append(key)

    def wake(self):
        pass

    def answer(self):
        done, self.done = self.done, []
        if done:
            self.dispatch.done(self.hand, [(key, Outcome(states.SUCCEEDED), 0.001) for key in done])


def main(url, count):
    crowd = [Idler(number, url) for number in range(int(count))]
    for each in crowd:
        each.start()
        time.sleep(HEARTBEAT / len(crowd))  # as workers that were started at different moments
    say("ready")
    while True:
        for each in crowd:
            each.answer()
        time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
