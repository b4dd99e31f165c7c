"""The doorbell of the store: who waits for work, whom a ring wakes, and rings that go astray."""

from dataclasses import dataclass

from celeriac.exceptions import OperationalError
from celeriac.worker.courses import WAIT_SECONDS, Call

#: Seconds within which work that is due is begun while somebody is free: if each ring comes; and
#: if any may be lost, so that it is a waiter's own look that finds it.
HEARD = 0.8
UNHEARD = WAIT_SECONDS + 4.0


@dataclass(eq=False)
class Waiter:
    actor: object
    call: Call
    answer: object
    #: Its caller does not hear the answer any more, and the store does not know.
    ghost: bool = False


class Doorbell:
    """Wakes one waiter for each ring, as the stores do that several processes share.

    If *lossy*, rings are lost, come late, or twice.
    """

    def __init__(self, network, core, lossy):
        self.network = network
        self.world = network.world
        self.lossy = lossy
        self.bound = UNHEARD if lossy else HEARD
        #: Of rings, how many are lost.
        self._loss = self.world.random.choice([0.4, 1.0]) if lossy else 0.0
        self._core = core
        self._waiters = []
        core.ring, core.summon = self.ring, self.summon

    def wait(self, actor, call, answer):
        """A call to wait arrives: look, else listen."""
        waiter = Waiter(actor, call, answer)
        if self._look(waiter):
            return
        self._waiters.append(waiter)
        seconds = call.args[-1]
        if self._core.due:
            until_due = self._core.due[0][0] - self._core.clock.wall()
            seconds = max(0.0, min(seconds, until_due))
        self.world.after(seconds, self.network.wire, lambda: self._end(waiter))

    def ring(self):
        self._core.rings += 1
        pick = self.world.random
        if not self.lossy:
            self._wake(0.0)
        elif pick.random() >= self._loss:
            self._wake(pick.choice([0.0, 0.0, pick.uniform(0.1, 3.0)]))
            if pick.random() < 0.3:
                self._wake(0.0)

    def summon(self):
        """Ring all who wait, as for what is parked: any of them may know the name. This is not
        lost: nobody's look finds what is parked, so each pass of a reaper rings for it."""
        self._core.rings += 1
        for _ in range(len(self._waiters)):
            self._wake(0.0)

    def _wake(self, seconds):
        """Wake whoever has waited longest, of those whose connection stands."""
        listening = (each for each in self._waiters if each.ghost or each.actor.alive)
        waiter = next(listening, None)
        if waiter is not None:
            self._waiters.remove(waiter)
            self.world.after(seconds, self.network.wire, lambda: self._woken(waiter))

    def _woken(self, waiter):
        """It was rung for something, which may be parked, where nobody sees it who only looks."""
        if not self._look(waiter):
            self._reply(waiter, True if waiter.call.method == "wait" else self._lease(waiter))

    def _end(self, waiter):
        """Its time is over."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            if not self._look(waiter):
                self._reply(waiter, False if waiter.call.method == "wait" else None)

    def _look(self, waiter):
        """Is there work, or something due? Then it is told so, or leases at once."""
        queue, call = self.network.store.queue, waiter.call
        if not (waiter.ghost or waiter.actor.alive):
            return True
        leases = call.method == "wait_and_lease"
        queue._seen.rings = self._core.rings
        if not queue.wait(call.args[3] if leases else call.args[0], 0.0):
            return False
        if not leases:
            self._reply(waiter, True)
            return True
        self._reply(waiter, self._lease(waiter))
        return True

    def _lease(self, waiter):
        owner, lane, seq, queues, want, _ = waiter.call.args
        request = Call("exchange", (owner, lane, seq, [], [], queues, want))
        return self.network.apply(waiter.actor, request)

    def _reply(self, waiter, result):
        if not waiter.ghost:
            waiter.answer(result)

    def call_away(self, actor):
        """A worker has no use for what its bell waits for."""
        for waiter in [each for each in self._waiters if each.actor is actor and not each.ghost]:
            self._waiters.remove(waiter)
            self._reply(waiter, False if waiter.call.method == "wait" else None)

    def cut(self):
        """Every connection is cut; of some the store does not hear."""
        for waiter in list(self._waiters):
            if waiter.ghost:
                continue
            self._reply(waiter, OperationalError("cut off"))
            waiter.ghost = self.world.chance(0.3)
            if not waiter.ghost:
                self._waiters.remove(waiter)

    def forget(self):
        """Another server: nobody waits there."""
        self._waiters.clear()
