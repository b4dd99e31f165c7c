"""What is wrong with a set-up: from what was read to findings, each with what to do.

Layer 4. :func:`examine` reads, through the seam only; :func:`judge` and what it calls are pure.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from celeriac.control.destinations import NOWHERE, Destinations
from celeriac.control.inspect import Overview, overview
from celeriac.control.phrases import ago, commands, duration, moment, plural, size
from celeriac.exceptions import ImproperlyConfigured, NotRegistered
from celeriac.records import WorkerView

if TYPE_CHECKING:
    from celeriac.conf import Settings
    from celeriac.stores.base import Store, Trap

__all__ = ["Checkup", "Finding", "Place", "examine", "judge", "look_at", "settings_findings"]

#: A clock this far off a beat or a message makes times in the store doubtful.
_CLOCK: Final = 60.0
#: No machine that runs this is honestly at an earlier time: 2025-01-01.
_EARLIEST: Final = 1_735_689_600.0
#: A write-ahead log is normally worked off at some MiB; one this large is never worked off.
_WAL: Final = 256 * 1024 * 1024
#: Less room than this, and enqueues are about to be refused.
_ROOM: Final = 100 * 1024 * 1024


@dataclass(frozen=True)
class Finding:
    """One thing that was found: in a word, what it is, what it concerns, what to do.

    A *note* is worth knowing and nothing wrong.
    """

    code: str
    what: str
    where: str
    advice: str
    note: bool = False

    def as_dict(self) -> dict[str, object]:
        """Plain data with stable keys."""
        return asdict(self)


@dataclass(frozen=True)
class Place:
    """The file of a store, as the file system shows it. *wal* and *free* are bytes."""

    path: str
    mode: int
    owner: int
    me: int
    writable: bool
    wal: int
    free: int


@dataclass(frozen=True)
class Checkup:
    """What an examination read, at one moment of this machine's clock."""

    now: float
    version: str
    url: str
    lease: float
    overview: Overview
    facts: Mapping[str, object] = field(default_factory=dict)
    place: Place | None = None
    traps: Sequence[Trap] = ()
    #: Names this application registers; empty if it is not known.
    tasks: frozenset[str] = frozenset()
    #: When the newest message was stored, None if there is none.
    newest: float | None = None
    #: What ``-A`` names, for the commands in the advice.
    app: str = ""
    known: Destinations = NOWHERE


# -- reading -----------------------------------------------------------------------------------


def examine(
    store: Store, *, tasks: Sequence[str], version: str, now: float, app: str = "",
    known: Destinations | None = None,
) -> Checkup:  # fmt: skip
    """Read what :func:`judge` needs. Changes nothing."""
    facts = store.inspection.facts()
    newest = store.inspection.list(limit=1)
    return Checkup(
        now=now,
        version=version,
        url=store.url,
        lease=store.options.lease,
        overview=overview(store),
        facts=facts,
        place=look_at(str(facts.get("place", ""))),
        traps=store.inspection.traps(),
        tasks=frozenset(tasks),
        newest=newest[0].enqueued_at if newest else None,
        app=app,
        known=known or NOWHERE,
    )


def look_at(path: str) -> Place | None:
    """Look at a store's file; None if *path* names none."""
    if not path.startswith("/"):
        return None
    try:
        found = Path(path).stat()
    except OSError:
        return None
    wal = Path(f"{path}-wal")
    return Place(
        path=path,
        mode=stat.S_IMODE(found.st_mode),
        owner=found.st_uid,
        me=os.geteuid(),
        writable=os.access(path, os.W_OK) and os.access(Path(path).parent, os.W_OK),
        wal=wal.stat().st_size if wal.exists() else 0,
        free=shutil.disk_usage(Path(path).parent).free,
    )


# -- judging -----------------------------------------------------------------------------------


def judge(checkup: Checkup) -> list[Finding]:
    """All that is wrong, what keeps tasks from running first, notes last."""
    found = [
        *_queues(checkup),
        *_nowhere(checkup),
        *_parked(checkup),
        *_owners(checkup),
        *_aside(checkup),
        *_clocks(checkup),
        *_place(checkup),
        *_traps(checkup),
        *_versions(checkup),
    ]
    told = [replace(each, advice=commands(each.advice, checkup.app)) for each in found]
    return sorted(told, key=lambda each: each.note)


def settings_findings(conf: Settings) -> Iterator[Finding]:
    """What is wrong with the settings, and where each value comes from."""
    try:
        conf.validate()
    except ImproperlyConfigured as error:
        for problem in error.problems or (str(error),):
            yield Finding("settings", problem, "settings", "Change one of the settings it names.")
    if conf.security_key is None:
        yield Finding(
            "unsigned",
            "security_key is not set: whoever can write to the store can send tasks",
            "settings",
            "Nothing, if only this application can write to it; else set security_key.",
            note=True,
        )


def _queues(c: Checkup) -> Iterator[Finding]:
    alive = [each for each in c.overview.workers if each.alive]
    for line in c.overview.queues:
        if line.workers or not line.due + line.scheduled + line.parked:
            continue
        elsewhere = sorted({queue for each in alive for queue in each.manifest.queues})
        others = f"; workers alive read {', '.join(elsewhere)}" if elsewhere else ""
        work = f"{plural(line.due + line.parked, 'task')} due, {line.scheduled:,} scheduled"
        yield Finding(
            "no_worker",
            f"no worker alive reads it ({work}){others}",
            f"queue {line.name}",
            f"Start one: celeriac -A APP worker -Q {line.name}",
        )


def _nowhere(c: Checkup) -> Iterator[Finding]:
    """Queues that the application's tasks go to and no worker reads, though some are alive."""
    alive = [each for each in c.overview.workers if each.alive]
    read = sorted({queue for each in alive for queue in each.manifest.queues})
    told = {line.name for line in c.overview.queues if line.due + line.scheduled + line.parked}
    for queue, tasks in sorted(c.known.tasks.items()):
        undeclared = c.known.undeclared(queue)
        if queue in told or queue in read or not (read or undeclared):
            continue
        more = f" and {len(tasks) - 3} more" if len(tasks) > 3 else ""
        verb = "goes" if len(tasks) == 1 else "go"
        what = f"{', '.join(tasks[:3])}{more} {verb} there, and no worker alive reads it"
        others = f" (they read {', '.join(read)})" if read else ""
        yield Finding(
            "nowhere",
            f"{what}{others}.{c.known.described(queue)}",
            f"queue {queue}",
            f"Start one: celeriac -A APP worker -Q {queue}, or correct task_routes.",
            note=not undeclared,
        )


def _parked(c: Checkup) -> Iterator[Finding]:
    alive = [each for each in c.overview.workers if each.alive]
    known = sorted(c.tasks.union(*(each.manifest.tasks for each in alive)))
    for queue, task, count in c.overview.parked:
        if any(task in each.manifest.tasks and queue in each.manifest.queues for each in alive):
            continue  # being taken up just now
        if task in c.tasks:
            advice = (
                "This application defines it and the workers alive do not: restart them with "
                "the present code."
            )
        else:
            near = [each for each in NotRegistered(task, known).near() if each != task]
            hint = f" Near names: {', '.join(near)}." if near else ""
            advice = (
                "Start a worker that defines it (include=[…]), or call the tasks off with "
                f"celeriac revoke.{hint}"
            )
        what = f"{plural(count, 'task')} parked: no worker knows the name"
        yield Finding("parked", what, f"task {task} in queue {queue}", advice)


def _owners(c: Checkup) -> Iterator[Finding]:
    for each in c.overview.workers:
        overdue = c.now - each.beat_at
        if each.alive or not each.held or overdue < 2 * c.lease:
            continue
        yield Finding(
            "dead_owner",
            f"it holds {plural(each.held, 'task')} and last beat {ago(each.beat_at, c.now)}",
            f"worker {_name(each)}",
            "Start a worker on this store: it takes them back within seconds.",
        )


def _name(view: WorkerView) -> str:
    return f"{view.manifest.hostname or view.owner} (pid {view.manifest.pid})"


def _aside(c: Checkup) -> Iterator[Finding]:
    for line in c.overview.queues:
        if line.dead:
            yield Finding(
                "dead",
                f"{plural(line.dead, 'task')} put aside because they ended what ran them",
                f"queue {line.name}",
                f"celeriac dead list --queue {line.name}; then retry or discard them.",
            )
    reached = c.facts.get("limits reached") or ()
    for state in reached if isinstance(reached, list | tuple) else [reached]:
        yield Finding(
            "limit",
            f"as many {state} tasks are kept as dead_limit allows: the oldest are being removed",
            "store",
            "Mend what makes them fail; celeriac dead discard makes room; or raise dead_limit.",
        )


def _clocks(c: Checkup) -> Iterator[Finding]:
    if c.now < _EARLIEST:
        yield Finding(
            "clock",
            f"the clock of this machine is far in the past ({moment(c.now, c.now)})",
            "clock",
            "Set it (NTP) before anything is scheduled.",
        )
    ahead = [each for each in c.overview.workers if each.alive and each.beat_at > c.now + _CLOCK]
    times = [(each.beat_at, f"worker {_name(each)}") for each in ahead]
    if c.newest is not None and c.newest > c.now + _CLOCK:
        times.append((c.newest, "the newest task"))
    for then, where in times:
        yield Finding(
            "clock",
            f"its time lies {duration(then - c.now)} ahead of this machine's clock",
            where,
            "Somebody set a clock: make all machines follow NTP. Leases, etas and expiry go by it.",
        )


def _place(c: Checkup) -> Iterator[Finding]:
    place = c.place
    if place is None:
        return
    where = f"file {place.path}"
    if not place.writable:
        who = f"it belongs to user id {place.owner}, you are {place.me}"
        advice = "Run everything that uses it as one user, or give this one write access."
        yield Finding(
            "permissions", f"this user cannot write to it or beside it ({who})", where, advice
        )
    if place.mode & 0o077:
        yield Finding(
            "permissions",
            f"other users may open it (mode {place.mode:04o}): arguments and results are in it, "
            "and who can write to it can run tasks",
            where,
            f"chmod 600 {place.path}",
        )
    if place.wal > _WAL:
        yield Finding(
            "wal",
            f"its write-ahead log has grown to {size(place.wal)}",
            where,
            "Some process keeps a read open for long; find it with `fuser` or `lsof`, restart it.",
        )
    if place.free < _ROOM:
        yield Finding(
            "room",
            f"{size(place.free)} are left on its file system; enqueues are refused when it is full",
            where,
            "Make room, or move the store to a larger file system.",
        )


def _traps(c: Checkup) -> Iterator[Finding]:
    for each in c.traps:
        yield Finding(each.code, each.what, f"store {c.url}", each.advice, each.note)


def _versions(c: Checkup) -> Iterator[Finding]:
    alive = [each for each in c.overview.workers if each.alive]
    others = sorted({each.manifest.version for each in alive} - {c.version, ""})
    if others:
        yield Finding(
            "versions",
            f"workers run Celeriac {', '.join(others)}, this application {c.version}",
            "workers",
            "Bring all to one version, workers first.",
        )
    if c.tasks:
        for each in alive:
            unknown = sorted(c.tasks - set(each.manifest.tasks))
            if unknown:
                shown = ", ".join(unknown[:3]) + (" …" if len(unknown) > 3 else "")
                yield Finding(
                    "older_code",
                    f"it does not know {plural(len(unknown), 'task')} of this application: {shown}",
                    f"worker {_name(each)}",
                    "Restart it if it should run them; a worker of another application need not.",
                    note=True,
                )
