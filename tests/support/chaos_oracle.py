"""The oracle of workflows that met faults: ledger and records against edges and trees.

Nothing here asks how a store or a worker comes to what it does. The edges of the records say what
had to run, the tree (``random_canvases.py``) says which parts there had to be and what came of
them, and the ledger says what ran.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from random_canvases import FAILED, errbacks_of, evaluate, parts_of

from celeriac import states
from celeriac.message import Edges, decode
from celeriac.records import BUILT_IN
from celeriac.testing.ledger import check

NO_EDGES = Edges()
#: Tasks that write nothing down.
SILENT = {*BUILT_IN, "mix"}
_PUT_BACK = re.compile(r"Task (\S+) cannot begin yet, it is put back")
#: What is counted, in the order in which it is shown.
COUNTED = (
    "graphs", "succeeded", "parts", "ended", "joins", "errbacks", "starts", "repeats explained",
    "faults", "lost", "joins not once", "errbacks not once", "repeats unexplained",
)  # fmt: skip
MUST_BE_NONE = COUNTED[9:]


@dataclass
class Ran:
    """What the tasks wrote: ``ledger``, and beside it which part and which replaced run each id
    was."""

    lines: list
    #: (graph, number of a part) → ids.
    parts: dict = field(default_factory=lambda: defaultdict(set))
    #: id → attempts in which it was replaced, and numbers of the parts that did so.
    swaps: dict = field(default_factory=lambda: defaultdict(set))
    swapped: dict = field(default_factory=lambda: defaultdict(set))
    #: How often each id was put back, since what it takes could not be read.
    put_back: Counter = field(default_factory=Counter)
    #: How often each id was interrupted by a worker that was to stop, which is charged to nobody.
    interrupted: Counter = field(default_factory=Counter)
    #: How many calls of a worker's store failed.
    broken: int = 0

    def __post_init__(self):
        #: id → attempt → when it started or ended, first.
        self.starts, self.ends = defaultdict(dict), defaultdict(dict)
        for line in self.lines:
            at = self.starts if line.event == "start" else self.ends
            at[line.id].setdefault(line.attempt, line.time)

    def own(self, id):
        """Starts of *id* itself, without those of what it took the place of."""
        replaced = self.swaps.get(id, ())
        return [at for attempt, at in self.starts.get(id, {}).items() if attempt not in replaced]


def read(ledger, logs):
    """Read what was written to *ledger* and beside it, and to the workers' *logs*."""
    made = gather(ledger.read(), _beside(ledger, "parts"), _beside(ledger, "swaps"))
    made.put_back.update(put_back(logs))
    made.broken = len(_beside(ledger, "broken"))
    return made


def gather(lines, parts, swaps):
    """What ran, by *lines* of the ledger and those written beside it."""
    made = Ran(lines)
    for line in parts:
        id, graph, number = line.split()
        made.parts[graph, int(number)].add(id)
    for line in swaps:
        id, number, attempt = line.split()
        made.swaps[id].add(int(attempt))
        made.swapped[id].add(int(number))
    return made


def put_back(logs):
    """Ids that were put back since what they take could not be read, each as often as it was."""
    return _PUT_BACK.findall(logs)


def _beside(ledger, kind):
    path = ledger.path.with_name(f"{ledger.path.name}.{kind}")
    return path.read_text().splitlines() if path.exists() else ()


class Graph:
    """The records of one workflow, judged; *counts* and *problems* are what came of it."""

    def __init__(self, name, records, ran):
        self.name, self.ran = name, ran
        self.records = {each.id: each for each in records}
        headers = {each.id: decode(each.wire).header for each in records}
        self.edges = {id: each.edges or NO_EDGES for id, each in headers.items()}
        self.parents = {id: each.parent for id, each in headers.items()}
        self.counts, self.problems = Counter(graphs=1, parts=len(records)), []
        self._left()
        self._starts()
        self._successors()
        self._errbacks()
        self._joins()

    def found(self, problem, count=None):
        self.problems.append(f"{self.name}: {problem}")
        if count:
            self.counts[count] += 1

    def _left(self):
        left = [each for each in self.records.values() if each.state not in states.TERMINAL]
        for each in left:
            self.found(f"{each.id} has not ended: {each.state}, {each.reason!r}")
        self.counts["ended" if self.records and not left else "lost"] += 1

    def _starts(self):
        """Each start after the first is explained by what the record says, or by a replacement."""
        ran = self.ran
        again = Counter({id: len(ran.swapped[id]) for id in ran.swapped}) + ran.interrupted
        lines = [each for each in ran.lines if each.id in self.records]
        report = check((), lines, self.records.values(), interrupted=again)
        for each in report.problems:
            self.found(each)
        # One id may be found in two ways.
        found = {each.partition(":")[0] for each in report.problems if "started" in each}
        self.counts["repeats unexplained"] = len(found)
        starts = sum(each.event == "start" for each in lines)
        self.counts["starts"] = starts
        self.counts["repeats explained"] = max(0, report.repeated - len(found))

    def _unexplained(self, record):
        """Whether *record* was leased more often than its retries, crashes and losses say."""
        explained = record.retries + record.crashes + record.losses
        explained += self.ran.put_back[record.id] + len(self.ran.swapped.get(record.id, ()))
        explained += self.ran.interrupted[record.id]
        return record.attempt > 1 + explained

    def _began(self, record, whole=True):
        """Whether *record* has run; if not *whole*, without what it took the place of. What is
        built in writes nothing."""
        if whole and record.id in self.ran.starts:
            return True
        if record.task in SILENT:
            return record.state == states.SUCCEEDED
        return bool(self.ran.own(record.id))

    def _within(self, id, replaced):
        """Whether *id* is a part of what took the place of *replaced*."""
        while id in self.parents and id != replaced:
            id = self.parents[id]
        return id == replaced

    def _once(self, record, due, what, count=None, whole=True):
        """*record* has run once if it was *due*, and else not at all."""
        began = self._began(record, whole)
        excused = (
            record.state == states.EXPIRED
            or record.reason.startswith("TaskRevokedError")
            # Its process or worker died with it, perhaps before it had written that it began; it is
            # one that does not run again.
            or (record.reason.startswith("WorkerLostError") and record.attempt)
        )
        if began and not due:
            self.found(f"{what} {record.id} ran though it was not due: {record}", count)
        elif due and not (began or excused):
            reason = record.reason
            self.found(f"{what} {record.id} was due and did not run: {record} {reason!r}", count)
        elif self._unexplained(record) or record.generation:
            self.found(f"{what} {record.id} was released more than once: {record}", count)

    def _by_itself(self, record):
        """Whether *record* did not fail because of one before it, or before its join's member."""
        member = re.match(r"ChordError: member \d+ \((\S+)\) ended", record.reason)
        if member is not None:
            return self._by_itself(self.records[member[1]])
        return not record.reason.startswith(("UpstreamFailed:", "not needed:"))

    def _successors(self):
        for id, edges in self.edges.items():
            record = self.records[id]
            for after in map(self.records.get, edges.success):
                if after is None:
                    self.found(f"{id}: what follows it is not there")
                    continue
                whole = not self._within(id, after.id)
                succeeded = record.state == states.SUCCEEDED
                self._once(after, succeeded, "the successor", whole=whole)
                end = self.ran.ends.get(id, {}).get(record.attempt)
                began = self.ran.starts[after.id].values() if whole else self.ran.own(after.id)
                if end is not None and min(began, default=end) < end:
                    self.found(f"{after.id} began before {id} had ended")

    def _errbacks(self):
        for id, edges in self.edges.items():
            record = self.records[id]
            failed = record.state != states.SUCCEEDED
            failed = failed and not record.reason.startswith("not needed:")
            for each, own in (
                *((e, False) for e in edges.failure),
                *((e, True) for e in edges.own),
            ):
                self.counts["errbacks"] += 1
                errback = self.records.get(each)
                if errback is None:
                    self.found(f"{id}: its errback is not there", "errbacks not once")
                    continue
                due = failed and (not own or self._by_itself(record))
                self._once(errback, due, "the errback", "errbacks not once")

    def _joins(self):
        """The body of a join whose members have all succeeded ran once; of another one never."""
        members = defaultdict(list)
        for id, edges in self.edges.items():
            if edges.join is not None:
                members[edges.join[0]].append(self.records[id])
        self.counts["joins"] = len(members)
        for body, edges in self.edges.items():
            if edges.gathers is None:
                continue
            before = members[edges.gathers]
            done = all(each.state == states.SUCCEEDED for each in before)
            self._once(self.records[body], done, "the body", "joins not once", whole=False)
            began = min(self.ran.own(body), default=None)
            for each in before:
                end = self.ran.ends.get(each.id, {}).get(each.attempt)
                if began is not None and end is not None and began < end:
                    self.found(f"the body {body} began before the member {each.id} had ended")

    def as_the_tree_says(self, tree, result):
        """Hold it against the direct evaluation of *tree*; *result* is what its caller has."""
        expected = evaluate(tree)
        ran = {number: ids for (name, number), ids in self.ran.parts.items() if name == self.name}
        missing, more = expected.ran - ran.keys(), ran.keys() - expected.ran
        for each in parts_of(tree):
            record = self.records.get(f"{self.name}.{each['n']}")
            if each["do"] == "lost" and record is not None and record.attempt:
                missing.discard(each["n"])  # whoever ran it may have died before it was written
        if missing or more:
            self.found(f"did not run: {missing}; did: {more}")
        errbacks = errbacks_of(tree)
        for number, ids in ran.items():
            if len(ids) != 1:
                self.found(f"part {number} ran as {ids}")
        for number in errbacks & (missing | more | {n for n, ids in ran.items() if len(ids) != 1}):
            self.found(f"errback {number} did not run once as it should", "errbacks not once")
        ended = result.state
        self.counts["succeeded"] += ended == "SUCCESS"
        if expected.value is FAILED:
            if ended not in ("FAILURE", "REVOKED"):
                self.found(f"ended {ended}, should have failed")
        elif ended != "SUCCESS" or result.get(timeout=5) != expected.value:
            value, wanted = f"{result.result!r:.200}", f"{expected.value!r:.200}"
            self.found(f"ended {ended} with {value}, should be {wanted}")


def flow_of(record):
    """The id of the workflow that *record* is a part of."""
    header = decode(record.wire).header
    return header.flow or header.id


def table(tallies):
    """Lines that show the counts of each store: {store: counts}."""
    stores = sorted(tallies)
    width = max(map(len, COUNTED)) + 2
    yield f"{'workflows × faults':<{width}}" + "".join(f"{each:>10}" for each in stores)
    for name in COUNTED:
        shown = f"{name} (0)" if name in MUST_BE_NONE else name
        yield f"{shown:<{width + 4}}"[: width + 4] + "".join(
            f"{tallies[each].get(name, 0):>10}" for each in stores
        )
