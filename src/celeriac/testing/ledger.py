"""The ledger: what really ran, written by the tasks themselves; and the oracle that judges it.

Layer 6; needs no pytest. A task under test writes a line when it starts and one when it ends,
each with one ``write`` to a file opened for appending, then ``fsync``: so a line is there whole or
not at all, whoever is killed when. The test keeps its own list of the ids whose ``delay()``
returned. :func:`check` holds ledger, list and store against each other.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from celeriac import states
from celeriac.exceptions import DecodeError
from celeriac.message import decode
from celeriac.records import Record

Event = Literal["start", "end"]

#: POSIX makes appends of this size whole; ids are at most 128 characters.
_LONGEST: Final = 4096


@dataclass(frozen=True)
class Line:
    """One event of one run. *time* is monotonic, seconds; comparable within one boot."""

    id: str
    attempt: int
    event: Event
    time: float
    pid: int

    def __str__(self) -> str:
        return f"{self.id}\t{self.attempt}\t{self.event}\t{self.time:.6f}\t{self.pid}\n"


class Ledger:
    """Writes to the ledger at *path*; any number of processes may at once."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def write(self, id: str, attempt: int, event: Event) -> None:
        """Append one line and make it durable.

        The file is opened for each line: a task may run in any process, before or after a fork.
        """
        line = str(Line(id, attempt, event, time.monotonic(), os.getpid())).encode()
        if len(line) > _LONGEST:
            raise ValueError(f"a ledger line may have {_LONGEST} bytes, this one has {len(line)}")
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self) -> list[Line]:
        """All lines, in the order they were written; none if nothing was written yet."""
        if not self.path.exists():
            return []
        return [_parse(line) for line in self.path.read_text(encoding="ascii").splitlines()]


def _parse(text: str) -> Line:
    id, attempt, event, moment, pid = text.split("\t")
    if event not in ("start", "end"):
        raise ValueError(f"not a ledger line: {text!r}")
    kind: Event = "start" if event == "start" else "end"
    return Line(id, int(attempt), kind, float(moment), int(pid))


@dataclass(frozen=True)
class Report:
    """What :func:`check` found, counted as in Jepsen's queue test. *problems* is empty if good."""

    acknowledged: int = 0
    succeeded: int = 0
    failed: int = 0
    dead: int = 0
    lost: int = 0
    #: Starts after the first, explained or not.
    repeated: int = 0
    #: Ids that ran though no call for them returned: an enqueue that was applied and reported as
    #: failed. Allowed.
    recovered: int = 0
    problems: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        counts = (
            f"{self.acknowledged} acknowledged, {self.succeeded} succeeded, {self.failed} failed, "
            f"{self.dead} dead, {self.lost} lost, {self.repeated} repeated, "
            f"{self.recovered} recovered"
        )
        return "\n".join([counts, *self.problems])


def check(
    acknowledged: Iterable[str],
    lines: Iterable[Line],
    records: Iterable[Record],
    *,
    at_most_once: Collection[str] = (),
    interrupted: Mapping[str, int] | None = None,
    workers: Collection[str] = (),
) -> Report:
    """Judge a run once everything should have ended.

    Args:
        acknowledged: ids whose ``delay()`` returned.
        lines: the ledger.
        records: every record of the store, whole (``Inspection.get``).
        at_most_once: ids of tasks that may start once at most.
        interrupted: starts that a graceful stop interrupted and handed back, uncharged, per id.
        workers: owners that are registered now.

    What it looks for: an id that was acknowledged and has no record or has not ended; a success
    that never ran to its end; a start that no retry, crash, loss or interruption explains; an
    attempt that started twice; a second start of an at-most-once task; a record held by nobody; a
    success whose successors were not released.
    """
    ids = list(acknowledged)
    found = {record.id: record for record in records}
    starts, ends = Counter[str](), Counter[str]()
    attempts: Counter[tuple[str, int]] = Counter()
    for line in lines:
        if line.event == "start":
            starts[line.id] += 1
            attempts[line.id, line.attempt] += 1
        else:
            ends[line.id] += 1
    problems = [
        *_unfinished(ids, found),
        *_unexplained(starts, found, interrupted or {}),
        *(
            f"{id}: attempt {attempt} started {count} times"
            for (id, attempt), count in attempts.items()
            if count > 1
        ),
        *(
            f"{id}: at most once, but started {starts[id]} times"
            for id in at_most_once
            if starts[id] > 1
        ),
        *(
            f"{id}: succeeded, but no run of it reached its end"
            for id, record in found.items()
            if record.state == states.SUCCEEDED and id in starts and not ends[id]
        ),
        *_orphans(found, workers),
        *_successors(found),
    ]
    reached = Counter(found[id].state for id in ids if id in found)
    return Report(
        acknowledged=len(ids),
        succeeded=reached[states.SUCCEEDED],
        failed=reached[states.FAILED],
        dead=reached[states.DEAD],
        lost=sum(id not in found for id in ids),
        repeated=sum(count - 1 for count in starts.values() if count > 1),
        recovered=len(starts.keys() - set(ids)),
        problems=tuple(problems),
    )


def _unfinished(ids: list[str], found: Mapping[str, Record]) -> Iterable[str]:
    for id in ids:
        record = found.get(id)
        if record is None:
            yield f"{id}: lost, its delay() returned and there is no record"
        elif record.state not in states.TERMINAL:
            yield f"{id}: has not ended, it is {record.state}"


def _unexplained(
    starts: Counter[str], found: Mapping[str, Record], interrupted: Mapping[str, int]
) -> Iterable[str]:
    for id, count in starts.items():
        record = found.get(id)
        if record is None:
            continue
        explained = record.retries + record.crashes + record.losses + interrupted.get(id, 0)
        if count > 1 + explained:
            yield (
                f"{id}: started {count} times, but only {explained} repeats are explained "
                f"(retries {record.retries}, crashes {record.crashes}, losses {record.losses})"
            )


def _orphans(found: Mapping[str, Record], workers: Collection[str]) -> Iterable[str]:
    for id, record in found.items():
        if record.state in states.HELD and record.owner not in workers:
            yield f"{id}: {record.state} by {record.owner}, which is not registered"


def _successors(found: Mapping[str, Record]) -> Iterable[str]:
    for id, record in found.items():
        if record.state != states.SUCCEEDED or record.wire is None:
            continue
        try:
            edges = decode(record.wire).header.edges
        except DecodeError as error:
            yield f"{id}: its message cannot be read: {error}"
            continue
        for successor in edges.success if edges is not None else ():
            after = found.get(successor)
            if after is not None and after.state == states.WAITING:
                yield f"{id}: succeeded, but its successor {successor} still waits"


__all__ = ["Event", "Ledger", "Line", "Report", "check"]
