"""What faults did to tasks that were acknowledged: counted for the table of each store.

:func:`count` holds the ids whose call returned against the records, the ledger, the verdicts of the
store and what an onlooker saw. None of these is what the store or a worker says of itself alone.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import noting_worker
from noting_worker import Judged
from workers import Site

from celeriac import states
from celeriac.records import Record
from celeriac.testing import ledger

#: What is counted, in the order in which it is shown.
COUNTED = (
    "faults", "workflows", "workflows that succeeded", "acknowledged", "succeeded", "failed",
    "dead", "revoked", "expired", "ignored", "rejected", "lost", "ends that workers were told of",
    "doubly committed", "starts",
    "extra starts explained", "extra starts unexplained", "joins", "joins fired other than once",
    "errbacks", "errbacks run other than once",
)  # fmt: skip
MUST_BE_NONE = (
    "lost", "doubly committed", "extra starts unexplained", "joins fired other than once",
    "errbacks run other than once",
)  # fmt: skip
#: The column of each kind of place: an old server, a failover and a cluster are Redis.
COLUMNS = {
    "sqlite": "sqlite", "redis": "redis", "redis-6.2": "redis", "sentinel": "redis",
    "cluster": "redis", "valkey": "valkey",
}  # fmt: skip


class Onlooker:
    """Remembers the end of every record it is shown: ends do not change."""

    def __init__(self) -> None:
        self.ends: dict[str, Record] = {}

    def see(self, records: Iterable[Record | None]) -> None:
        for each in records:
            if each is not None and each.state in states.TERMINAL:
                self.ends.setdefault(each.id, each)


@dataclass
class Tally:
    """*counts* by the names of :data:`COUNTED`; *problems* is empty if all is well."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def found(self, problem: str, count: str, many: int = 1) -> None:
        self.problems.append(problem)
        self.counts[count] += many


def count(
    acknowledged: Iterable[str],
    records: Iterable[Record | None],
    lines: Iterable[ledger.Line],
    verdicts: Iterable[Judged],
    *,
    onlooker: Onlooker | None = None,
    interrupted: Mapping[str, int] | None = None,
    faults: int = 0,
) -> Tally:
    """Count what became of the *acknowledged* once they should have ended.

    *records* and *lines* may be of others, too, which are left out. *interrupted* is how often a
    start of an id was cut by a stop and handed back, without a charge; *faults* is how many were
    injected.
    """
    ids = list(acknowledged)
    known = {each.id: each for each in records if each is not None}
    own = {id: known[id] for id in ids if id in known}
    made = Tally(Counter(acknowledged=len(ids), faults=faults))
    made.counts.update(each.state for each in own.values() if each.state in states.TERMINAL)
    for id in ids:
        if id not in own:
            made.found(f"{id}: its call returned and there is no record", "lost")
        elif own[id].state not in states.TERMINAL:
            made.found(f"{id}: has not ended: {own[id]}", "lost")
    decided = [each for each in verdicts if each.id in own and each.decides]
    made.counts["ends that workers were told of"] = len({each.id for each in decided})
    for problem in doubly(own, decided, onlooker or Onlooker()).values():
        made.found(problem, "doubly committed")
    starts(made, own, [each for each in lines if each.id in own], interrupted or {})
    return made


def of(place: Site, acknowledged: Iterable[str], **more: Any) -> Tally:
    """:func:`count` of what is at *place* now; *more* are its named arguments."""
    assert place.noting, "its workers have not noted what the store said"
    ids = list(acknowledged)
    lines = [
        ledger.Line(each.id, each.attempt, event, each.at, each.pid)
        for event in ("start", "end")
        for each in place.ledger(event)
    ]
    verdicts = noting_worker.read(place.ledger_path)
    return count(ids, place.store.inspection.get(ids), lines, verdicts, **more)


def starts(
    made: Tally,
    records: Mapping[str, Record],
    lines: list[ledger.Line],
    interrupted: Mapping[str, int],
) -> None:
    """Add to *made* the starts of *records*: those after the first are explained by what each
    record was charged with, or not."""
    report = ledger.check((), lines, records.values(), interrupted=interrupted)
    made.problems += report.problems
    # One id may be found in two ways.
    unexplained = {each.partition(":")[0] for each in report.problems if "started" in each}
    made.counts["starts"] += sum(each.event == "start" for each in lines)
    made.counts["extra starts unexplained"] += len(unexplained)
    made.counts["extra starts explained"] += max(0, report.repeated - len(unexplained))


def doubly(
    records: Mapping[str, Record], decided: Iterable[Judged], onlooker: Onlooker
) -> dict[str, str]:
    """Ids that ended more than once, each with how it is known.

    It is known from what workers were told and from what was seen from outside, not from the record
    alone, which has room for one end only: the store took the ends of two leases of one id, or of
    one and then says that another lease ended it, or in another way; or a record was seen ended
    and later was not, or had ended otherwise. What is not known is an end whose answer died with
    its worker before anybody looked, if the store then undid it; its second start is one that
    nothing explains, unless the store has charged it.

    *decided* are the verdicts by which the store took an end. *records* are those that no operator
    has reopened: a generation has an end of its own.
    """
    found: dict[str, str] = {}
    taken: dict[str, dict[tuple[int, str], Judged]] = defaultdict(dict)
    for each in decided:
        taken[each.id][each.attempt, each.nonce] = each
    for id, record in records.items():
        ends = list(taken[id].values())
        seen = onlooker.ends.get(id)
        if len(ends) > 1:
            found[id] = f"{id}: the store took the ends of {len(ends)} leases: {ends}"
        elif ends and not _same(ends[0], record):
            found[id] = f"{id}: the store took {ends[0]}, and now says {record} {record.reason!r}"
        elif seen is not None and _end(seen) != _end(record):
            found[id] = f"{id}: ended as {_end(seen)}, and then as {_end(record)}"
    return found


def _same(end: Judged, record: Record) -> bool:
    """Whether *record* ended as that lease asked for, or could: a result may be too large."""
    large = record.state == states.FAILED and record.reason.startswith("ResultTooLarge")
    return record.attempt == end.attempt and (record.state == end.state or large)


def _end(record: Record) -> tuple[str, int, float | None]:
    return record.state, record.attempt, record.ended_at


def table(tallies: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Lines of Markdown, a column for each store: {store: counts}."""
    columns = [each for each in dict.fromkeys(COLUMNS.values()) if each in tallies]
    yield "| | " + " | ".join(columns) + " |"
    yield "|---|" + "---|" * len(columns)
    for name in COUNTED:
        shown = f"**{name}** (0)" if name in MUST_BE_NONE else name
        cells = (f"{tallies[each].get(name, 0):,}" for each in columns)
        yield f"| {shown} | " + " | ".join(cells) + " |"
