"""Two workers that are struck and replaced."""

import signal
import subprocess
import sys
import time
from collections import Counter

import psutil
from workers import HERE, Worker

from celeriac.crashpoints import ENVIRONMENT, POINTS

#: Crash points of workers: in each of those that are not of executors, the whole worker dies.
DYING = [
    f"{name}:{hit}:kill"
    for name in POINTS
    if name.startswith(("exchange.", "beat.", "delivery.", "outcome.", "executor."))
    for hit in (2, 9, 30)
] + ["reap.applied:1:kill", "release.applied:1:kill", "close.applied:1:kill"]


class Crew:
    """Workers on a place, whose stores break now and then. *pick* chooses (``random.Random``)."""

    #: What the workers' command line has besides.
    OPTIONS = ("-c", "2")
    #: How often a call of a worker's store fails before, and how often after, it was applied.
    CHAOS = 0.04

    def __init__(self, place, pick):
        self.place, self.pick = place, pick
        place.environment["PYTHONPATH"] = str(HERE)
        self.workers = []
        self.struck = Counter()
        #: When a worker that was stopped goes on, and which one; those that were asked to end.
        self.stopped, self.leaving = [], []

    def worker(self, dying, at=""):
        """A worker whose store breaks now and then; *dying*: at a crash point of its own, too, or
        *at* that one."""
        number = len(self.place.workers)
        log = self.place.folder / f"worker-{number}.log"
        at = self.pick.choice(DYING) if dying else at
        more = {ENVIRONMENT: at} if at else {}
        command = [sys.executable, str(HERE / "chaos_worker.py"), "-A", "tasks", "worker"]
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, "-l", "WARNING", *self.OPTIONS, "-n", f"w{number}"],
                cwd=self.place.folder,
                env={**self.place.environment, "CHAOS": str(self.CHAOS), **more},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        made = Worker(process, log)
        self.place.workers.append(made)
        return made

    @staticmethod
    def kill(process):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            return False
        return True

    def stop(self, at, seconds):
        """Stop the supervisor of *at* for so long."""
        at.send(signal.SIGSTOP)
        self.stopped.append((time.monotonic() + seconds, at))

    def ask_to_leave(self, at):
        """As a deploy does; False if it was asked before: the second time it would drop what it
        runs."""
        if at in self.leaving:
            return False
        self.leaving.append(at)
        at.send(signal.SIGTERM)
        return True

    def resume(self, everyone):
        """Let workers that were stopped go on: those whose time it is, or all."""
        due = [each for each in self.stopped if everyone or each[0] <= time.monotonic()]
        for each in due:
            self.stopped.remove(each)
            each[1].send(signal.SIGCONT)

    def keep(self, dying):
        """Replace workers that have ended, and let those go on whose time it is."""
        self.resume(everyone=not dying)
        for at, each in enumerate(self.workers):
            if each.process.poll() is not None:
                self.workers[at] = self.successor(each, dying)

    def successor(self, ended, dying):
        """Who takes the place of a worker that has ended."""
        if ended in self.leaving:
            self.leaving.remove(ended)
        return self.worker(dying)
