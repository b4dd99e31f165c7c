"""Why a task is where it is: from its record and what surrounds it to a sentence.

Layer 4. Pure: :mod:`celeriac.control.inspect` gathers a :class:`Situation`, :func:`explain` says
what it means, the command line prints it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from celeriac import states
from celeriac.control.destinations import NOWHERE, Destinations, no_worker, rate_limited, token_note
from celeriac.control.facts import facts_of, limits_of
from celeriac.control.phrases import absolute, ago, clip, commands, duration, moment, plural
from celeriac.control.reading import (
    header_of,
    hider_of,
    last_stack,
    plain_record,
    reason_of,
    result_of,
)
from celeriac.exceptions import DecodeError, NotRegistered
from celeriac.malformed import MALFORMED
from celeriac.records import Counts, JoinView, Record, RevokedStamp, WorkerView

__all__ = [
    "Explanation",
    "Situation",
    "by_stamp",
    "explain",
    "in_brief",
    "missing",
    "worker_name",
]

#: A task that is due, with a free slot waiting, is normally taken within milliseconds.
_SLOW: Final = 5.0
#: A worker with the default heartbeat (3 s) that is silent for longer missed two beats.
_SILENT: Final = 6.0


@dataclass(frozen=True)
class Situation:
    """A record and what surrounds it, read at one moment.

    *before* is how many tasks of its queue come earlier, None where that was not counted.
    *upstream* are the unfinished tasks whose end releases it, *join* the join it gathers.
    *whole* says that the reader shows the record's last stack as well: no advice points to it.
    *app* is what ``-A`` names, for the commands in the advice; *silent* how many seconds without
    a beat are too many for a worker. *known* is where the reader's application sends its tasks,
    *revoked* are the stamps of its own that calls are revoked by now.
    """

    record: Record
    now: float
    workers: Sequence[WorkerView] = ()
    counts: Counts = field(default_factory=lambda: Counts({}, {}))
    before: int | None = None
    upstream: Sequence[Record] = ()
    join: JoinView | None = None
    whole: bool = False
    app: str = ""
    silent: float = _SILENT
    known: Destinations = NOWHERE
    revoked: Sequence[RevokedStamp] = ()


@dataclass(frozen=True)
class Explanation:
    """Why a task is where it is.

    *code* is one word for programs, *reason* the sentence for people, *facts* what it rests on
    (name, text), *advice* what to do, if anything.
    """

    id: str
    code: str
    reason: str
    facts: tuple[tuple[str, str], ...] = ()
    advice: tuple[str, ...] = ()
    record: Record | None = None

    @property
    def state(self) -> str:
        """The state users see, or ``UNKNOWN`` without a record."""
        if self.record is None:
            return "UNKNOWN"
        return states.visible(self.record.state, self.record.retries, self.record.custom_state)

    def as_dict(self) -> dict[str, object]:
        """Plain data with stable keys, times as ISO 8601 in UTC."""
        data: dict[str, object] = {
            "id": self.id,
            "code": self.code,
            "state": self.state,
            "reason": self.reason,
            "facts": dict(self.facts),
            "advice": list(self.advice),
        }
        if self.record is not None:
            data["record"] = plain_record(self.record)
        return data


def worker_name(view: WorkerView) -> str:
    """``worker HOST (pid N)``."""
    return f"worker {view.manifest.hostname or view.owner} (pid {view.manifest.pid})"


def missing(id: str, place: str, result_expires: float | None, app: str = "") -> Explanation:
    """What can be said of an id without a record, in the store at *place*."""
    kept = (
        "results are kept for ever"
        if not result_expires
        else f"a record goes {duration(result_expires)} after its task ended (result_expires)"
    )
    return Explanation(
        clip(id),
        "not_found",
        f"No task {clip(id)} is known to this store: it was never sent here, or its record has "
        "expired.",
        (("store", place), ("kept", kept)),
        (
            commands(
                "Compare this store with the one the sender uses: another file, another working "
                "directory or another namespace is another store (`celeriac doctor` prints both).",
                app,
            ),
        ),
    )


def explain(situation: Situation) -> Explanation:
    """Say why the task is in the state it is in, and what to do about it."""
    record = situation.record
    code, reason, advice = _EXPLAIN[record.state](situation)
    header = header_of(record)
    if header is not None and header.flow:
        advice.append(f"The whole workflow: celeriac tree {header.flow}")
    advice = [commands(each, situation.app) for each in advice]
    facts = tuple(facts_of(record, situation.now))
    return Explanation(record.id, code, reason, facts, tuple(advice), record)


def in_brief(situation: Situation) -> tuple[str, str]:
    """The code and the sentence alone, without the moments that it names beside how far they are:
    for many tasks at once."""
    code, reason, _ = _EXPLAIN[situation.record.state](situation)
    return code, _MOMENT.sub("", reason)


#: `` (2026-05-01 12:00:00 +0200)``, as ``phrases.moment`` writes it.
_MOMENT: Final = re.compile(r" \((?:since )?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\)")
_Answer = tuple[str, str, list[str]]


# -- not yet in a worker's hands ---------------------------------------------------------------


def _scheduled(s: Situation) -> _Answer:
    record = s.record
    due = record.due if record.due is not None else s.now
    when = moment(due, s.now)
    error = _error_of(record) or "no reason was recorded"
    if due <= s.now:
        code, text, advice = _queued(s)
        return code, f"It fell due {when}. {text}", advice
    if record.crashes:
        text = f"Waiting after crash {record.crashes}: {error}. It runs again {when}."
        return "backing_off", text, _revoke_advice(record)
    if record.losses:
        text = f"Waiting after it was lost {plural(record.losses, 'time')}: {error}. "
        return "backing_off", f"{text}It runs again {when}.", _revoke_advice(record)
    if record.retries:
        text = f"Backing off after {error}: retry {record.retries} is due {when}."
        return "backing_off", text, _revoke_advice(record)
    if record.attempt and record.reason:
        return "backing_off", f"Waiting: {error}. It runs again {when}.", _revoke_advice(record)
    limited = rate_limited(record, s.workers)
    if limited is not None:
        hint = (
            "Nothing: it starts when its turn comes. For more at once start another worker, or "
            f"change the limit: celeriac -A APP control rate_limit {record.task} 100/s"
        )
        return "rate_limited", f"{limited} It is offered to a worker again {when}.", [hint]
    return "scheduled", f"Scheduled: it is due {when}.", _revoke_advice(record)


def _error_of(record: Record) -> str:
    """What made it be tried again: ``Retry in 5s: ValueError(…)`` says twice when it is due."""
    reason = reason_of(record)
    before, colon, error = reason.partition(": ")
    asked = colon and before.startswith(("Retry in ", "Retry at ", "Retry now"))
    return error if asked else reason


def _revoke_advice(record: Record) -> list[str]:
    return [f"To call it off: celeriac revoke {record.id}"]


def _queued(s: Situation) -> _Answer:
    record = s.record
    alive = [view for view in s.workers if view.alive]
    reading = [view for view in alive if record.queue in view.manifest.queues]
    if record.expires is not None and record.expires <= s.now:
        return _overdue(s, alive)
    if record.parked or (reading and not _knowing(reading, record.task)):
        return _unknown_name(record, alive, reading)
    if not reading:
        return "waiting_for_worker", *no_worker(record, alive, s.known)
    knowing = _knowing(reading, record.task)
    slots = sum(view.manifest.concurrency for view in knowing)
    held = sum(view.held for view in knowing)
    ahead = "" if s.before is None else f"; {plural(s.before, 'task')} of the queue come first"
    if s.before == 1:
        ahead = "; 1 task of the queue comes first"
    latest = max(knowing, key=lambda view: view.beat_at)
    if s.now - latest.beat_at > s.silent:
        return _silent(s, latest, room=held < slots)
    if held >= slots:
        hold = "holds" if len(knowing) == 1 else "hold"
        text = (
            f"Waiting for a free slot: {plural(len(knowing), 'worker')} on queue {record.queue!r} "
            f"with {plural(slots, 'slot')} {hold} {plural(held, 'task')}{ahead}."
        )
        return "waiting_for_slot", text, _busy_advice(record, s.now)
    text = f"Due: {worker_name(latest)} reads queue {record.queue!r} and has room{ahead}."
    return "due", text, ["It should start at once. If it does not: celeriac doctor"]


def _overdue(s: Situation, alive: Sequence[WorkerView]) -> _Answer:
    """Only a worker's sweep ends what has expired; until then it stands in its queue."""
    expires = s.record.expires
    when = "" if expires is None else f" {moment(expires, s.now)}"
    text = f"It has expired{when} before it began, and ends at the next sweep of a worker"
    if alive:
        return "expiring", f"{text}.", []
    advice = [f"Start one: celeriac -A APP worker -Q {s.record.queue}"]
    return "expiring", f"{text}; none is alive.", advice


def _silent(s: Situation, view: WorkerView, *, room: bool) -> _Answer:
    text = (
        f"Waiting for {worker_name(view)}: it reads queue {s.record.queue!r}"
        f"{' and has room' if room else ''}, but last beat {ago(view.beat_at, s.now)}. It is "
        "dead, stopped, stuck or overloaded."
    )
    advice = [
        (
            f"Look at process {view.manifest.pid} and its log (a stopped one goes on after "
            f"kill -CONT {view.manifest.pid}), or start another worker: "
            f"celeriac -A APP worker -Q {s.record.queue}"
        )
    ]
    return "worker_silent", text, advice


def _knowing(views: Sequence[WorkerView], task: str) -> list[WorkerView]:
    return [view for view in views if task in view.manifest.tasks]


def _unknown_name(
    record: Record, alive: Sequence[WorkerView], reading: Sequence[WorkerView]
) -> _Answer:
    name = clip(record.task)
    who = reading or alive
    if _knowing(reading, record.task):
        text = (
            f"Parked until a moment ago: {worker_name(_knowing(reading, record.task)[0])} knows "
            f"task {name!r} and will take it."
        )
        return "due", text, ["It should start at once. If it does not: celeriac doctor"]
    known = sorted({each for view in who for each in view.manifest.tasks})
    near = NotRegistered(record.task, known).near()
    hint = f" Near names: {', '.join(near)}." if near else ""
    whose = f"none of {plural(len(who), 'worker')} alive knows it" if who else "no worker is alive"
    text = f"Parked: no worker of queue {record.queue!r} knows a task named {name!r}; {whose}."
    advice = [
        (
            f"Start a worker whose app defines {name!r}: include the module that defines it "
            "(include=[…]), and restart workers that run older code."
        ),
        f"If the name is wrong, call the task off: celeriac revoke {record.id}",
    ]
    if record.task.startswith("__main__."):
        advice.insert(
            0,
            "It was sent by a program that was run as a file, where its tasks are named after "
            "__main__: define tasks in a module that both sides import, or name the app.",
        )
    return "unknown_task", text + hint, advice


def _busy_advice(record: Record, now: float) -> list[str]:
    if now - record.enqueued_at < _SLOW:
        return ["Nothing: it starts when its turn comes."]
    text = (
        "It starts when its turn comes. To have more run at once, start another worker or raise "
        "--concurrency; `celeriac status` shows what is running."
    )
    return [text]


def _waiting(s: Situation) -> _Answer:
    if s.join is not None:
        size = "?" if s.join.size is None else str(s.join.size)
        text = (
            f"Waiting in a workflow for the members of join {s.join.id}: "
            f"{len(s.join.members)} of {size} have ended."
        )
        if s.join.size is None:
            text += " Its sender has not finished sending them."
    elif s.upstream:
        names = ", ".join(f"{each.task}[{each.id}] ({each.state})" for each in s.upstream[:5])
        more = f" and {len(s.upstream) - 5} more" if len(s.upstream) > 5 else ""
        text = f"Waiting in a workflow for another task to end: {names}{more}."
    else:
        text = "Waiting in a workflow for another task to end."
    return "waiting_in_workflow", text, [f"See: celeriac why {each.id}" for each in s.upstream[:3]]


# -- in a worker's hands -----------------------------------------------------------------------


def _held(s: Situation) -> _Answer:
    record = s.record
    view = next((each for each in s.workers if each.owner == record.owner), None)
    if view is None or not view.alive:
        return _orphan(s, view)
    running = record.state == states.RUNNING
    since = record.started_at if running else record.leased_at
    when = "" if since is None else f" {_lasting(since, s.now)}"
    doing = "Running" if running else "Taken, about to run"
    text = f"{doing} on {worker_name(view)}{when}, attempt {record.attempt}."
    if not running:
        text += token_note(record, view)
    # Whether its process is there only its host knows, and the store not before its lease ends.
    if s.now - view.beat_at > s.silent * 0.75:
        text += (
            f" The worker was last heard of {ago(view.beat_at, s.now)}; if it has died, the task "
            "goes to another one."
        )
    if record.revoked:
        how = f"ended with {record.terminate}" if record.terminate else "left to end, not repeated"
        return "revoke_pending", f"{text} It has been revoked and will be {how}.", []
    advice = []
    if running and since is not None and s.now - since > 600 and not limits_of(record):
        advice.append("It has no time limit; to stop it: " + _terminate(record))
    elif running:
        advice.append("To stop it: " + _terminate(record))
    return ("running" if running else "received"), text, advice


def _lasting(since: float, now: float) -> str:
    """``for 2.3 s (since 2026-05-01 …)``; clocks may differ, so never less than 0."""
    return f"for {duration(max(0.0, now - since))} (since {absolute(since)})"


def _terminate(record: Record) -> str:
    return f"celeriac revoke {record.id} --terminate"


def _orphan(s: Situation, view: WorkerView | None) -> _Answer:
    if view is None:
        who = f"its worker ({s.record.owner}) is no longer registered"
    else:
        who = f"{worker_name(view)} stopped beating {ago(view.beat_at, s.now)}"
    others = [each for each in s.workers if each.alive]
    text = f"Lost: {who} while it held this task, attempt {s.record.attempt}."
    if others:
        return "worker_lost", f"{text} A worker that is alive will take it back.", []
    text += " No worker is alive to take it back."
    return "worker_lost", text, [f"Start one: celeriac -A APP worker -Q {s.record.queue}"]


# -- ended -------------------------------------------------------------------------------------


def _ended(code: str, word: str) -> Callable[[Situation], _Answer]:
    def answer(s: Situation) -> _Answer:
        record = s.record
        when = "" if record.ended_at is None else f" {moment(record.ended_at, s.now)}"
        because = f": {reason_of(record)}" if record.reason else ""
        text = f"{word}{when}{because}."
        if s.revoked and record.state in states.REOPENABLE:
            return code, f"{text} Whatever {by_stamp(s.revoked)}.", [_STAMPED]
        return code, text, _ended_advice(record)

    return answer


#: What to do about a call whose stamp is revoked.
_STAMPED: Final = (
    "To run it after all: send it anew, without that stamp. A retry would be revoked again."
)


def by_stamp(revoked: Sequence[RevokedStamp]) -> str:
    """``carries customer=acme is revoked until …``."""
    last = max(revoked, key=lambda each: each.until)
    return f"carries {clip(last.stamp)} is revoked until {absolute(last.until)}"


def _ended_advice(record: Record) -> list[str]:
    if record.cause and record.cause != record.id:
        return [f"It ended because of another task: celeriac why {record.cause}"]
    if record.state == states.FAILED:
        return [
            f"Its traceback: celeriac result {record.id} --traceback",
            f"To see it fail, here and beside its record: celeriac replay {record.id} --pdb",
            f"To run it again: celeriac retry {record.id}",
        ]
    if record.state in (states.CANCELLED, states.EXPIRED):
        return [f"To run it after all: celeriac retry {record.id}"]
    return []


def _succeeded(s: Situation) -> _Answer:
    record = s.record
    when = "" if record.ended_at is None else f" {moment(record.ended_at, s.now)}"
    took = ""
    if record.started_at is not None and record.ended_at is not None:
        # A start is told with the next beat, or never: this is less than the task took.
        took = f", reported running for {duration(record.ended_at - record.started_at)}"
    return "succeeded", f"Succeeded{when}{took}; result {_summary(record)}.", []


def _summary(record: Record) -> str:
    hide = hider_of(record)
    return _result(record) if hide is None else hide(_result(record))


def _result(record: Record) -> str:
    body = result_of(record.body)
    if body is None or body.value is None:
        return "not kept"
    try:
        content = body.content() or b""
        if body.serializer == "json":
            return clip(content.decode("utf-8", "replace"))
        if body.serializer == "msgpack":
            return clip(repr(msgspec.msgpack.decode(content)))
    except (DecodeError, *MALFORMED):
        return f"of {plural(len(body.value), 'byte')} that cannot be read"
    return f"of {plural(len(body.value), 'byte')} ({body.serializer})"


def _dead(s: Situation) -> _Answer:
    record = s.record
    when = "" if record.ended_at is None else f" {moment(record.ended_at, s.now)}"
    deaths = []
    if record.crashes:
        deaths.append(f"it ended the process that ran it {plural(record.crashes, 'time')}")
    if record.losses:
        deaths.append(f"it was lost with its whole worker {plural(record.losses, 'time')}")
    because = " and ".join(deaths) or "it was put aside"
    text = f"Dead: {because}; put aside{when}. Last: {reason_of(record) or 'not recorded'}."
    advice = [
        f"Once the cause is mended: celeriac retry {record.id}",
        f"To throw it away: celeriac dead discard {record.id}",
    ]
    if not s.whole and last_stack(record):
        advice.insert(0, f"Its last stack: celeriac dead show {record.id}")
    return "dead", text, advice


_EXPLAIN: Final[dict[str, Callable[[Situation], _Answer]]] = {
    states.WAITING: _waiting,
    states.SCHEDULED: _scheduled,
    states.QUEUED: _queued,
    states.LEASED: _held,
    states.RUNNING: _held,
    states.SUCCEEDED: _succeeded,
    states.FAILED: _ended("failed", "Failed"),
    states.CANCELLED: _ended("revoked", "Revoked"),
    states.EXPIRED: _ended("expired", "Expired before it began"),
    states.SKIPPED: _ended("ignored", "Ended without a result, on purpose"),
    states.REFUSED: _ended("rejected", "Rejected by the task itself"),
    states.DEAD: _dead,
}
