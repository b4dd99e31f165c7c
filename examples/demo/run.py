"""Celeriac at work: ten thousand letters, and a killed worker in the middle.

A web application is asked for a newsletter and answers at once. Tasks write 10,000 e-mails and
hand them over SMTP to a mail server on this machine, which refuses some of them for now; those are
retried. When three tenths have arrived an executor is killed with SIGKILL, when six tenths have,
the whole worker; another one is started.

Then comes a pipeline: every file of Python's standard library (its tests left out) is measured, one
task for each, and one more task gets all results and writes a page with charts. One of the files
cannot be read at first; that is mended, and the pipeline goes on where it stopped.

In the end the mail server's ledger is held against the store's records (every letter arrived, and
one that arrived twice belongs to a task that was running when its process was killed), and the
page against the files.

Everything happens in a new temporary folder and on free ports of 127.0.0.1, and is gone
afterwards, Ctrl-C included. The page stays.

Exit status: 0 if every count is right, 1 if one is not or something failed, 130 after Ctrl-C.
"""

import argparse
import csv
import http.client
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import audit
import source
from audit import Check
from pipeline import Pipeline
from processes import PATIENCE, MailSink, Server, Trouble, Worker, alive, until
from screen import Progress, table

from celeriac import states
from celeriac.exceptions import CeleriacError
from celeriac.records import Record

REFUSE = 0.05  # share of deliveries that the mail server refuses for now
STALL = 60.0  # seconds without any progress after which the demo gives up
KILL_EXECUTOR_AT = 0.3  # shares of the letters that have arrived
KILL_WORKER_AT = 0.6
PAGE = 1000  # records read at once

NAMES = ("Ada", "Béla", "Chloé", "Dana", "Emil", "Fatima", "Hana", "Iñigo", "Jun", "Kofi", "Noor")


class Demo:
    """One run of the demo inside *folder*."""

    def __init__(self, options: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
        self.options = options
        self.folder = folder
        self.log = folder / "processes.log"
        self.random = random.Random(options.seed)
        self.checks: list[Check] = []
        self.timings: list[tuple[str, str, str]] = []
        self.doubles: list[audit.Double] = []
        self.facts: list[tuple[str, int]] = []
        self._stack = stack
        # Workers keep their lock files in the system's temporary folder: here that is ours.
        self._env = {
            "DEMO_STORE": f"sqlite:///{folder / 'demo.sqlite3'}",
            "TMPDIR": str(folder),
        }
        self.sink = self._start_sink()
        self._env["DEMO_SMTP"] = f"127.0.0.1:{self.sink.port}"
        os.environ.update(self._env)
        import tasks  # reads the environment

        self.tasks = tasks
        begun = time.monotonic()
        self.worker = self._start_worker()
        until(self._worker_is_ready, "the worker is registered")
        self._time("worker start", time.monotonic() - begun, "until it takes tasks")
        self.web = stack.enter_context(Server("web application", ["web.py"], self._env, self.log))

    def _start_sink(self) -> MailSink:
        arguments = ["sink.py", str(self.folder / "ledger.txt")]
        arguments += ["--refuse", str(REFUSE), "--seed", str(self.options.seed)]
        return self._stack.enter_context(MailSink("mail server", arguments, self._env, self.log))

    def _start_worker(self) -> Worker:
        return self._stack.enter_context(Worker(self._env, self.log))

    def _worker_is_ready(self) -> bool:
        if (status := self.worker.popen.poll()) is not None:
            raise Trouble(f"the worker ended at once, with status {status}")
        return any(each.alive for each in self.tasks.app.store.inspection.workers())

    # -- the newsletter ------------------------------------------------------------------------

    def newsletter(self) -> None:
        """Order it, watch the letters arrive, kill what is to be killed, wait for every task."""
        readers = self._write_readers()
        begun = time.monotonic()
        campaign = self._ask_for_newsletter(readers)
        bar = Progress("newsletter", self.options.messages)
        pause = self._watch_arrivals(bar)
        ordered = self.tasks.app.AsyncResult(campaign).get(timeout=STALL)
        self._wait_for(ordered)
        bar.finish()
        took = time.monotonic() - begun
        self._time("newsletter", took, f"{self.options.messages / took:,.0f} letters a second")
        self._time("longest pause in it", pause, "the worker was dead")
        self.ordered: list[str] = ordered

    def _wait_for(self, ids: list[str]) -> None:
        """Return once every one of these tasks has ended, well or not."""
        pending = set(ids)
        while pending:
            ended = self.tasks.app.store.results.wait(pending, STALL)
            if not ended:
                raise Trouble(f"none of {len(pending):,} tasks has ended for {STALL:g} s")
            pending -= ended.keys()

    def _write_readers(self) -> Path:
        path = self.folder / "readers.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            for number in range(1, self.options.messages + 1):
                rows.writerow([self.random.choice(NAMES), f"reader{number}@example.com"])
        return path

    def _ask_for_newsletter(self, readers: Path) -> str:
        order = json.dumps({"issue": "Celeriac Weekly No. 7", "readers": str(readers)})
        begun = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=PATIENCE)
        connection.request("POST", "/newsletter", order, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
        took = time.monotonic() - begun
        connection.close()
        if answer.status != http.HTTPStatus.ACCEPTED:
            raise Trouble(f"the web application answered {answer.status} {answer.reason}")
        print(f"POST /newsletter: {answer.status} {answer.reason} after {took * 1000:.1f} ms")
        self._time("web request", took, "the answer is there, the letters are not")
        return str(json.loads(body)["campaign"])

    def _watch_arrivals(self, bar: Progress) -> float:
        """Return once every letter has arrived; the longest pause between arrivals in seconds."""
        total = self.options.messages
        plan: deque[tuple[int, Callable[[Progress, int], None]]] = deque(
            [
                (int(total * KILL_EXECUTOR_AT), self._kill_executor),
                (int(total * KILL_WORKER_AT), self._kill_worker),
            ]
        )
        letters, last, pause = 0, 0.0, 0.0
        while letters < total:
            line = self.sink.read_lines(STALL)[-1]
            now = time.monotonic()
            pause, last = max(pause, now - last) if last else 0.0, now
            letters, arrived, refused = map(int, line.split())
            bar.show(letters, f"{refused:,} refused, {arrived - letters} doubled")
            while plan and letters >= plan[0][0]:
                plan.popleft()[1](bar, letters)
        return pause

    def _kill_executor(self, bar: Progress, letters: int) -> None:
        pid = self.worker.kill_executor(self.random)
        bar.say(f"{letters:,} letters are there: SIGKILL to executor {pid}")

    def _kill_worker(self, bar: Progress, letters: int) -> None:
        pid, children = self.worker.pid, self.worker.kill()
        self.worker = self._start_worker()
        bar.say(
            f"{letters:,} letters are there: SIGKILL to the worker, {pid}; {children} processes "
            f"went with it; a new one, {self.worker.pid}, goes on"
        )

    # -- the pipeline -------------------------------------------------------------------------

    def analysis(self) -> None:
        """Measure the standard library, one task for each file, and have a page written of it."""
        root = source.library()
        paths = source.files(root)
        if self.options.files:
            paths = sorted(self.random.sample(paths, min(self.options.files, len(paths))))
        begun = time.monotonic()
        pipeline = Pipeline(self.tasks, root, paths, self.folder)
        report = pipeline.run(self.options.report.resolve(), STALL)
        self._time("report", time.monotonic() - begun, f"{len(paths):,} files, one mended")
        print(f"The report: {report.as_uri()}")
        self.checks += pipeline.checks(report, self._records)

    # -- the end -------------------------------------------------------------------------------

    def stop(self) -> None:
        """End the processes in order."""
        family = self.worker.family()
        status = self.worker.end()
        self.web.end()
        self.sink.end()
        left = sum(map(alive, family))
        self.checks += [
            Check("worker's exit status after SIGTERM", 0, status),
            Check("processes left over", 0, left),
        ]

    def audit(self) -> None:
        """Hold the mail server's ledger against the store's records."""
        ledger = audit.Ledger.read(self.folder / "ledger.txt")
        records = self._records(self.tasks.send_letter.name)
        self.doubles = audit.doubles(ledger, records)
        self.facts = audit.facts(ledger, records)
        counted = audit.newsletter(self.ordered, self.options.messages, ledger, records)
        self.checks = [*counted, *self.checks]
        counts = self.tasks.app.store.inspection.counts()
        unfinished = sum(
            number
            for queue in counts.states.values()
            for state, number in queue.items()
            if state not in states.TERMINAL
        )
        self.checks.append(Check("tasks left unfinished in the store", 0, unfinished))

    def _records(self, task: str) -> dict[str, Record]:
        found: dict[str, Record] = {}
        inspection, after = self.tasks.app.store.inspection, None
        while page := inspection.list(task=task, limit=PAGE, after=after):
            found.update((record.id, record) for record in page)
            after = page[-1].id
        return found

    def _time(self, what: str, seconds: float, remark: str) -> None:
        shown = f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds:.1f} s"
        self.timings.append((what, shown, remark))

    def verdict(self) -> bool:
        """Print the tables; True if every count is right."""
        print()
        print(table([("Counts", "wanted", "found", ""), *(each.row() for each in self.checks)]))
        print("\nOn the way")
        print(table([(name, f"{number:,}", "") for name, number in self.facts]))
        for double in self.doubles:
            print(f"    {double}")
        print("\nTimings")
        print(table(self.timings))
        return all(check.right for check in self.checks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    options = parse(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="celeriac-demo-"))
    try:
        return 0 if demonstrate(options, folder) else 1
    except KeyboardInterrupt:
        print("\ninterrupted; every process has been ended")
        return 130
    except (Trouble, CeleriacError, OSError) as error:
        print(f"\nThe demo failed: {type(error).__name__}: {error}")
        print_end_of(folder / "processes.log")
        return 1
    finally:
        if options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


def demonstrate(options: argparse.Namespace, folder: Path) -> bool:
    """Everything between the making of the folder and its removal."""
    begun = time.monotonic()
    print(f"{options.messages:,} letters, seed {options.seed}, everything in {folder}")
    with ExitStack() as stack:
        demo = Demo(options, folder, stack)
        demo.newsletter()
        demo.analysis()
        demo.stop()
    demo.audit()
    right = demo.verdict()
    outcome = "every count is right" if right else "NOT every count is right"
    print(f"\n{time.monotonic() - begun:.1f} s in all; {outcome}")
    return right


def print_end_of(log: Path, lines: int = 25) -> None:
    """Show what the processes complained of last."""
    if log.exists() and (said := log.read_text(encoding="utf-8", errors="replace").splitlines()):
        print(f"The last that its processes said ({log.name}):")
        print("\n".join(f"  {line}" for line in said[-lines:]))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--messages", type=_count, default=10_000, metavar="N", help="letters (default: 10000)"
    )
    parser.add_argument(
        "--files",
        type=_count,
        metavar="N",
        help="analyse this many files, chosen at random (default: all)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=7,
        metavar="N",
        help="for what is random: readers, refusals, which executor is killed (default: 7)",
    )
    parser.add_argument(
        "--report",
        type=Path,
        default=Path(__file__).with_name("report.html"),
        metavar="PATH",
        help="where the page goes that the second part writes (default: report.html beside this "
        "program)",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="keep the temporary folder: store, ledger, the processes' log",
    )
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
