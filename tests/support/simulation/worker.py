"""One worker: real parts in the order in which the supervisor's threads use them."""

import math
from collections import deque
from functools import partial

from celeriac.backoff import jittered
from celeriac.exceptions import OperationalError
from celeriac.records import Manifest
from celeriac.worker.calledoff import deliveries_of
from celeriac.worker.courses import Call, Exchanges, Pulse, follow
from celeriac.worker.custody import Custody
from celeriac.worker.dispatch import Dispatch
from celeriac.worker.duties.limits import MemoryLimits, make_limits
from celeriac.worker.incarnation import Incarnation
from celeriac.worker.rhythm import TICK_IDLE
from celeriac.worker.stamps import RevokedStamps
from simulation.crowd import CrowdPool
from simulation.far import Bringing
from simulation.network import play
from simulation.pool import Pool
from simulation.watch import LEASE, MARGIN
from simulation.work import QUEUES, TASKS
from simulation.world import Actor

HEARTBEAT, GRACE = 3.0, 4.0
#: How often runs are looked at; more slowly than in a real worker, where nothing else changes.
TICK_BUSY = 0.2


class Direct:
    """The store's queue for a thread that waits for each answer."""

    def __init__(self, worker):
        self._worker = worker

    def release(self, *args, **options):
        return self._worker.network.now(self._worker, Call("release", args, options))

    def leases(self, owner):
        return self._worker.network.now(self._worker, Call("leases", (owner,)))


class Lane:
    def __init__(self, number):
        self.number = number
        self.sequence = 0
        self.busy = False


class Worker(Actor):
    """A worker process with its executors; dies as a whole, and another takes its place."""

    def __init__(self, simulation, name, slots, lanes, role=None, tasks=TASKS):
        super().__init__(name)
        self.simulation = simulation
        self.world, self.network = simulation.world, simulation.network
        self.queue = simulation.open_for(self)
        clock = self.world.monotonic
        self.incarnation = Incarnation(LEASE, MARGIN, clock, simulation.new_owner)
        self.dispatch = Dispatch(self.incarnation, dict(tasks), None, self.wake, clock)
        self.exchanges = Exchanges(self.dispatch, QUEUES, clock)
        self.pulse = Pulse(self.incarnation, clock)
        self.dispatch.stamps = self.pulse.stamps = RevokedStamps(simulation.clock.wall)
        self.pulse.held = lambda: deliveries_of(self.dispatch)
        self._hearing, self._heard = False, deque()
        self.custody = Custody(
            self.dispatch, Direct(self), 5.0, lambda *_: None, self.world.random, clock
        )
        #: Which shared pool it has, if it is not prefork.
        self.role = role
        self.pool = self.custody.pool = (CrowdPool if role else Pool)(
            self, simulation.work, self.dispatch, slots, self.custody.on_death
        )
        self.limits = make_limits(
            self.pool, self.dispatch, self.pool, MemoryLimits(2**60, None), LEASE
        )
        self.limits._memory_due = math.inf  # there are no processes to measure
        self.lanes = [Lane(number) for number in range(1, lanes + 1)]
        self.bell = Lane(lanes + 1)
        self.manifest = Manifest(dict(tasks), hostname=name)
        self.begun = self.registered = self.registering = False
        self.register_due = self.reconcile_due = self.turn_due = self.token_due = 0.0
        self.stopping_since = None
        self.leaving = False
        self.bids = "bids" in simulation.features and self.network.doorbell is not None
        self.stirred = False
        self.register()

    # --- the main thread ----------------------------------------------------------------------
    def register(self):
        self.registering = True
        owner = self.incarnation.candidate()

        def then(answer):
            if isinstance(answer, Exception) and not self.begun:
                self.world.after(0.3, self, self.register)  # nothing else is done until then
                return
            self.registering = False
            if isinstance(answer, Exception):
                self.register_due = self.world.now + 1.0
            else:
                self.world.tell(self.name, "is %s", owner)
                self.registered = True
                if not self.begun:
                    self.begun = True
                    self.pool.fill()
                    self.world.after(self.heartbeat(), self, self.beat)
                    if self.network.far is not None:
                        Bringing(self, self.network.far)
            self.turn()

        self.learn(self.pulse.register(owner, self.manifest), then)

    def wake(self, _mask=0):
        self.world.after(0.0005, self, self.turn)

    def turn(self):
        """What the supervisor's main thread does at each turn."""
        if self.registering or self.leaving:
            return
        now = self.world.now
        stopping = self.stopping_since is not None
        if self.incarnation.lost and self.registered and not stopping:
            self.world.tell(self.name, "has lost its lease")
            self.custody.lose_all()
            self.registered = False
        if not (self.registered or stopping) and now >= self.register_due:
            self.register()
            return
        if self.pulse.doubt and self.registered and not self.incarnation.lost:
            self.reconcile(now)
        self.dispatch.place()
        if self.network.doorbell is not None and (stopping or self.dispatch.overbid()):
            self.network.doorbell.call_away(self)
        self.custody.obey()
        while self.dispatch.outworn:
            hand = self.dispatch.outworn.pop()
            executor = self.pool.executors.get(hand.index)
            if executor is not None and executor.hand is hand:
                self.pool.retire(executor)
        if self.pool.returned:
            self.custody.give_back()
        self.limits.tick(now)
        if not stopping:
            self.pool.fill()
        elif now - self.stopping_since >= TICK_BUSY and self.custody.empty(
            now - self.stopping_since > GRACE
        ):
            self.leave()
            return
        self.stir()
        token = self.dispatch.rates.pause()
        if token is not None and not now < self.token_due <= now + token:
            self.token_due = now + token
            self.world.after(token, self, self.turn)
        if now >= self.turn_due:
            busy = stopping or any(each.hand.held for each in self.pool.executors.values())
            pause = TICK_BUSY if busy else TICK_IDLE
            self.turn_due = now + pause
            self.world.after(pause, self, self.turn)

    def reconcile(self, now):
        """The store may have gone back."""
        if now < self.reconcile_due:
            return
        self.pulse.doubt = False
        try:
            self.custody.reconcile()
            self.declare_again()
        except OperationalError:
            self.pulse.doubt, self.reconcile_due = True, now + 1.0

    def declare_again(self):
        """As the heart does it; of stamps the next beat hears."""
        beat = follow(self.pulse.beat(), partial(self.network.now, self), None)
        if beat is None or not self.incarnation.trusted:
            raise OperationalError("it does not answer, or has given this worker up")
        self.custody.orders.extend(beat.revoked)
        self.network.now(self, Call("register", (self.incarnation.owner, self.manifest)))

    def stop(self):
        """SIGTERM."""
        if self.stopping_since is None and self.registered:
            self.world.tell(self.name, "stops")
            self.stopping_since = self.world.now
            self.custody.stopping = self.pool.closing = True
            self.dispatch.close()
            for executor in self.pool.executors.values():
                self.pool.hold_back(executor)
            self.turn()

    def leave(self):
        self.leaving = True
        self.exchanges.deadline = self.world.now + LEASE
        self.flush()

    def flush(self):
        """Leave once everything is committed, or it takes too long."""
        self.stir()
        late = self.world.now > self.exchanges.deadline + 1.0
        if not (late or (self.dispatch.flushed and not any(lane.busy for lane in self.lanes))):
            self.world.after(0.1, self, self.flush)
            return
        owner = self.incarnation.owner
        if late or self.exchanges.abandoned:
            self.go("left in a hurry")
            return
        self.network.call(self, Call("close_owner", (owner,)), lambda answer: self.go("left"))

    def go(self, how):
        self.die(how)

    # --- store threads ------------------------------------------------------------------------
    def stir(self):
        """Let lanes and bell look, soon, whether there is something to do."""
        if not self.stirred:
            self.stirred = True
            self.world.after(self.world.between(0.0, 0.003), self, self.look)

    def look(self):
        self.stirred = False
        dispatch = self.dispatch
        for lane in self.lanes:
            with dispatch.changed:
                if lane.busy or not dispatch.has_work():
                    continue
                batch = dispatch.take()
            self.exchange(lane, batch)
        if self.bell.busy or self.leaving:
            return
        with dispatch.changed:
            if not dispatch.may_wait():
                return
            bid = dispatch.bid() if self.bids else None
        self.bell.busy = True
        if bid is not None:
            self.lease(bid)
        elif self.network.doorbell is not None:
            self.ring()
        else:
            self.world.after(self.world.between(0.05, 2.0), self, self.ring)

    def ring(self):
        course = self.exchanges.listen(QUEUES)

        def then(heard):
            if not heard:
                self.bell.busy = False
                return
            with self.dispatch.changed:
                batch = self.dispatch.take(updates=False)
            self.exchange(self.bell, batch)

        play(self.world, self.network, self, course, then)

    def lease(self, bid):
        """Wait, and have the store lease what there is."""

        def then(used):
            self.bell.sequence += used
            self.bell.busy = False
            self.stir()

        course = self.exchanges.lease(self.bell.number, self.bell.sequence + 1, bid, QUEUES)
        play(self.world, self.network, self, course, then)

    def exchange(self, lane, batch):
        lane.busy = True
        lane.sequence += 1

        def then(_answer):
            lane.busy = False
            self.stir()

        course = self.exchanges.exchange(lane.number, lane.sequence, batch)
        play(self.world, self.network, self, course, then)

    # --- the heart ----------------------------------------------------------------------------
    def heartbeat(self, seconds=HEARTBEAT):
        return jittered(seconds, 0.1, self.world.random)

    def learn(self, course, then):
        """One at a time of what tells this worker of stamps, as a lock has it."""
        if self._hearing:
            self._heard.append((course, then))
            return
        self._hearing = True

        def done(answer):
            self._hearing = False
            if self._heard:
                self.learn(*self._heard.popleft())
            then(answer)

        play(self.world, self.network, self, course, done)

    def beat(self):
        def then(beat):
            if beat is not None and not beat.lost and beat.stamps != self.pulse.stamps.number:
                self.learn(self.pulse.hear(beat.stamps), lambda hurry: heard(beat, hurry))
            else:
                heard(beat, False)

        def heard(beat, hurry):
            if beat is not None:
                self.custody.orders.extend(beat.revoked)
                if beat.revoked or beat.lost or self.pulse.doubt:
                    self.wake()
            pause = 0.0 if hurry else self.heartbeat(HEARTBEAT if beat else 1.0)
            self.world.after(pause, self, self.beat)

        play(self.world, self.network, self, self.pulse.beat(), then)

    # --- faults -------------------------------------------------------------------------------
    def die(self, how):
        """The whole worker: executors do not outlive it."""
        if not self.alive:
            return
        self.world.tell(self.name, how)
        self.alive = False
        for process in self.pool.processes.values():
            process.alive = False
        self.simulation.died(self)

    def everything(self):
        """Itself and its executors."""
        return [self, *(each for each in self.pool.processes.values() if each.alive)]
