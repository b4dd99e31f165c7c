"""The same as ``mutations``, for shared pools, for who clears away, for names that some do not
know, and for a store that goes back."""

from msgspec.structs import replace

from celeriac import states
from celeriac.exceptions import OperationalError
from celeriac.policies import crashes
from celeriac.records import Stamp
from celeriac.stores import fates
from celeriac.stores.memory import core, inspection, queue
from celeriac.worker import custody
from celeriac.worker.courses import Pulse
from celeriac.worker.flights import Flights
from celeriac.worker.hands import Held
from celeriac.worker.pools import shared
from celeriac.worker.pools.shared import Shared

# --- shared pools ---------------------------------------------------------------------------------


def all_that_ran_are_convicted(patch):
    """Each that ran in a process that died is charged, not only who dies alone."""

    def judge_each(self, death, ran):
        for held in ran:
            reason = death.describe()
            outcome = crashes.on_death(held.facts, held.delivery, reason, 5.0, self._rng)
            self.pool.end_run(held, outcome, reason)

    patch(custody.Custody, "_suspect", judge_each)


def suspects_run_beside_others(patch):
    patch(Held, "alone", property(lambda self: False))


def suspects_get_no_process(patch):
    patch(shared, "CELLS_MOST", 0)


def what_runs_is_taken_back(patch):
    """The board is not asked: what has begun goes back as if it had not."""
    collect = Shared.collect_held_back

    def blind(self, executor):
        self.begun = lambda _executor: []
        try:
            return collect(self, executor)
        finally:
            del self.begun

    patch(Shared, "collect_held_back", blind)


# --- purges and discards --------------------------------------------------------------------------


def what_is_scheduled_is_not_purged(patch):
    def purge(self, queues):
        with self._core.step():
            rows = [row for row in self._core.rows.values()
                    if row.queue in queues and row.state == states.QUEUED]  # fmt: skip
            for row in rows:
                self._core.finish(row.id, states.CANCELLED, fates.PURGED_REASON)
        return len(rows)

    patch(queue.MemoryQueue, "purge", purge)


def what_follows_what_is_purged_waits(patch):
    """It ends, and its edges are followed by nobody."""

    def purge(self, queues):
        with self._core.step():
            due = (states.QUEUED, states.SCHEDULED)
            rows = [row for row in self._core.rows.values()
                    if row.queue in queues and row.state in due]  # fmt: skip
            for row in rows:
                self._core.move(row, states.CANCELLED)
                row.reason = fates.PURGED_REASON
        return len(rows)

    patch(queue.MemoryQueue, "purge", purge)


def what_follows_what_is_discarded_waits(patch):
    def discard(self, ids):
        with self._core.step():
            rows = [self._core.rows[id] for id in ids if id in self._core.rows]
            rows = [row for row in rows if row.state not in states.HELD]
            for row in rows:
                if row.state not in states.TERMINAL:
                    self._core.move(row, states.CANCELLED)
                self._core.drop(row)
        return [row.id for row in rows]

    patch(inspection.MemoryInspection, "discard", discard)


def what_is_held_is_discarded(patch):
    def discard(self, ids):
        with self._core.step():
            rows = [self._core.rows[id] for id in ids if id in self._core.rows]
            for row in rows:
                if row.state not in states.TERMINAL:
                    self._core.finish(row.id, states.CANCELLED, fates.DISCARDED_REASON)
                self._core.drop(row)
        return [row.id for row in rows]

    patch(inspection.MemoryInspection, "discard", discard)


# --- unknown names --------------------------------------------------------------------------------


def leased_to_who_does_not_know_it(patch):
    def head(self, name):
        while (row := self.core.head(name)) is not None:
            if self._usable(row):
                return row
        return None

    patch(queue._Taker, "_next", head)
    patch(queue._Taker, "_stamp", lambda self, row: Stamp(0))


def parked_for_ever(patch):
    """Neither who registers nor who exchanges looks at what is parked."""
    patch(core.Core, "unpark", lambda self, names: None)
    patch(queue._Taker, "_from_parked", lambda self, queues: [])


def parked_until_somebody_comes(patch):
    """Who knows the name and is there already does not look at what is parked."""
    patch(queue._Taker, "_from_parked", lambda self, queues: [])


def nobody_is_rung_for_what_is_parked(patch):
    """Neither as it is parked nor at a pass."""
    silent = property(lambda self: lambda: None, lambda self, value: None)
    patch(core.Core, "summon", silent)


# --- a store that goes back -----------------------------------------------------------------------


def leases_are_not_compared(patch):
    patch(custody.Custody, "reconcile", lambda self: None)


def only_a_silent_store_is_doubted(patch):
    """Not another server, whose answers come as those of the one before did."""
    beat = Pulse.beat

    def deaf(self, started=()):
        course = beat(self, started)
        call = next(course)
        try:
            try:
                answer = yield call
            except OperationalError as error:
                course.throw(error)
            else:
                course.send(replace(answer, run=""))
        except StopIteration as end:
            return end.value

    patch(Pulse, "beat", deaf)


def what_is_under_way_is_taken_for_stray(patch):
    """What an exchange has leased whose answer has not come."""
    patch(Flights, "spoken_for", lambda self: (set(), set()))


#: Rule broken → words by which it is told, within how many seeds, and the features of these.
OTHER_MUTATIONS = {
    all_that_ran_are_convicted: ("it died alone", 100, {"shared"}),
    suspects_run_beside_others: ("a suspect runs beside others", 100, {"shared"}),
    suspects_get_no_process: ("not ended", 100, {"shared"}),
    what_runs_is_taken_back: ("had begun and was handed back", 200, {"shared"}),
    what_is_scheduled_is_not_purged: ("and has not ended", 100, {"clearing"}),
    what_follows_what_is_purged_waits: ("not ended", 200, {"clearing"}),
    what_follows_what_is_discarded_waits: ("not ended", 200, {"clearing"}),
    what_is_held_is_discarded: ("taken from who held it", 100, {"clearing"}),
    leased_to_who_does_not_know_it: ("which does not know", 100, {"names"}),
    parked_for_ever: ("not ended", 100, {"names"}),
    parked_until_somebody_comes: ("not ended", 100, {"names"}),
    nobody_is_rung_for_what_is_parked: ("due for", 300, {"names", "bells"}),
    leases_are_not_compared: ("not ended", 100, {"failover"}),
    only_a_silent_store_is_doubted: ("not ended", 100, {"failover"}),
    what_is_under_way_is_taken_for_stray: ("had handed it back", 100, {"failover"}),
}
