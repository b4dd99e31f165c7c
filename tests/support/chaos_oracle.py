"""The oracle of workflows that met faults: ledger and records against edges and trees.

Nothing here asks how a store or a worker comes to what it does. The edges of the records say what
had to run, the tree (``random_canvases.py``) says which parts there had to be and what came of
them, and the ledger says what ran.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import noting_worker
from random_canvases import FAILED, errbacks_of, evaluate, placed
from tallies import Onlooker, count

from celeriac import states
from celeriac.message import Edges, decode
from celeriac.records import BUILT_IN

NO_EDGES = Edges()
#: Tasks that write nothing down.
SILENT = {*BUILT_IN, "mix"}
#: How reasons begin of what was ended together with its process, and does not run again.
_CUT_OFF = ("WorkerLostError", "DeadTaskError", "TimeLimitExceeded")
_PUT_BACK = re.compile(r"Task (\S+) cannot begin yet, it is put back")


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
    #: What the store said to outcomes, and what was seen while it ran.
    verdicts: list = field(default_factory=list)
    onlooker: Onlooker = field(default_factory=Onlooker)

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
    made.verdicts = noting_worker.read(ledger.path)
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
        # Each start after the first is explained by what the record says, or by a replacement.
        again = Counter({id: len(ran.swapped[id]) for id in ran.swapped}) + ran.interrupted
        tally = count(
            self.records, self.records.values(), ran.lines, ran.verdicts,
            onlooker=ran.onlooker, interrupted=again,
        )  # fmt: skip
        self.counts = tally.counts + Counter(workflows=1)
        self.problems = [f"{name}: {each}" for each in tally.problems]
        if not self.records:
            self.found("there is no record of it", "lost")
        self._successors()
        self._errbacks()
        self._joins()

    def found(self, problem, count=None):
        self.problems.append(f"{self.name}: {problem}")
        if count:
            self.counts[count] += 1

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
            # Its process or worker ended with it, perhaps before it had written that it began: it
            # may have waited for what it takes. It is one that does not run again.
            or (record.reason.startswith(_CUT_OFF) and record.attempt)
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
        member = re.match(r"ChordError: member (?:\d+|added later) \((\S+)\) ended", record.reason)
        if member is not None:
            return self._by_itself(self.records[member[1]])
        return not record.reason.startswith(("UpstreamFailed:", "not needed:"))

    def _successors(self):
        for id, edges in self.edges.items():
            record = self.records[id]
            for after in map(self.records.get, edges.success):
                if after is None:
                    self.found(f"{id}: what follows it is not there", "lost")
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
                    self.found(f"{id}: its errback is not there", "errbacks run other than once")
                    continue
                due = failed and (not own or self._by_itself(record))
                self._once(errback, due, "the errback", "errbacks run other than once")

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
            self._once(
                self.records[body], done, "the body", "joins fired other than once", whole=False
            )
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
        for each, id in placed(tree, self.name):
            leased = self.records[id].attempt if id in self.records else 0
            replaced = max(self.ran.swaps.get(id, ()), default=0)
            if each["do"] in ("lost", "hard") and leased > replaced:
                missing.discard(each["n"])  # whoever ran it may have ended before it was written
        if missing or more:
            self.found(f"did not run: {missing}; did: {more}")
        errbacks = errbacks_of(tree)
        for number, ids in ran.items():
            if len(ids) != 1:
                self.found(f"part {number} ran as {ids}")
        for number in errbacks & (missing | more | {n for n, ids in ran.items() if len(ids) != 1}):
            self.found(
                f"errback {number} did not run once as it should", "errbacks run other than once"
            )
        ended = result.state
        self.counts["workflows that succeeded"] += ended == "SUCCESS"
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
