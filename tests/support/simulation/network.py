"""What happens between a caller and the store: delay, loss of requests and of replies, repeats."""

from msgspec.structs import replace

from celeriac.backoff import reconnect
from celeriac.exceptions import CeleriacError, OperationalError
from celeriac.worker.courses import Call, Pause
from celeriac.worker.duties.relay import Aside
from simulation.world import Actor

#: A caller gives up a call that has not been answered for so long.
TIMEOUT = 5.0
#: What is asked of another face of the store than its queue.
INSPECTION = ("retry", "discard")


class Network:
    """Carries calls to the store and answers back.

    A request that is given up, or whose answer was lost, may still arrive; one that was sent twice
    arrives twice. All of this is decided when it is sent.
    """

    def __init__(self, world, store, watch):
        self.world = world
        self.store = store
        self.watch = watch
        #: Shares of calls; set by the scenario.
        self.loss = self.repeat = self.slow = 0.0
        self.down_until = 0.0
        #: Grows at each restart of the store: answers of connections from before are lost.
        self.epoch = 0
        #: Grows whenever another server takes its place: nothing on its way to the one before
        #: arrives there.
        self.era = 0
        #: Heartbeats tell which run of the server has answered.
        self.tells_run = False
        self.wire = Actor("wire")
        #: Who waits for work; None: bells ring at random.
        self.doorbell = None
        #: The way to the store of results, if that is another one.
        self.far = None

    def call(self, actor, call, answer):
        """Have the store do *call*; *answer* gets the result, or the error, once."""
        world = self.world
        answer = self.watch.listening(actor, call, answer)
        if not world.rough:
            world.after(world.random.uniform(0.0002, 0.003), self.wire,
                        lambda: self._deliver(actor, call, answer))  # fmt: skip
            return
        there = self._delay()
        # Who leases as it waits sends its request once, and asks in the usual way after an error.
        if world.chance(self.repeat) and call.method != "wait_and_lease":
            again = there + self._delay() + world.between(0.0, 2 * TIMEOUT)
            world.after(again, self.wire, self._late(actor, call))
        if world.chance(self.loss):
            self._fail(actor, call, answer, world.between(0.01, TIMEOUT), "request lost")
            return
        if there > TIMEOUT:
            self._fail(actor, call, answer, TIMEOUT, "given up")
            world.after(there, self.wire, self._late(actor, call))
            return
        lost = world.chance(self.loss)
        epoch = self.epoch
        world.after(there, self.wire, lambda: self._deliver(actor, call, answer, lost, epoch))

    def _late(self, actor, call):
        """Whose answer nobody waits for."""
        era = self.era
        return lambda: self.apply(actor, call) if era == self.era else None

    def _delay(self):
        if self.world.chance(self.slow):
            return self.world.between(0.1, 1.5 * TIMEOUT)
        return self.world.between(0.0002, 0.005)

    def _deliver(self, actor, call, answer, lost=False, epoch=None):
        world = self.world
        if world.now < self.down_until or (epoch is not None and epoch != self.epoch):
            self._fail(actor, call, answer, world.between(0.001, 0.2), "refused")
            return
        if self.doorbell is not None and call.method in ("wait", "wait_and_lease"):
            self.doorbell.wait(
                actor, call, lambda found: self._reply(actor, call, found, answer, lost)
            )
            return
        self._reply(actor, call, self.apply(actor, call), answer, lost)

    def _reply(self, actor, call, result, answer, lost):
        world = self.world
        if lost:
            self._fail(actor, call, answer, world.between(0.01, TIMEOUT), "reply lost")
            return
        epoch = self.epoch
        back = self._delay() if world.rough else world.between(0.0002, 0.003)

        def come():
            if epoch != self.epoch:
                answer(OperationalError("the store was restarted"))
            else:
                answer(result)

        if back > TIMEOUT:
            self._fail(actor, call, answer, TIMEOUT, "answer late")
        else:
            world.after(back, actor, come)

    def _fail(self, actor, call, answer, seconds, why):
        self.world.tell(actor.name, "%s: %s", call.method, why)
        self.world.after(seconds, actor, lambda: answer(OperationalError(why)))

    def apply(self, actor, call):
        """The store does it; what it raises is the result."""
        if self.world.now < self.down_until:
            return OperationalError("refused")
        if call.method == "wait":
            return True  # a doorbell may ring in vain
        if call.method == "wait_and_lease":  # it came twice, or when nobody waits for it any more
            owner, lane, seq, queues, want, _ = call.args
            return self.apply(actor, Call("exchange", (owner, lane, seq, [], [], queues, want)))
        before = self.watch.before(call)
        try:
            ask = getattr(self.face(actor, call), call.method)
            result = ask(*call.args, **getattr(call, "options", {}))
        except CeleriacError as error:
            self.world.tell("store", "%s of %s refused: %s", call.method, actor.name, error)
            return error
        self.watch.after(actor, call, result, before)
        if self.tells_run and call.method == "beat" and not result.lost:
            result = replace(result, run=f"run {self.epoch}")
        return result

    def face(self, actor, call):
        """What of the store *actor* asks."""
        if call.method in INSPECTION:
            return self.store.inspection
        return actor.queue or self.store.queue

    def now(self, actor, call):
        """The same for a caller that waits where it is: no time passes. Raises what went wrong."""
        world = self.world
        # Such calls are few: of these more are lost.
        lost = world.chance(3 * self.loss) if world.rough else False
        if world.now < self.down_until or (lost and world.chance(0.5)):
            world.tell(actor.name, "%s: refused", call.method)
            raise OperationalError("refused")
        result = self.apply(actor, call)
        if isinstance(result, Exception):
            raise result
        if lost:
            world.tell(actor.name, "%s: applied, reply lost", call.method)
            raise OperationalError("reply lost")
        self.watch.listening(actor, call, lambda _result: None)(result)
        return result


def play(world, network, actor, course, then, sent=None):
    """Follow *course* through virtual time; *then* gets what it comes to, or its error."""
    try:
        step = course.throw(sent) if isinstance(sent, Exception) else course.send(sent)
    except StopIteration as end:
        then(end.value)
        return
    except OperationalError as error:
        then(error)
        return
    if isinstance(step, Pause):
        pause = reconnect(step.attempt, world.random)
        world.after(pause, actor, lambda: play(world, network, actor, course, then))
    else:
        way = network.far if isinstance(step, Aside) else network
        way.call(actor, step, lambda result: play(world, network, actor, course, then, result))
