"""The oracle of the soak: a generation of orders held against records, ledger and receipts. Pure.

What had to come of an order stands in its plan (``soak_plan.py``); a workflow is judged by
``chaos_oracle.Graph``. Where a fault may decide (what runs at most once, what was killed as often
as a task may be), the record says that it did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from chaos_oracle import Graph, Ran
from soak_plan import AT_MOST_ONCE, MAX_CRASHES, OBEYED, STRANGER, Order
from tallies import Onlooker, doubly

from celeriac import states
from celeriac.records import Record
from celeriac.testing.ledger import check

#: What is counted, in the order in which it is shown.
COUNTED = (
    "acknowledged", "in doubt", "succeeded", "failed", "dead", "revoked", "expired", "rejected",
    "ignored", "parked", "workflows", "joins", "errbacks", "starts", "extra starts explained",
)  # fmt: skip
LOST, DOUBLE, UNEXPLAINED, JOINS = (
    "lost", "doubly committed", "extra starts unexplained", "joins fired other than once",
)  # fmt: skip
#: What must be none. The last one is whatever else is wrong.
MUST_BE_NONE = (LOST, DOUBLE, UNEXPLAINED, JOINS, "errbacks run other than once", "other problems")
#: What ``Graph`` counts of these; the rest is counted here.
_OF_GRAPHS = (*MUST_BE_NONE[:5], "joins", "errbacks", "starts", "extra starts explained")
#: Seconds by which clocks that a start is compared by may differ.
SLACK = 0.05


class End(NamedTuple):
    """What an ended record said when it was first seen; it must not say anything else later."""

    state: str
    attempt: int
    generation: int
    ended_at: float | None

    @classmethod
    def of(cls, record: Record) -> End:
        return cls(record.state, record.attempt, record.generation, record.ended_at)


@dataclass
class Receipts:
    """What a client wrote down: when it tried an order, and what it knows of it."""

    tried: dict[str, float] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    #: Id → when the revoke of what was sent had been answered.
    revoked: dict[str, float] = field(default_factory=dict)
    #: All orders have been tried, and all revokes made.
    whole: bool = False

    @classmethod
    def read(cls, text: str) -> Receipts:
        made = cls()
        for line in text.splitlines():
            match line.split():
                case ["try", id, moment, "."]:
                    made.tried[id] = float(moment)
                case ["ok", id, "."]:
                    made.acknowledged.add(id)
                case ["revoked", id, moment, "."]:
                    made.revoked[id] = float(moment)
                case ["all", _, "."]:
                    made.whole = True
        return made


@dataclass
class Seen:
    """What there is to judge a generation by.

    *records* are those of single orders, *flows* those of each workflow by its order's id,
    *results* what a caller has of each order (``AsyncResult``), *values* what it read of those that
    have succeeded, *first* what each record said when it had ended.
    """

    receipts: Receipts
    records: Mapping[str, Record]
    flows: Mapping[str, list[Record]]
    results: Mapping[str, object]
    values: Mapping[str, object]
    first: Mapping[str, End]
    ran: Ran

    def everything(self) -> list[Record]:
        return [*self.records.values(), *(each for flow in self.flows.values() for each in flow)]


class Verdict:
    """*counts* and *problems* of a generation."""

    def __init__(self, orders: Iterable[Order], seen: Seen) -> None:
        self.seen, self.counts, self.problems = seen, Counter(), []
        orders = list(orders)
        self._got_through(orders)
        for order in orders:
            self._flow(order) if order.tree else self._single(order)
        self._starts({each.id: each for each in orders if not each.tree})
        self._doubly()
        self._changed()
        self._expired()

    def found(self, problem: str, count: str = "other problems") -> None:
        self.problems.append(problem)
        self.counts[count] += 1

    def _got_through(self, orders: list[Order]) -> None:
        """The client has tried all of them. Else it is a call that has not returned, and what was
        never tried would pass for orders in doubt."""
        tried = len(self.seen.receipts.tried)
        if not self.seen.receipts.whole:
            self.found(
                f"{orders[0].id.partition('.')[0]}: the client is stuck: it has tried {tried} of "
                f"{len(orders)} orders, {len(self.seen.receipts.acknowledged)} were acknowledged"
            )

    def _present(self, order: Order, there: bool) -> bool:
        """Whether *order* is there to be judged. What was acknowledged has to be."""
        acknowledged = order.id in self.seen.receipts.acknowledged
        self.counts["acknowledged" if acknowledged else "in doubt"] += 1
        if acknowledged and not there:
            self.found(f"{order.id} ({order.kind}): acknowledged, and there is no record", LOST)
        return there

    # -- single calls ------------------------------------------------------------------------------

    def _single(self, order: Order) -> None:
        record = self.seen.records.get(order.id)
        if not self._present(order, record is not None):
            return
        told = f"{order.id} ({order.kind}): {record.state} {record.reason.partition(chr(10))[0]!r}"
        if order.task == STRANGER:
            if record.state != states.QUEUED or not record.parked:
                self.found(f"{told}, should be parked", LOST)
            self.counts["parked"] += 1
            return
        if record.state not in states.TERMINAL:
            self.found(f"{told}, has not ended", LOST)
            return
        self.counts[record.state] += 1
        self._end(order, record, told)
        self._runs(order, record, told)

    def _end(self, order: Order, record: Record, told: str) -> None:
        put_aside = record.state == states.DEAD and record.crashes >= MAX_CRASHES
        if record.state not in order.ends and not put_aside:
            self.found(f"{told}, should be {' or '.join(sorted(order.ends))}")
        if record.state == states.DEAD and record.crashes != MAX_CRASHES:
            self.found(f"{told}, after {record.crashes} crashes")
        lost = record.reason.startswith("WorkerLostError")
        if record.state == states.FAILED and states.SUCCEEDED in order.ends and not lost:
            self.found(f"{told}, which nothing but a death may cause")
        ran = record.state in order.ends & {states.SUCCEEDED, states.FAILED}
        if ran and record.retries != order.retries:
            self.found(f"{told} after {record.retries} retries, should be {order.retries}")

    def _runs(self, order: Order, record: Record, told: str) -> None:
        starts, ends = (at.get(order.id, {}) for at in (self.seen.ran.starts, self.seen.ran.ends))
        if order.starts is not None and len(starts) > order.starts:
            self.found(f"{told}, started {len(starts)} times, should {order.starts}", UNEXPLAINED)
        due = self.seen.receipts.tried.get(order.id, 0.0) + order.later
        if starts and min(starts.values()) < due - SLACK:
            self.found(f"{told}, began {due - min(starts.values()):.3f} s before it was due")
        if starts and max(starts) > record.attempt:
            self.found(f"{told}, attempt {max(starts)} began after {record.attempt}", UNEXPLAINED)
        self._obeys(order, told, starts, ends)
        if record.state != states.SUCCEEDED:
            return
        if record.attempt not in ends:
            self.found(f"{told}, but attempt {record.attempt}, its last, did not reach its end")
        value = self.seen.values.get(order.id, [order.id, record.attempt])
        if value != [order.id, record.attempt]:
            self.found(f"{told} in attempt {record.attempt}, but its result is {value!r}", DOUBLE)

    def _obeys(
        self, order: Order, told: str, starts: Mapping[int, float], ends: Mapping[int, float]
    ) -> None:
        """What is revoked does not begin again, and ends if it is to be ended."""
        revoked = self.seen.receipts.revoked.get(order.id)
        if revoked is None:
            return
        last = max([*starts.values(), *(ends.values() if order.ending else ())], default=0.0)
        if last > revoked + OBEYED:
            self.found(f"{told}, went on for {last - revoked:.1f} s after it was revoked")

    def _starts(self, orders: Mapping[str, Order]) -> None:
        """Each start after the first is explained by a retry, crash, loss or interruption."""
        ran = self.seen.ran
        lines = [each for each in ran.lines if each.id in orders]
        once = [id for id, order in orders.items() if order.kind in AT_MOST_ONCE]
        report = check(
            (), lines, self.seen.records.values(), at_most_once=once, interrupted=ran.interrupted
        )
        # One id may be found in two ways.
        unexplained = {each.partition(":")[0] for each in report.problems if "started" in each}
        self.counts[UNEXPLAINED] += len(unexplained)
        self.counts["other problems"] += sum("started" not in each for each in report.problems)
        self.problems += report.problems
        self.counts["starts"] += sum(each.event == "start" for each in lines)
        self.counts["extra starts explained"] += max(0, report.repeated - len(unexplained))

    def _doubly(self) -> None:
        """Of single calls the store took one end only, as workers were told."""
        decided = [each for each in self.seen.ran.verdicts if each.decides]
        mine = [each for each in decided if each.id in self.seen.records]
        for problem in doubly(self.seen.records, mine, Onlooker()).values():
            self.found(problem, DOUBLE)

    # -- workflows ---------------------------------------------------------------------------------

    def _flow(self, order: Order) -> None:
        records = self.seen.flows.get(order.id, [])
        if not self._present(order, bool(records)):
            return
        self.counts["workflows"] += 1
        if order.id in self.seen.receipts.acknowledged:
            self.counts["acknowledged"] += len(records) - 1
        self.counts.update(each.state for each in records if each.state in states.TERMINAL)
        graph = Graph(order.id, records, self.seen.ran)
        # What killed its process as often as a task may is put aside: faults have decided.
        if not order.hasty and not any(each.state == states.DEAD for each in records):
            graph.as_the_tree_says(order.tree, self.seen.results[order.id])
        for name in _OF_GRAPHS:
            self.counts[name] += graph.counts[name]
        counted = any(graph.counts[name] for name in MUST_BE_NONE)
        self.counts["other problems"] += bool(graph.problems) and not counted
        self.problems += graph.problems

    # -- all ---------------------------------------------------------------------------------------

    def _expired(self) -> None:
        """Nothing is leased once it has expired, by the store's clock for both."""
        for each in self.seen.everything():
            if each.expires is not None and (each.leased_at or 0.0) > each.expires:
                late = each.leased_at - each.expires
                self.found(f"{each.id}: leased {late:.3f} s after it had expired: {each}")

    def _changed(self) -> None:
        """Whoever has ended stays as it was: a second commit would have changed it."""
        for record in self.seen.everything():
            first = self.seen.first.get(record.id)
            if first is not None and first != End.of(record):
                self.found(f"{record.id}: had ended as {first}, and is {End.of(record)}", DOUBLE)
