"""Rules of the protocol broken on purpose: each must be seen by the simulation.

Each function breaks one rule in the product by *patch* (pytest's ``setattr``). ``MUTATIONS`` says
by which words the break is told, and within how many seeds.
"""

from msgspec.structs import replace

from celeriac import states
from celeriac.exceptions import OperationalError
from celeriac.outcome import Outcome
from celeriac.policies import crashes
from celeriac.records import Exchanged, Verdict
from celeriac.stores import fates, finish
from celeriac.stores.memory import core, queue, reaper, rows
from celeriac.worker import custody, dispatch, incarnation
from celeriac.worker.courses import Call, Exchanges, Pulse
from celeriac.worker.pools.prefork import Prefork


def fence_not_checked(patch):
    def judge(self, fence):
        row = self._core.rows.get(fence.id)
        if row is None or row.state not in states.HELD:
            return Verdict.FENCED, row
        return Verdict.OK, row

    patch(queue.MemoryQueue, "_judge", judge)


def late_write_applied(patch):
    """Whoever comes may write on what has not ended, whoever holds it."""

    def judge(self, fence):
        row = self._core.rows.get(fence.id)
        if row is None or row.state in states.TERMINAL:
            return Verdict.FENCED, row
        return Verdict.OK, row

    patch(queue.MemoryQueue, "_judge", judge)


def resend_not_recognised(patch):
    exchange = queue.MemoryQueue.exchange

    def forgetful(self, owner, *args):
        known = self._core.owners.get(owner)
        if known is not None:
            known.lanes.clear()
        return exchange(self, owner, *args)

    patch(queue.MemoryQueue, "exchange", forgetful)


def resend_answered_with_nothing(patch):
    patch(queue.MemoryQueue, "_still_leased", lambda self, owner, last, lane: ())


def worker_does_not_resend(patch):
    """An exchange whose answer is lost is given up: its outcomes go with the next one."""

    def once(self, lane, sequence, batch):
        try:
            reply = yield Call(
                "exchange",
                (
                    batch.owner,
                    lane,
                    sequence,
                    batch.commits,
                    batch.started,
                    self.queues,
                    batch.want,
                ),
            )
        except OperationalError:
            self._dispatch.give_back(batch)
            reply, batch = Exchanged(), batch.emptied()
        yield from self._settle(batch, reply)

    patch(Exchanges, "exchange", once)


def reaper_forgets_revokes(patch):
    lost = fates.lost
    patch(fates, "lost", lambda held, *args, **kw: lost(replace(held, revoked=False), *args, **kw))
    patch(queue._Taker, "_usable", lambda self, row: row.state == states.QUEUED)


def lease_forgets_revokes(patch):
    """What is revoked while it is held comes back to its queue and is leased again."""
    for name in ("lost", "repeated", "handed_back"):
        decide = getattr(fates, name)
        patch(fates, name, lambda held, *args, decide=decide, **kw: decide(
            replace(held, revoked=False), *args, **kw))  # fmt: skip
    patch(queue._Taker, "_usable", lambda self, row: row.state == states.QUEUED)


def expiry_forgotten_at_lease(patch):
    patch(queue._Taker, "_usable", lambda self, row: row.state == states.QUEUED)
    patch(reaper, "_expire", lambda core: 0)


def eta_forgotten(patch):
    place = core.Core.place
    patch(core.Core, "place", lambda self, row, due: place(self, row, None))


def join_counted_twice(patch):
    node = rows.Join.node
    patch(rows.Join, "node", lambda self: replace(node(self), count=2 * len(self.done)))


def join_does_not_grow(patch):
    patch(finish._Step, "grow", lambda self, join, index: None)


def member_forgotten(patch):
    """The last member's success does not release the body."""
    patch(finish._Step, "complete", lambda self, join: None)


def successors_of_failures_released(patch):
    patch(finish._Step, "_follow_success", lambda self, pending, to: self.release(to))


def errbacks_always_released(patch):
    patch(finish._Step, "_follow_errback", lambda self, pending, to, own: self.release(to))


def lost_run_again_at_most_once(patch):
    lost = fates.lost
    patch(fates, "lost", lambda held, *args, **kw: lost(replace(held, stamp=0), *args, **kw))


def crashed_run_again_at_most_once(patch):
    on_death = crashes.on_death

    def again(facts, delivery, reason, *rest):
        if facts.late:
            return on_death(facts, delivery, reason, *rest)
        return Outcome(states.QUEUED, reason=reason, charge="crash")

    patch(crashes, "on_death", again)


def crashes_not_charged(patch):
    on_death = crashes.on_death
    patch(crashes, "on_death", lambda *args: replace(on_death(*args), charge=""))


def losses_not_counted(patch):
    lost = fates.lost
    patch(fates, "lost", lambda held, *args, **kw: replace(lost(held, *args, **kw), losses=0))


def nobody_is_reaped(patch):
    patch(reaper, "_lose", lambda core, owner, ended: None)


def reaped_owner_stays_known(patch):
    """It is not told that it is lost, and goes on."""
    lose = reaper._lose

    def keep(core, owner, ended):
        lose(core, owner, ended)
        core.owners[owner.id] = owner
        owner.until = core.clock.monotonic() + core.options.lease

    patch(reaper, "_lose", keep)


def closing_forgets_what_is_held(patch):
    def close(self, owner):
        with self._core.step():
            self._core.owners.pop(owner, None)
        return 0

    patch(queue.MemoryQueue, "close_owner", close)


def lease_trusted_past_its_end(patch):
    patch(incarnation.Incarnation, "trusted", property(lambda self: not self.lost))


def trust_counted_from_the_answer(patch):
    """The answer may have been long under way."""
    extended = incarnation.Incarnation.extended
    patch(
        incarnation.Incarnation,
        "extended",
        lambda self, owner, requested_at: extended(self, owner, self._clock()),
    )


def lost_lease_not_noticed(patch):
    def beat(self, started=()):
        owner, requested_at = self._incarnation.owner, self._clock()
        try:
            found = yield Call("beat", (owner, started))
        except OperationalError:
            return None
        self._incarnation.extended(owner, requested_at)
        return found

    patch(Pulse, "beat", beat)
    patch(incarnation.Incarnation, "lose", lambda self, owner: False)


def taken_up_under_the_new_name(patch):
    """What the lost incarnation held is put in line again."""
    patch(dispatch.Dispatch, "owns", lambda self, held: True)
    patch(custody.Custody, "lose_all", lambda self: self.pool.kill_all(custody.LEASE_LOST))


def hold_is_not_written(patch):
    """What is taken back from an executor may begin there all the same."""

    def close_behind(self, executor, key):
        executor.hold_above = key
        executor.hand.closed = True

    patch(Prefork, "close_behind", close_behind)


def skipped_is_forgotten(patch):
    def skipped(self, hand, key):
        with self.changed:
            hand.held.pop(key, None)

    patch(dispatch.Dispatch, "skipped", skipped)


def interrupted_as_if_not_begun(patch):
    hand_back = custody.Custody.hand_back
    patch(
        custody.Custody, "hand_back", lambda self, items, *, started: hand_back(
            self, items, started=False)
    )  # fmt: skip


def bystanders_forgotten(patch):
    """What a dead executor held besides is nobody's any more."""
    patch(dispatch.Dispatch, "requeue", lambda self, items: list(items) and None)


def unsure_hand_back_is_run_here(patch):
    def give_back(self):
        items, self.pool.returned = self.pool.returned, []
        fences = [held.delivery.fence for held in items if self._dispatch.owns(held)]
        try:
            self._queue.release(self._dispatch.incarnation.owner, fences)
        except OperationalError:
            self._dispatch.requeue(items)

    patch(custody.Custody, "give_back", give_back)


def result_of_a_late_commit_shown(patch):
    """A fenced commit changes nothing but the result."""
    commit = queue.MemoryQueue._commit

    def half(self, given):
        verdict = commit(self, given)
        row = self._core.rows.get(given.fence.id)
        if verdict is Verdict.FENCED and row is not None and given.outcome.terminal:
            row.body = given.outcome.body
        return verdict

    patch(queue.MemoryQueue, "_commit", half)


#: Rule broken → words by which it is told, within how many seeds, and the features of these where
#: they have them sooner.
MUTATIONS = {
    fence_not_checked: ("without its lease", 400),
    late_write_applied: ("without its lease", 100),
    resend_not_recognised: ("not ended", 30),
    resend_answered_with_nothing: ("not ended", 30),
    worker_does_not_resend: ("not ended", 30),
    reaper_forgets_revokes: ("after it", 200),
    lease_forgets_revokes: ("leased after it was revoked", 100),
    expiry_forgotten_at_lease: ("leased after it had expired", 100, {"operator"}),
    eta_forgotten: ("leased before its time", 100),
    join_counted_twice: ("body leased before", 100),
    join_does_not_grow: ("body leased before", 300),
    member_forgotten: ("not ended", 50),
    successors_of_failures_released: ("has succeeded", 50),
    errbacks_always_released: ("an errback of", 50),
    lost_run_again_at_most_once: ("at most once", 300),
    crashed_run_again_at_most_once: ("at most once", 100),
    crashes_not_charged: ("repeats are explained", 50),
    losses_not_counted: ("repeats are explained", 100),
    nobody_is_reaped: ("not ended", 50),
    reaped_owner_stays_known: ("is not told so", 200),
    closing_forgets_what_is_held: ("not ended", 200),
    lease_trusted_past_its_end: ("could not be trusted", 50),
    trust_counted_from_the_answer: ("could not be trusted", 400),
    lost_lease_not_noticed: ("could not be trusted", 100, {"bids"}),
    taken_up_under_the_new_name: ("which its worker is no longer", 100, {"bids"}),
    hold_is_not_written: ("started 2 times", 100),
    skipped_is_forgotten: ("not ended", 200, {"lost bells"}),
    interrupted_as_if_not_begun: ("as if not", 200),
    bystanders_forgotten: ("not ended", 100),
    unsure_hand_back_is_run_here: ("repeats are explained", 200, {"bids"}),
    result_of_a_late_commit_shown: ("and later", 200, {"stamps"}),
}
