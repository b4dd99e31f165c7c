"""The same as ``mutations``, for what a seed may have besides: each names the features it needs."""

from celeriac.exceptions import OperationalError
from celeriac.stores import finish
from celeriac.stores.memory import core, queue, reaper
from celeriac.worker import courses, dispatch, ratelimits, stamps
from celeriac.worker.courses import Call, Pause, Pulse
from celeriac.worker.duties import limits, relay

# --- an operator's retry --------------------------------------------------------------------------


def reopened_before_its_turn(patch):
    patch(finish._Step, "waits", lambda self, node: False)


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


# --- restarts and clocks --------------------------------------------------------------------------


def nobody_gets_grace(patch):
    """Everybody slept, and all are given up for it."""
    patch(reaper, "_time_is_suspect", lambda core, turns: False)


def only_passes_are_turns(patch):
    """A process that makes its first pass has nothing to compare with, and takes its mates for
    lost, which stood still as it did."""
    register, beat = queue.MemoryQueue.register, queue.MemoryQueue.beat

    def unnoted(self, owner, manifest):
        last = self._turns.last
        register(self, owner, manifest)
        self._turns.last = last

    def half_noted(self, owner, *args):
        last = self._turns.last
        answer = beat(self, owner, *args)
        if answer.reaped is None:
            self._turns.last = last
        return answer

    patch(queue.MemoryQueue, "register", unnoted)
    patch(queue.MemoryQueue, "beat", half_noted)


def beats_do_not_count(patch):
    beat = queue.MemoryQueue.beat

    def unheard(self, owner, *args):
        known = self._core.owners.get(owner)
        until = known.until if known is not None else 0.0
        answer = beat(self, owner, *args)
        if known is not None:
            known.until = until
        return answer

    patch(queue.MemoryQueue, "beat", unheard)


# --- two stores -----------------------------------------------------------------------------------


def what_ends_is_not_told(patch):
    """What a reaper, a revoke or an expiry ends, and no commit."""
    tell = core.Core.tell_other

    def some(self, id):
        if self.rows[id].body is not None:
            tell(self, id)

    patch(core.Core, "tell_other", some)


def struck_before_it_is_brought(patch):
    def turn(self):
        try:
            rows = yield Call("outbox", (self._limit,))
            yield Call("mirrored", ([each.number for each in rows],))
            yield from relay.bring(rows)
        except OperationalError:
            return relay.Turn.FAILED
        return relay.Turn.DONE

    patch(relay.Relay, "turn", turn)


def struck_by_id(patch):
    """What has ended anew since it was read is struck out with what was brought."""

    def mirrored(self, numbers):
        ids = [id for each, id in self._read.items() if each in numbers]
        self._core.outbox = {id: n for id, n in self._core.outbox.items() if id not in ids}

    outbox = queue.MemoryQueue.outbox

    def read(self, limit):
        rows = outbox(self, limit)
        self._read = getattr(self, "_read", {}) | {each.number: each.id for each in rows}
        return rows

    patch(queue.MemoryQueue, "mirrored", mirrored)
    patch(queue.MemoryQueue, "outbox", read)


# --- rate limits ----------------------------------------------------------------------------------


def tokens_are_not_taken(patch):
    patch(ratelimits.Bucket, "take", lambda self, now: None)


def what_is_turned_away_is_forgotten(patch):
    """It is handed back to nobody."""

    def take_returns(self, returning):
        self._returns.clear()
        return []

    patch(ratelimits.RateLimits, "take_returns", take_returns)


#: Rule broken → words by which it is told, within how many seeds, and the features of these.
MORE_MUTATIONS = {
    reopened_before_its_turn: ("leased before", 100, {"operator"}),
    reopened_while_an_errback_is_due: ("should run: False", 300, {"operator"}),
    errbacks_once_for_ever: ("should run: False", 300, {"operator"}),
    what_follows_is_not_reopened: ("should run: True", 100, {"operator"}),
    joins_stay_decided: ("should run: True", 300, {"operator"}),
    attempts_begin_anew: ("started 2 times", 100, {"operator"}),
    nothing_learned_before_the_first_lease: ("by who came after", 100, {"stamps"}),
    beats_are_not_listened_to: ("begun long after", 100, {"stamps"}),
    arrivals_are_not_sifted: ("though its worker knew", 100, {"stamps"}),
    stamps_do_not_last: ("by who came after", 100, {"stamps"}),
    waits_without_end: ("due for", 100, {"lost bells"}),
    the_next_is_not_rung: ("due for", 200, {"bells"}),
    what_is_sent_rings_nobody: ("due for", 100, {"bells"}),
    what_waits_behind_long_runs_stays: ("in the line of", 300, {"bells"}),
    a_dropped_bid_keeps_its_room: ("due for", 100, {"bids"}),
    a_lost_bid_is_not_asked_for: ("not ended", 100, {"bids"}),
    nobody_gets_grace: ("after it was heard of", 100, {"boots"}),
    only_passes_are_turns: ("after it was heard of", 200, {"boots"}),
    beats_do_not_count: ("after it was heard of", 100, {"boots"}),
    what_ends_is_not_told: ("does not have it", 100, {"outbox"}),
    struck_before_it_is_brought: ("does not have it", 100, {"outbox"}),
    tokens_are_not_taken: ("before its token", 100, {"rates"}),
    what_is_turned_away_is_forgotten: ("not ended", 100, {"rates"}),
    struck_by_id: ("the store of results", 400, {"outbox", "operator"}),
}
