"""What must not be there once everything has ended: the end of every oracle of faults.

No record is leased by somebody who does not live, no process is left of a worker that has ended,
and no lock file stands for a worker that died as long as there is one on its host to bury it.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import psutil

from celeriac import states
from celeriac.worker.duties.hostlock import HostLock, lock_folder

if TYPE_CHECKING:
    from workers import Site, Worker

#: Seconds that it may take: a lease has to end, a mate has to look.
PATIENCE = 60.0


def problems(place: Site, patience: float = PATIENCE) -> list[str]:
    """What is left at *place*, in words; waits until nothing is."""
    end = time.monotonic() + patience
    while True:
        found = [*_leases(place), *_locks(place), *_orphans(place)]
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.05)
        place.store.queue.reap()  # there may be no worker left that would


def _leases(place: Site) -> list[str]:
    inspection = place.store.inspection
    held = inspection.list(states.HELD, limit=1000)
    if not held:
        return []
    alive = {view.owner for view in inspection.workers() if view.alive}
    return [
        f"{each.id} is {each.state}, held by {each.owner}, who does not live"
        for each in held
        if each.owner not in alive
    ]


def _locks(place: Site) -> list[str]:
    """Files of who died; a worker that lives and is awake has to have buried them."""
    # Who is registered looks; who is stopped cannot.
    present = {view.manifest.pid for view in place.store.inspection.workers() if view.alive}
    if not any(each.pid in present and _awake(each) for each in place.workers):
        return []
    folder = lock_folder(place.store.url, place.options.namespace)
    found = [f"lock file of {owner}, who is dead" for owner in HostLock(folder).dead_mates()]
    return found + [f"{each.name} in the folder of lock files" for each in folder.iterdir()
                    if each.suffix != ".lock"]  # fmt: skip


def _awake(worker: Worker) -> bool:
    try:
        return (
            worker.process.poll() is None
            and psutil.Process(worker.pid).status() != psutil.STATUS_STOPPED
        )
    except psutil.NoSuchProcess:
        return False


def _orphans(place: Site) -> list[str]:
    ended = {each.pid for each in place.workers if each.process.poll() is not None}
    return [f"{each} outlived its worker {session}" for session, each in family(ended)]


def family(leaders: set[int]) -> list[tuple[int, psutil.Process]]:
    """Processes of the worker itself (their titles say so; not what its tasks have started) in the
    sessions that *leaders* began, without these."""
    found = []
    for process in psutil.process_iter():
        try:
            session = os.getsid(process.pid)
            if session not in leaders or process.pid == session:
                continue
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if " ".join(process.cmdline()).startswith("celeriac: "):
                found.append((session, process))
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found
