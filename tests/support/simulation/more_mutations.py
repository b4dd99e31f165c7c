"""The same as ``mutations``, for what a seed may have besides: each names the features it needs."""

from celeriac.exceptions import OperationalError
from celeriac.stores import finish
from celeriac.stores.memory import core, queue, reaper
from celeriac.worker import courses, dispatch, stamps
from celeriac.worker.courses import Call, Pause, Pulse
from celeriac.worker.duties import limits

# --- an operator's retry --------------------------------------------------------------------------


def reopened_before_its_turn(patch):
    patch(finish._Step, "has_its_turn", lambda self, node: True)


def reopened_while_an_errback_is_due(patch):
    """It is called for the end that was, and cannot be called for the next."""
    patch(finish._Step, "called", property(lambda self: False, lambda self, value: None), False)


def errbacks_once_for_ever(patch):
    """Not once for each generation."""
    along = finish._Step._reopen_waiting

    def but_errbacks(self, id, on):
        return iter(()) if on.whole else along(self, id, on)

    patch(finish._Step, "_reopen_waiting", but_errbacks)


def what_follows_is_not_reopened(patch):
    along = finish._Step._reopen_waiting

    def only_errbacks(self, id, on):
        return along(self, id, on) if on.whole else iter(())

    patch(finish._Step, "_reopen_waiting", only_errbacks)


def joins_stay_decided(patch):
    patch(finish._Step, "_reopen_join", lambda self, join, index, at: iter(()))


def attempts_begin_anew(patch):
    reopen = core.Core._reopen

    def afresh(self, effect):
        reopen(self, effect)
        self.rows[effect.id].attempt = 0

    patch(core.Core, "_reopen", afresh)


# --- revokes by stamp -----------------------------------------------------------------------------


def nothing_learned_before_the_first_lease(patch):
    def register(self, owner, manifest):
        requested_at = self._clock()
        yield Call("register", (owner, manifest))
        self._incarnation.begin(owner, requested_at)

    patch(Pulse, "register", register)


def beats_are_not_listened_to(patch):
    def hear(self, number):
        self.stamps.number = number
        return False
        yield

    patch(Pulse, "hear", hear)


def arrivals_are_not_sifted(patch):
    patch(stamps.RevokedStamps, "sift", lambda self, arrived: [])


def stamps_do_not_last(patch):
    sweep = reaper._sweep

    def forgetful(core):
        core.stamps.clear()
        return sweep(core)

    patch(reaper, "_sweep", forgetful)


# --- doorbells ------------------------------------------------------------------------------------


def waits_without_end(patch):
    """A ring that is lost is made up for by nobody's look."""
    patch(courses, "WAIT_SECONDS", 1000.0)


def the_next_is_not_rung(patch):
    """An exchange that leaves work behind tells nobody."""
    exchange = queue.MemoryQueue.exchange

    def silent(self, *args):
        ring = self._core.ring
        self._core.ring = lambda: None
        try:
            return exchange(self, *args)
        finally:
            self._core.ring = ring

    patch(queue.MemoryQueue, "exchange", silent)


def what_is_sent_rings_nobody(patch):
    place = core.Core.place

    def silent(self, row, due):
        ring = self.ring
        self.ring = lambda: None
        try:
            place(self, row, due)
        finally:
            self.ring = ring

    patch(core.Core, "place", silent)


def what_waits_behind_long_runs_stays(patch):
    """Others could run it at once."""
    patch(limits, "take_overflow", lambda desk: [])


def a_dropped_bid_keeps_its_room(patch):
    patch(dispatch.Dispatch, "drop_bid", lambda self, bid: None)


def a_lost_bid_is_not_asked_for(patch):
    """What was leased as it waited, and whose answer was lost, is not asked for again."""
    lease = courses.Exchanges.lease

    def careless(self, lane, sequence, bid, queues):
        course = lease(self, lane, sequence, bid, queues)
        try:
            answer = yield next(course)
        except OperationalError:
            self._dispatch.drop_bid(bid)
            yield Pause(1)
            return True
        try:
            step = course.send(answer)
            while True:
                step = course.send((yield step))
        except StopIteration as end:
            return end.value

    patch(courses.Exchanges, "lease", careless)


#: Rule broken → words by which it is told, within how many seeds, and the features of these.
MORE_MUTATIONS = {
    reopened_before_its_turn: ("leased before", 100, {"operator"}),
    reopened_while_an_errback_is_due: ("should run: False", 300, {"operator"}),
    errbacks_once_for_ever: ("should run: False", 300, {"operator"}),
    what_follows_is_not_reopened: ("should run: True", 100, {"operator"}),
    joins_stay_decided: ("should run: True", 100, {"operator"}),
    attempts_begin_anew: ("started 2 times", 100, {"operator"}),
    nothing_learned_before_the_first_lease: ("by who came after", 100, {"stamps"}),
    beats_are_not_listened_to: ("begun long after", 100, {"stamps"}),
    arrivals_are_not_sifted: ("though its worker knew", 100, {"stamps"}),
    stamps_do_not_last: ("by who came after", 100, {"stamps"}),
    waits_without_end: ("due for", 100, {"lost bells"}),
    the_next_is_not_rung: ("due for", 100, {"bells"}),
    what_is_sent_rings_nobody: ("due for", 100, {"bells"}),
    what_waits_behind_long_runs_stays: ("in the line of", 300, {"bells"}),
    a_dropped_bid_keeps_its_room: ("due for", 100, {"bids"}),
    a_lost_bid_is_not_asked_for: ("not ended", 100, {"bids"}),
}
