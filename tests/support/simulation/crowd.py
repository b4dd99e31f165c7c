"""Executors that run several tasks at once, as events: the bookkeeping of the shared pools over
processes that are not, as ``pool`` does it for prefork."""

from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

from celeriac import states
from celeriac.outcome import Outcome
from celeriac.worker import frames
from celeriac.worker.duties import limits
from celeriac.worker.hands import Hand
from celeriac.worker.pools import shared
from celeriac.worker.pools.nursery import ASYNCIO, THREADS
from celeriac.worker.pools.shared import Crowd, Shape, Shared
from simulation.pool import Made, Process

CANCELLED = Outcome(states.CANCELLED, reason="TaskRevokedError: terminated")
#: Seconds that neighbours of a run that cannot be stopped have to finish.
DRAIN_GRACE = 3.0
ROLES = (THREADS, ASYNCIO)


class CrowdProcess(Process):
    """Several runs side by side, and the board that says which."""

    def __init__(self, pool, index, places):
        super().__init__(pool, index)
        self.pid = index
        self.places = places
        self.born = pool.world.now
        self.inbox_of_frames = frames.Inbox()
        self.board = self
        #: Key → when it was written there; it is wiped once its outcome is in the pipe.
        self.marks = {}
        #: Key → what runs under it; of these, which do not heed that they are to end.
        self.present = {}
        self.stubborn = set()
        #: It does not answer: a run keeps the interpreter to itself, or the loop.
        self.mute = pool.world.chance(0.1)

    @property
    def running(self):
        return len(self.marks)

    @running.setter
    def running(self, value):
        pass

    def feed(self, first, items):
        watch = self.pool.work.watch
        for each in items:
            if each.fence in watch.suspects and self.places > 1:
                watch.wrong("%s: a suspect runs beside others", each.id)
        super().feed(first, items)

    # What a board is.
    def keys(self):
        return list(self.marks)

    def runs(self):
        return list(self.marks.items())

    def on_board(self):
        return list(self.present)

    def begin(self):
        world = self.pool.world
        while self.inbox and len(self.marks) < self.places:
            key, delivery = self.inbox.popleft()
            self.marks[key] = world.now
            if self.low <= key < self.high:
                del self.marks[key]
                self.say(("skipped", key))
                continue
            run = self.pool.work.run(delivery, self)
            self.present[key] = run
            if world.chance(0.3):
                self.stubborn.add(key)
            if run.update is not None:
                self.say(("update", key, run.update))
            end = partial(self.die, "killed by its task") if run.dies else partial(self.end, key)
            world.after(run.seconds, self, lambda key=key, end=end: self.still(key, end))
        if self.stopping and not (self.inbox or self.marks):
            self.die("ended")

    def still(self, key, happen):
        """What is to happen at the end of a run, unless it was cancelled before."""
        if key in self.present:
            happen()

    def end(self, key, outcome=None):
        run = self.present.pop(key)
        if outcome is None:
            self.pool.work.ended(run, self)
        self.say(("done", key, outcome or run.outcome, run.seconds))
        if run.then_dies and outcome is None:
            self.die("killed behind its outcome")
            return
        self.soon(lambda: self.wipe(key))

    def wipe(self, key):
        del self.marks[key]
        self.begin()

    def hear(self, frame):
        """A frame from the supervisor."""
        if isinstance(frame, frames.Stop):
            self.stopping = True
            self.begin()
        elif self.mute and self.present:
            return
        elif isinstance(frame, frames.Ping):
            self.say(("frame", frames.Pong(frame.number)))
        elif isinstance(frame, frames.Cancel):
            if frame.key not in self.present:
                self.say(("frame", frames.Stays(frame.key)))
            elif frame.key not in self.stubborn:
                self.end(frame.key, CANCELLED)


class CrowdPool(Made, Shared):
    """A real shared pool over these."""

    def __init__(self, worker, work, dispatch, size, on_death):
        super().__init__(worker, work, dispatch, 1, on_death)
        dispatch.crowded = True
        self.width = self.widest = size
        self._shape = Shape(worker.role, size, DRAIN_GRACE)

    def _make_crowd(self, places, company, left):
        self._born += 1
        process = self.processes[self._born] = CrowdProcess(self, self._born, places)
        hand = Hand(process.index, process.feed)
        hand.left, hand.company = left, company
        hand.places = hand.width = places
        executor = self.executors[process.index] = Crowd(process, hand)
        self.world.after(self.world.between(0.01, 0.3), self.worker, lambda: self.ready(executor))

    def write(self, process, data):
        for frame in process.inbox_of_frames.feed(data):
            process.soon(partial(process.hear, frame))


@contextmanager
def virtual_time(world):
    """What the shared pools and their limits read from the clock is the world's."""
    clock = SimpleNamespace(monotonic=world.monotonic, perf_counter=world.monotonic)
    before = shared.time, limits.time
    shared.time = limits.time = clock
    try:
        yield
    finally:
        shared.time, limits.time = before
