"""Virtual time: events, whoever they happen to, the clock of the store, and the trace."""

from heapq import heappop, heappush
from random import Random

from celeriac.clock import Clock

#: What monotonic clocks say at the beginning, and what the store's wall clock says.
BEGIN = 1_000.0
EPOCH = 1_700_000_000.0


class StuckError(Exception):
    """More happens than can be meant: two parts of the system answer each other without end."""


class Actor:
    """Something that can die, or be stopped and go on later."""

    #: The store's queue as it has it open, if that is its own.
    queue = None

    def __init__(self, name):
        self.name = name
        self.alive = True
        self.paused = False
        self.missed = []


class World:
    """Time passes from event to event; nothing else moves it."""

    #: More events than any seed has.
    MOST = 60_000

    def __init__(self, seed):
        self.random = Random(seed)
        self.now = BEGIN
        #: While this is true, faults happen.
        self.rough = True
        self.happened = 0
        self.trace = []
        self._events = []
        self._order = 0

    def monotonic(self):
        return self.now

    def tell(self, who, what, *args):
        """Note a line for the trace; it is written only if somebody wants to read it."""
        self.trace.append((self.now, who, what, args))

    def lines(self):
        for now, who, what, args in self.trace:
            yield f"{now - BEGIN:10.4f}  {who:<10}  {what % args if args else what}"

    def after(self, seconds, actor, happen):
        """Have *happen* called in *seconds*; never if *actor* is dead by then, and not before it
        goes on if it is stopped."""
        self._order += 1
        heappush(self._events, (self.now + seconds, self._order, actor, happen))

    def between(self, low, high):
        return self.random.uniform(low, high)

    def chance(self, probability):
        return self.random.random() < probability

    def run(self, done):
        """Go on until *done*."""
        while not done():
            when, _, actor, happen = heappop(self._events)
            self.now = max(self.now, when)  # it is later if everything slept
            self.happened += 1
            if self.happened > self.MOST:
                raise StuckError(f"{self.happened} events in {self.now - BEGIN:.1f} s")
            if not actor.alive:
                continue
            if actor.paused:
                actor.missed.append(happen)
            else:
                happen()

    def sleep(self, seconds):
        """Everything sleeps at once, as a machine does that is suspended."""
        self.now += seconds

    def pause(self, actor):
        actor.paused = True

    def resume(self, actor):
        actor.paused = False
        missed, actor.missed = actor.missed, []
        for happen in missed:
            self.after(0.0, actor, happen)


class StoreClock(Clock):
    """The store's clocks: its wall clock can be set."""

    __slots__ = ("ahead", "boots", "born", "latest", "set_back", "world")

    def __init__(self, world):
        self.world = world
        self.ahead = 0.0
        #: It was set back at least once.
        self.set_back = False
        #: How often the machine was started anew, and when the last time: its monotonic clock
        #: begins again then.
        self.boots, self.born = 0, 0.0
        #: The latest that it has ever said: what was due then is not early now.
        self.latest = EPOCH

    def wall(self):
        now = EPOCH + self.world.now - BEGIN + self.ahead
        self.latest = max(now, self.latest)
        return now

    def monotonic(self):
        return self.world.now - self.born

    def boot(self):
        self.boots += 1
        self.born = self.world.now - 5.0

    def boot_id(self):
        return f"simulated-{self.boots}"
