"""Executors that are events: the prefork pool's own bookkeeping over processes that are not."""

import signal
from collections import deque
from functools import partial
from types import SimpleNamespace

from celeriac.worker.deaths import Death
from celeriac.worker.hands import Hand
from celeriac.worker.pools.prefork import Executor, Prefork
from celeriac.worker.slots import ALL_KEYS
from simulation.world import Actor


class Process(Actor):
    """A process that runs deliveries one after the other, and the pipe to its supervisor."""

    def __init__(self, pool, index):
        super().__init__(f"{pool.worker.name}/{index}")
        self.pool = pool
        self.index = index
        self.pid = 0
        self.inbox = deque()
        self.pipe = []
        self.key, self.since = 0, 0.0
        self.low = self.high = 0
        self.running = False
        self.stopping = False

    def feed(self, first, items):
        for each in items:
            self.pool.work.watch.gives(self.pool.worker, each)
        self.inbox.extend(enumerate(items, first))
        self.soon(self.begin)

    def soon(self, happen):
        world = self.pool.world
        world.after(world.between(0.0, 0.002), self, happen)

    def begin(self):
        """Begin the next one that is not held back."""
        world = self.pool.world
        while self.inbox and not self.running:
            key, delivery = self.inbox.popleft()
            if self.low <= key < self.high:
                self.say(("skipped", key))
                continue
            self.key, self.since, self.running = key, world.now, True
            run = self.pool.work.run(delivery, self)
            if run.update is not None:
                self.say(("update", key, run.update))
            if run.dies:
                world.after(run.seconds, self, lambda: self.die("killed by its task"))
            else:
                world.after(run.seconds, self, partial(self.end, key, run))
        if self.stopping and not (self.inbox or self.running):
            self.die("ended")

    def end(self, key, run):
        self.running = False
        self.pool.work.ended(run, self)
        self.say(("done", key, run.outcome, run.seconds))
        if run.then_dies:
            self.die("killed behind its outcome")
            return
        self.begin()

    def say(self, what):
        self.pipe.append(what)
        world, pool = self.pool.world, self.pool
        world.after(world.between(0.0, 0.002), pool.worker, lambda: pool.read(self))

    def on_board(self):
        """Keys of what it runs."""
        return [self.key] if self.running else []

    def die(self, why):
        if not self.alive:
            return
        self.alive = False
        world, pool = self.pool.world, self.pool
        pool.died(self, why)
        world.tell(self.name, why)
        world.after(world.between(0.001, 0.02), pool.worker, lambda: pool.bury(self, why))


#: Deaths of which nobody knows whose fault they are, if several ran there.
SUSPICIOUS = {"killed by its task", "killed behind its outcome", "killed from outside"}


class Nowhere:
    """Receivers of what this simulation has nobody for."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


class Made:
    """Of a real pool, everything that asks the operating system."""

    def __init__(self, worker, work, dispatch, size, on_death):
        self.worker = worker
        self.world = worker.world
        self.work = work
        self.executors = {}
        self.size = size
        self.closing = False
        self.scale = None
        self.returned = []
        self.notices = Nowhere()
        self.processes = {}
        self._nursery = SimpleNamespace(slots=self, sock=True, give_back=lambda process: None)
        self._dispatch = dispatch
        self._on_death = on_death
        self._max_tasks = None
        self._respawn_at = self._respawn_delay = 0.0
        self._born = 0

    # What slots are.
    def running(self, index):
        process = self.processes[index]
        return process.key, process.since

    def hold(self, index, low, high=ALL_KEYS):
        process = self.processes[index]
        process.low, process.high = low, high

    # What sockets and signals are.
    def died(self, process, why):
        """Who is to be charged with this death, if anybody is: it ran alone."""
        watch, executor = self.work.watch, self.executors.get(process.index)
        held = {} if executor is None else executor.hand.held
        ids = [held[key].delivery.id for key in process.on_board() if key in held]
        if len(ids) == 1:
            watch.convicted[ids[0]] += 1
        elif why in SUSPICIOUS:
            watch.counts["suspects"] += len(ids)
            watch.suspected.update(ids)
            watch.suspects |= {
                held[key].delivery.fence for key in process.on_board() if key in held
            }

    def ready(self, executor):
        if executor.process.alive and not executor.spent:
            self._dispatch.join(executor.hand)

    def write(self, process, data):
        process.stopping = True  # the only frame that is written here is Stop
        process.soon(process.begin)

    def kill(self, executor, why, number=signal.SIGKILL):
        if executor.doomed and number != signal.SIGKILL:
            return
        executor.doomed = executor.doomed or why
        executor.hand.closed = True
        executor.process.soon(lambda: executor.process.die(why))

    def read(self, process):
        """Take in what an executor says. A real pool reads its socket."""
        said, process.pipe = process.pipe, []
        executor = self.executors.get(process.index)
        if executor is None or not said:
            return
        results = []
        for what, key, *rest in said:
            if what == "done":
                results.append((key, *rest))
            elif what == "frame":
                self._hear(executor, key)
            elif what == "skipped":
                self._dispatch.skipped(executor.hand, key)
            elif key in executor.hand.held:
                fence = executor.hand.held[key].delivery.fence
                self._dispatch.note_update(fence, "PROGRESS", rest[0])
        if results:
            self._finish(executor, results)
        self._end_if_spent(executor)
        self.worker.stir()

    def bury(self, process, why):
        executor = self.executors.get(process.index)
        if executor is None:
            return
        self.read(process)
        clean = why == "ended"
        self._account(
            executor,
            Death(process.index, None if clean else 9, 0 if clean else None, 0, executor.doomed),
        )
        self.worker.stir()

    def _hear_out(self, executor):
        self.read(executor.process)
        return self.executors.get(executor.process.index) is executor

    def _slow_down(self, executor, useful):
        pass

    def end_run(self, held, outcome, how, stack=""):
        self.world.tell(self.worker.name, "%s: %s, so %s", held.delivery.id, how, outcome.state)
        super().end_run(held, outcome, how, stack)


class Pool(Made, Prefork):
    """Executors that run one task at a time."""

    def _make_executor(self):
        self._born += 1
        process = self.processes[self._born] = Process(self, self._born)
        hand = Hand(process.index, process.feed)
        hand.left = self._max_tasks
        executor = self.executors[process.index] = Executor(process, hand)
        self.world.after(self.world.between(0.01, 0.3), self.worker, lambda: self.ready(executor))
