"""What is seen at the store's door: a second opinion on leases, fences and ends.

It keeps its own account of who holds what, from the answers of the store alone, and says at once
when an answer contradicts it.
"""

from collections import Counter

from celeriac import states
from celeriac.message import decode
from celeriac.records import Verdict
from celeriac.stores.effects import Release
from celeriac.testing.ledger import Line
from simulation.clearing import Cleared
from simulation.generations import Generations
from simulation.lifetimes import LEASE, Lifetimes
from simulation.limited import Limited
from simulation.stamped import Stamped

MARGIN = 3.0


class Watch:
    """See the module's docstring. ``problems`` is empty while all is well."""

    def __init__(self, world, clock):
        self.world = world
        self.clock = clock
        self.store = None
        #: What was told of an end may be read for a while after it is not true any more.
        self.told_later = False
        self.problems = []
        #: What began and ended: (fence, line). And the leases of which a store that has gone back
        #: knows nothing: nobody answers for what ran under them. Of those in *through* it has
        #: forgotten the end.
        self.ran = []
        self.undone = set()
        self.through = set()
        #: Messages by id as they are stored now, joins by id, sizes of joins that were sealed.
        self.headers = {}
        #: The same of those that a store which went back does not have, and that may run yet.
        self.forgotten = {}
        self.joins = {}
        self.children = {}
        self.parents = {}
        self.members = {}
        self.sealed = {}
        #: Who holds what: id → fence. And every fence that was ever given, applied, begun.
        self.leases = {}
        self.given = set()
        self.applied = set()
        self.begun = set()
        #: What was handed back: whoever did so does not begin it.
        self.returned = set()
        #: id → how it ended, by the one commit that ended it.
        self.ends = {}
        self.generations = Generations(self)
        self.stamped = Stamped(self)
        self.lifetimes = Lifetimes(self)
        self.limited = Limited(self)
        self.cleared = Cleared(self)
        self.interrupted = Counter()
        self.replaced = Counter()
        self.released = Counter()
        self.revoked = set()
        #: id → deaths of processes in which nothing else ran; those in which others did, too, after
        #: which it runs again alone, under the lease it has.
        self.convicted = Counter()
        self.suspected = Counter()
        self.suspects = set()
        #: id → its record as it was discarded. Who knows which names. When each was first stored.
        self.gone = {}
        self.names = {}
        self.stored = {}
        #: Owners that were reaped, and so have to be told.
        self.reaped = set()
        self.counts = Counter()
        #: Who a worker is, and until when it may trust its lease.
        self.present = {}
        self.trusted = {}
        self.window = LEASE - MARGIN

    def wrong(self, text, *args):
        self.problems.append(text % args)
        self.world.tell("WRONG", text, *args)

    # --- workers ------------------------------------------------------------------------------
    def listening(self, actor, call, answer):
        """Note with *answer* what the worker may now believe: who it is, and until when."""
        if call.method == "revoked_stamps":
            return self._learning(actor, answer)
        if call.method in ("exchange", "wait_and_lease"):
            return self._exchanging(actor, call.args[0], answer)
        if call.method not in ("register", "beat"):
            return answer
        asked_at = self.world.now

        def heard(result):
            owner = call.args[0]
            if not isinstance(result, Exception):
                if call.method == "register":
                    self.present[actor] = owner
                    self.trusted[actor] = asked_at + self.window
                elif self.present.get(actor) == owner:
                    until = max(self.trusted[actor], asked_at + self.window)
                    self.trusted[actor] = 0.0 if result.lost else until
            answer(result)

        return heard

    def _exchanging(self, actor, owner, answer):
        """Of that it is lost, any answer tells."""

        def heard(result):
            if getattr(result, "lost", False) and self.present.get(actor) == owner:
                self.trusted[actor] = 0.0
            answer(result)

        return heard

    def _learning(self, actor, answer):
        def heard(result):
            if not isinstance(result, Exception):
                self.stamped.tell(actor, result)
            answer(result)

        return heard

    def gives(self, worker, delivery):
        """A worker hands a delivery to an executor."""
        owner = delivery.nonce.split(".")[0]
        if owner != self.present.get(worker):
            self.wrong("%s: begun under %s, which its worker is no longer", delivery.id, owner)
        elif self.world.now > self.trusted[worker]:
            self.wrong("%s: begun when its lease could not be trusted any more", delivery.id)
        elif delivery.fence in self.returned:
            self.wrong("%s: begun by who had handed it back", delivery.id)
        self.stamped.gives(worker, delivery)
        self.limited.gives(worker, delivery)

    # --- executors ----------------------------------------------------------------------------
    @property
    def lines(self):
        return [line for fence, line in self.ran if fence not in self.undone]

    def started(self, delivery, process):
        self._line(delivery, process, "start")
        self.begun.add(delivery.fence)
        if delivery.fence not in self.undone:
            self.generations.start(delivery.fence)
        self.stamped.start(delivery)

    def undo(self, fences):
        """What ran under these leases, or still does, the store knows nothing of."""
        self.undone |= fences
        for fence, line in self.ran:
            if fence in fences and line.event == "start":
                self.generations.starts[fence.id, self.generations.given.get(fence, 0)] -= 1

    def ended(self, delivery, process):
        self._line(delivery, process, "end")

    def _line(self, delivery, process, event):
        self.world.tell(process.name, "%s of %s, attempt %d", event, delivery.id, delivery.attempt)
        again = self.suspected[delivery.id]
        attempt = f"{delivery.attempt}, alone, {again}" if again else delivery.attempt
        line = Line(delivery.id, attempt, event, self.world.now, process.index)
        self.ran.append((delivery.fence, line))

    # --- calls --------------------------------------------------------------------------------
    def before(self, call):
        """What has to be known from before a call."""
        if call.method == "close_owner":
            return self._held_by(call.args[0])
        if call.method in ("retry", "purge", "discard"):
            return self.generations.snapshot()
        return None

    def after(self, actor, call, result, before):
        self.counts[call.method] += 1
        see = getattr(self, f"_{call.method}", None)
        if see is not None:
            see(actor, result, before, *call.args, **call.options)

    def _held_by(self, owner):
        return [id for id, fence in self.leases.items() if fence.nonce.startswith(f"{owner}.")]

    def _enqueue(self, actor, result, before, messages, join=None, joins=()):
        self.world.tell(actor.name, "sends %s", ", ".join(each.id for each in messages))
        for each in messages:
            if each.id not in self.headers:
                self.know(each)
        self._know_joins(joins)

    def _open_join(self, actor, result, before, join, body, behind=(), joins=()):
        self.world.tell(actor.name, "opens %s for %s", join, body.id)
        if body.id not in self.headers:
            self.know(body)

    def _seal(self, actor, result, before, join, size):
        self.world.tell(actor.name, "seals %s: %d", join, size)
        self.sealed[join] = size

    def header(self, id):
        """That of what runs."""
        return self.headers.get(id) or self.forgotten[id]

    def know(self, message):
        header = self.headers[message.id] = message.header
        self.stored.setdefault(message.id, self.world.now)
        edges = header.edges
        if edges is None:
            return
        for kind in ("success", "failure", "own"):
            for child in getattr(edges, kind):
                self.parents.setdefault(child, set()).add((message.id, kind))
        if edges.join is not None:
            self.members.setdefault(edges.join[0], set()).add(message.id)

    def _know_joins(self, joins):
        for each in joins:
            self.joins[each.id] = each
            self.sealed[each.id] = each.size

    def _register(self, actor, result, before, owner, manifest):
        self.reaped.discard(owner)
        self.names[owner] = set(manifest.tasks)
        self.stamped.came(owner)
        self.lifetimes.registered(actor, owner)

    def _exchange(self, actor, result, before, owner, lane, seq, commits, started, queues, want):
        if commits or result.deliveries or result.lost:
            self.world.tell(
                owner, "exchange %d.%d: %s; gets %s", lane, seq,
                [
                    f"{each.fence.id}#{each.fence.attempt} {each.outcome.state} {verdict}"
                    for each, verdict in zip(commits, result.verdicts, strict=True)
                ],
                [f"{each.id}#{each.attempt}" for each in result.deliveries],
            )  # fmt: skip
        for commit, verdict in zip(commits, result.verdicts, strict=True):
            self._judged(commit, verdict)
        self._told(owner, result.lost)
        if result.lost and result.deliveries:
            self.wrong("%s is not known and got deliveries", owner)
        for delivery in result.deliveries:
            self._leased(delivery, owner)

    def _judged(self, commit, verdict):
        fence, outcome = commit.fence, commit.outcome
        id = fence.id
        holds = self.leases.get(id) == fence
        self.counts[f"commit {verdict}"] += 1
        if verdict is Verdict.OK:
            if not holds:
                self.wrong("%s: a commit of attempt %d was applied without its lease",
                           id, fence.attempt)  # fmt: skip
            self.applied.add(fence)
            self.leases.pop(id, None)
            self._commit_applied(id, outcome)
        elif verdict is Verdict.ALREADY:
            if fence not in self.applied:
                self.wrong("%s: ALREADY for what was never applied", id)
        elif holds:
            self.wrong("%s: the commit of who held the lease was refused", id)

    def _commit_applied(self, id, outcome):
        record = self.store.inspection.get([id])[0]
        if outcome.terminal:
            if id in self.ends:
                self.wrong("%s: ended twice, %s and %s", id, self.ends[id][0], outcome.state)
            self.ends[id] = (outcome.state, outcome.body)
            if record.state != outcome.state:
                self.wrong("%s: committed %s, the record says %s", id, outcome.state, record.state)
        elif outcome.state == states.WAITING:
            self.replaced[id] += 1
        if outcome.terminal or record.state not in states.TERMINAL:
            for wire in outcome.parts:
                self.know(decode(wire))
            if outcome.message is not None:
                self.know(decode(outcome.message))
            self._know_joins(outcome.joins)

    def _leased(self, delivery, owner):
        id, fence = delivery.id, delivery.fence
        if self.leases.get(id) == fence:
            self.counts["leased again under one fence"] += 1
            return
        if fence in self.given:
            self.wrong("%s: attempt %d was given out again", id, fence.attempt)
        if id in self.leases:
            self.wrong("%s: leased to %s and to %s", id, self.leases[id].nonce, fence.nonce)
        if id in self.ends:
            self.wrong("%s: leased after it had ended", id)
        if id in self.revoked:
            self.wrong("%s: leased after it was revoked", id)
        header = self.headers.get(id)
        if header is None:
            self.wrong("%s: leased, and never sent", id)
            return
        if header.task not in self.names[owner]:
            self.wrong("%s: leased to %s, which does not know %s", id, owner, header.task)
        if id in self.gone:
            self.wrong("%s: leased after it was discarded", id)
        now = self.clock.wall()
        expired = header.expires is not None and header.expires <= now
        if expired and id not in self.generations.timeless:
            self.wrong("%s: leased after it had expired", id)
        if header.eta is not None and header.eta > self.clock.latest + 1e-6:
            self.wrong("%s: leased before its time", id)
        self._due(id, header.edges)
        self.generations.lease(id, fence)
        self.stamped.lease(fence)
        self.given.add(fence)
        self.undone.discard(fence)
        self.leases[id] = fence

    def _due(self, id, edges):
        """Whoever releases *id* has ended as it must."""
        if edges is None or not edges.waits:
            return
        for parent, kind in self.parents.get(id, ()):
            succeeded = self.ends.get(parent, ("",))[0] == states.SUCCEEDED
            if kind == "success" and not succeeded:
                self.wrong("%s: leased before %s has succeeded", id, parent)
            if kind != "success" and succeeded:
                self.wrong("%s: an errback of %s, which succeeded, was leased", id, parent)
        # An errback that was replaced runs on with the results there are once it is reopened.
        again = (edges.gathers or "").startswith("R") and self.generations.number[id]
        if edges.gathers is not None and not again:
            ids = self.members.get(edges.gathers, ())
            missing = [each for each in ids if self.ends.get(each, ("",))[0] != states.SUCCEEDED]
            if missing or edges.gathers not in self.sealed:
                self.wrong("%s: body leased before %s", id, missing or "its join was sealed")

    def _release(self, actor, verdicts, before, owner, fences, started=False, delay=0.0):
        self.world.tell(owner, "hands back %s: %s", [each.id for each in fences],
                        [str(each) for each in verdicts])  # fmt: skip
        for fence, verdict in zip(fences, verdicts, strict=True):
            self.counts[f"hand-back {verdict}{', interrupted' if started else ''}"] += 1
            holds = self.leases.get(fence.id) == fence
            if verdict is Verdict.OK:
                if not holds:
                    self.wrong("%s: handed back without its lease", fence.id)
                if not started and fence in self.begun:
                    self.wrong("%s: had begun and was handed back as if not", fence.id)
                self.leases.pop(fence.id, None)
                self.applied.add(fence)
                self.returned.add(fence)
                self.interrupted[fence.id] += started
            elif verdict is Verdict.FENCED and holds:
                self.wrong("%s: its holder may not hand it back", fence.id)

    def _close_owner(self, actor, result, held, owner):
        self.world.tell(owner, "is closed; it held %s", held)
        # The store takes them for not begun, and counts the attempt once more.
        self.undo({self.leases[id] for id in held} & self.through)
        for id in held:
            self.interrupted[id] += 1
            del self.leases[id]

    def _beat(self, actor, beat, before, owner, started=()):
        self._told(owner, beat.lost)
        self.lifetimes.heard(owner)
        if beat.reaped is not None:
            self._reap(actor, beat.reaped, None)

    def _told(self, owner, lost):
        if lost:
            self.counts["owner told that it is lost"] += 1
            self.world.tell(owner, "is told that it is lost")
        elif owner in self.reaped:
            self.wrong("%s was reaped and is not told so", owner)

    def _reap(self, actor, reaped, before, dead=()):
        self.lifetimes.passed(actor)
        for owner in reaped.owners:
            held = self._held_by(owner)
            self.reaped.add(owner)
            self.lifetimes.given_up(owner, dead)
            self.world.tell("store", "takes %s from %s", held, owner)
            for id in held:
                self.counts[f"lost with its owner: {self.headers[id].task}"] += 1
                del self.leases[id]

    def _revoke(self, actor, effects, before, ids, terminate=None):
        self.world.tell(actor.name, "revokes %s", {id: str(each) for id, each in effects.items()})
        self.revoked.update(ids)
        self.counts.update(f"revoke {each}" for each in effects.values())

    def _retry(self, actor, reopened, before, ids, messages):
        self.world.tell(actor.name, "retries %s: reopens %s", ids, reopened)
        self.generations.reopen(reopened, before)
        self.generations.timeless.update(messages)  # which have none

    def _purge(self, actor, count, before, queues):
        self.world.tell(actor.name, "purges %s: %d", queues, count)
        self.cleared.purged(count, before, queues)

    def _discard(self, actor, removed, before, ids):
        self.world.tell(actor.name, "discards %s: %s", ids, removed)
        self.cleared.discarded(removed, before, ids)

    def waits(self, id):
        """Does *id* wait for another one's end at first?"""
        edges = self.headers[id].edges
        return edges is not None and edges.waits

    def same(self, record):
        """Is *record* as it was?"""
        now = self.store.inspection.get([record.id])[0]
        return now is not None and (now.state, now.generation) == (record.state, record.generation)

    def _revoke_stamps(self, actor, result, before, stamps, terminate=None):
        self.world.tell(actor.name, "revokes what carries %s", stamps)
        self.stamped.revoke(stamps)

    # --- inside the memory store --------------------------------------------------------------
    def look_into(self, core):
        """Watch every move of a record and every release, where the store lets us."""
        move, apply_one, reopen = core.move, core._apply_one, core._reopen
        reopening = []

        def checked_move(row, state):
            self.counts[state] += 1
            if row.state != state and state not in states.TRANSITIONS[row.state]:
                self.wrong("%s: went from %s to %s", row.id, row.state, state)
            if row.state in states.TERMINAL and row.state != state and row.id not in reopening:
                self.wrong("%s: was %s and is %s", row.id, row.state, state)
            move(row, state)

        def checked_apply(effect):
            if isinstance(effect, Release):
                self.released[effect.id] += 1
            apply_one(effect)

        def checked_reopen(effect):
            reopening.append(effect.id)
            reopen(effect)
            reopening.clear()

        core.move, core._apply_one, core._reopen = checked_move, checked_apply, checked_reopen
