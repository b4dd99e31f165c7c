"""A soak of one store: a client, two workers, and whoever strikes them, for as long as is asked.

Everything is bounded: a generation of orders is sent, judged once all of it has ended, and
discarded, while the next ones run and the faults go on over the border.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from chaos_oracle import flow_of
from crew import Crew
from soak_book import Book
from soak_faults import Store, frozen
from soak_oracle import End, Receipts, Seen, Verdict
from soak_plan import (
    OUTLIVED,
    QUEUES,
    SHAPES,
    STRANGER,
    WANTED,
    Order,
    Strike,
    batch,
    long_ones,
    strikes,
)
from soak_report import CALLS, Report
from soak_tasks import soak as application
from soak_vitals import MIB, members, of_process
from workers import Site, Worker, eventually

from celeriac import states
from celeriac.exceptions import OperationalError
from celeriac.records import Record
from celeriac.stores import connect
from celeriac.stores.base import Options

#: Seconds in which a generation must have ended. The longest tasks take 6 s, and what is struck
#: each time it runs is put aside.
PATIENCE = 150.0
#: Seconds between the last end of a generation and its judgement: a second commit may come late.
SETTLE = 2.0
#: Seconds after which an order that nobody knows of, and that was in doubt, was not stored.
ABSENT = 10.0
#: Seconds between two samples, and between two lines that tell how it goes.
SAMPLE, TELL = 2.0, 30.0
#: Exit statuses of a worker that was told to stop: well, while the store was away, or before it
#: could listen.
LEFT = (0, 1, -signal.SIGTERM)
#: Seconds that a worker may take to end once it is told to.
LEAVING = 60.0
#: What a worker says that ends at its start since there is nothing that it could do.
AGAIN = ("before the import was done", "the store cannot be used")
#: Logs of workers that have ended are kept of so many.
LOGS = 12


@dataclass
class Generation:
    """Orders that are under way, and when each record of theirs was seen to have ended."""

    number: int
    orders: list[Order]
    began: float
    first: dict[str, End] = field(default_factory=dict)
    #: Order ids that are settled: ended, parked, or not there.
    settled: set[str] = field(default_factory=set)
    whole: float = 0.0
    ended: float = 0.0


class Soak(Crew):
    """One store under way. *steady*: one worker's supervisor and zygote live all the time, so that
    their memory can be judged."""

    CHAOS = 0.02

    def __init__(
        self,
        place: Site,
        store: Store,
        url: str,
        report: Report,
        *,
        first: int,
        steady: bool,
        ahead: int,
    ) -> None:
        super().__init__(place, random.Random(report.seed))
        self.report, self.at, self.steady, self.ahead = report, store, steady, ahead
        self.app = application(url, place.ledger_path, set_as_current=False, publish_timeout=2.0)
        self.store = connect(url, Options.from_settings(self.app.conf))
        self.app.lend(self.store, self.app.client)
        self.book = Book(place.ledger_path)
        self.open: list[Generation] = []
        self.next = first
        self.client: subprocess.Popen[bytes] | None = None
        self.expected: set[int] = set()
        #: What each order that was in doubt ends with: it may be stored yet, since a request was
        #: held up whose sender has given up.
        self.doubtful: set[str] = set()
        self.undone: list[str] = []
        self.told_to_leave: dict[Worker, float] = {}
        self.strikes: Iterator[Strike] = iter(())
        #: A strike that waits for its victim, and until when.
        self.wanted: tuple[float, Strike] | None = None

    # -- who takes part ----------------------------------------------------------------------------

    @property
    def OPTIONS(self):
        pool, width = self.pick.choice(SHAPES)
        self.report.pools[pool] += 1
        return "-P", pool, "-c", str(width), "-Q", ",".join(QUEUES)

    def start(self) -> None:
        self.workers = [self.worker(dying=not self.steady), self.worker(dying=False)]
        self.start_client()

    def start_client(self) -> None:
        log = self.place.folder / "client.log"
        with log.open("ab") as file:
            self.client = subprocess.Popen(
                [sys.executable, "-m", "soak_client", self.report.seed, "."],
                cwd=self.place.folder,
                env=self.place.environment,
                stdin=subprocess.PIPE,
                bufsize=0,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        for each in self.open:
            if not each.whole:
                self.tell_client(each.number)

    def tell_client(self, number: int) -> None:
        assert self.client is not None
        assert self.client.stdin is not None
        try:
            self.client.stdin.write(f"{number}\n".encode())
        except BrokenPipeError:
            return  # it is gone; the next one is told

    def look_after_the_client(self) -> None:
        assert self.client is not None
        status = self.client.poll()
        if status is None:
            return
        if status != -signal.SIGKILL:
            log = (self.place.folder / "client.log").read_text()[-3000:]
            self.report.wrong(f"the client ended by itself with {status}:\n{log}")
        self.end_client()
        self.start_client()

    def end_client(self) -> None:
        assert self.client is not None
        assert self.client.stdin is not None
        self.client.kill()
        self.client.wait()
        self.client.stdin.close()

    def successor(self, ended: Worker, dying: bool) -> Worker:
        text, status = ended.text(), ended.process.returncode
        asked = ended in self.leaving
        fine = (
            ended.pid in self.expected
            or (asked and status in LEFT)
            # A service manager would start another.
            or any(each in text for each in AGAIN)
        )
        if not fine:
            self.report.wrong(f"{ended.log.name} ended by itself with {status}:\n{text[-3000:]}")
        self.expected.discard(ended.pid)
        self.told_to_leave.pop(ended, None)
        self.book.close_log(ended.log)
        gone = [each for each in self.place.workers if each.process.poll() is not None]
        for each in gone[:-LOGS]:
            each.log.unlink(missing_ok=True)
        veteran = self.steady and ended is self.workers[0]
        return super().successor(ended, dying and not veteran and self.pick.random() < 0.5)

    def worker(self, dying: bool) -> Worker:
        made = super().worker(dying)
        if dying:
            self.expected.add(made.pid)
        return made

    # -- strikes -----------------------------------------------------------------------------------

    def strike(self, strike: Strike) -> bool:
        """Do harm; False if there is nobody to whom it could be done."""
        mortal = self.workers[1:] if self.steady else self.workers
        anybody = self.workers[int(strike.at * len(self.workers))]
        one = mortal[int(strike.at * len(mortal))]
        match strike.kind:
            case "client":
                assert self.client is not None
                return self.kill(self.client)
            case "executor":
                return self.kill_one(anybody.titled("executor"), strike)
            case "zygote":
                self.expected.add(one.pid)  # before it has imported, its worker ends with it
                return self.kill_one(one.titled("zygote"), strike)
            case "supervisor":
                return self.kill_worker(one)
            case "everybody":
                assert self.client is not None
                self.kill(self.client)
                struck = [self.kill_worker(each) for each in mortal]
                return all(struck)
            case "deploy":
                return self.deploy(one)
            case "stop":
                self.stop(anybody, strike.seconds)
                return True
            case "outlive":
                self.wanted = (time.monotonic() + WANTED, strike)
                return False  # counted once it comes to it
            case "freeze":
                if "freeze" in self.at.lasting:
                    return False
                self.at.lasting.begin("freeze", strike.seconds, frozen(anybody))
                return True
        return self.at.strike(strike)

    def outlive(self) -> None:
        """Stop the supervisor of something long that has just begun, until it has ended there and
        another worker runs it: what comes of the first run then comes too late."""
        if self.wanted is None:
            return
        until, strike = self.wanted
        if time.monotonic() > until:
            self.wanted = None
        long = [id for generation in self.open for id in long_ones(generation.orders)]
        begun = set(self.book.just_begun(long, 1.0))
        for worker in self.workers if begun else ():
            if begun & {each.pid for each in worker.titled("executor")}:
                self.stop(worker, random.Random(strike.amount).uniform(*OUTLIVED))
                self.report.faults[strike.kind] += 1
                self.wanted = None
                return

    def kill_one(self, found: list[psutil.Process], strike: Strike) -> bool:
        return bool(found) and self.kill(found[int(strike.amount * len(found))])

    def kill_worker(self, worker: Worker) -> bool:
        self.expected.add(worker.pid)
        return self.kill(worker.process)

    def deploy(self, worker: Worker) -> bool:
        """Tell it to stop: what its executors run may be interrupted."""
        if not self.ask_to_leave(worker):
            return False
        self.told_to_leave[worker] = time.monotonic()
        return True

    # -- generations -------------------------------------------------------------------------------

    def send(self) -> None:
        number, self.next = self.next, self.next + 1
        self.open.append(Generation(number, batch(self.report.seed, number), time.monotonic()))
        self.strikes = strikes(self.report.seed, number, self.report.store)
        self.tell_client(number)

    def receipts(self, generation: Generation) -> Receipts:
        path = self.receipts_of(generation)
        return Receipts.read(path.read_text() if path.exists() else "")

    def receipts_of(self, generation: Generation) -> Path:
        return self.place.folder / f"receipts-{generation.number}"

    def look(self, generation: Generation) -> None:
        """See who has ended since."""
        receipts, now = self.receipts(generation), time.monotonic()
        if receipts.whole and not generation.whole:
            generation.whole = now
        given_up = generation.whole and now > generation.whole + ABSENT
        left = [
            each
            for each in generation.orders
            if each.id in receipts.tried and each.id not in generation.settled
        ]
        single = [each for each in left if not each.tree]
        found = self.store.inspection.get([each.id for each in single])
        flows = [(each, self.flow(each)) for each in left if each.tree]
        for order, records in [
            *((a, [b] if b else []) for a, b in zip(single, found, strict=True)),
            *flows,
        ]:
            done = all(each.state in states.TERMINAL for each in records)
            if order.task == STRANGER and records and records[0].parked:
                generation.settled.add(order.id)
            elif records and done:
                generation.settled.add(order.id)
                generation.first.update((each.id, End.of(each)) for each in records)
            elif not records and given_up and order.id not in receipts.acknowledged:
                generation.settled.add(order.id)
        if generation.whole and len(generation.settled) == len(generation.orders):
            generation.ended = now

    def flow(self, order: Order) -> list[Record]:
        return self.store.inspection.flow(order.last)

    def judge(self, generation: Generation) -> None:
        """Hold it against what it should have come to, and forget it."""
        single = [each for each in generation.orders if not each.tree]
        trees = [each for each in generation.orders if each.tree]
        found = self.store.inspection.get([each.id for each in single])
        records = {each.id: each for each in found if each is not None}
        flows = {each.id: self.flow(each) for each in trees}
        results = {each.id: self.app.AsyncResult(each.last) for each in trees}
        values = {
            each.id: self.app.AsyncResult(each.id).get(timeout=5)
            for each in single
            if each.id in records and records[each.id].state == states.SUCCEEDED
            and not each.options.get("ignore_result")
        }  # fmt: skip
        everything = [*records.values(), *(each for flow in flows.values() for each in flow)]
        attempts = {each.id: each.attempt for each in everything}
        self.read()
        ran = self.book.take(attempts, [each.id for each in trees])
        receipts = self.receipts(generation)
        seen = Seen(receipts, records, flows, results, values, generation.first, ran)
        verdict = Verdict(generation.orders, seen)
        self.report.counts.update(verdict.counts)
        self.open.remove(generation)
        if verdict.problems:
            self.report.problems += verdict.problems
            return  # everything stays as it is, to be looked at
        self.doubtful |= {each.last for each in generation.orders} - receipts.acknowledged
        self.undone += attempts
        self.receipts_of(generation).unlink()
        self.book.forget(min([each.number for each in self.open], default=self.next))

    def discard(self) -> None:
        if self.undone and not self.at.deaf:
            self.store.inspection.discard(self.undone)
            self.undone = []

    # -- the course of it --------------------------------------------------------------------------

    def read(self) -> None:
        self.book.read([each.log for each in self.workers])

    def tick(self) -> None:
        """See to everything that has changed."""
        self.at.lasting.end()
        self.keep(dying=True)
        self.look_after_the_client()
        self.read()
        self.outlive()
        for worker, since in self.told_to_leave.items():
            if time.monotonic() > since + LEAVING:
                self.report.wrong(f"{worker.log.name} does not end:\n{worker.text()[-3000:]}")
        if self.at.deaf:
            return
        try:
            self.discard()
            for each in list(self.open):
                if not each.ended:
                    self.look(each)
                now = time.monotonic()
                if (each.ended and now > each.ended + SETTLE) or now > each.began + PATIENCE:
                    self.judge(each)
        except OperationalError as error:
            # A server that was killed a moment ago, a file that a stopped worker has locked.
            print(f"  (the store did not answer us: {error})"[:200], flush=True)

    def sample(self) -> None:
        """Memory and descriptors of those who live all the time."""
        values = of_process("soak itself", os.getpid())
        if self.at.proxy is not None:  # what passes through us is not ours
            values["soak itself, descriptors"] -= self.at.proxy.sockets
        if self.steady:
            values |= of_process("supervisor", self.workers[0].pid)
            for each in self.workers[0].titled("zygote")[:1]:
                values |= of_process("zygote", each.pid)
        if not self.at.deaf:
            values |= {"store, MiB": self.at.size() / MIB}
        self.report.vitals.add(time.monotonic(), values)

    def run(self, seconds: float, enough: Callable[[], bool], tell: Callable[[str], None]) -> None:
        """Send and strike for so many seconds, or until there is *enough*; then wait for the
        rest."""
        began = time.monotonic()
        until, due, sampled, told = began + seconds, began + 1.0, began, began
        self.start()
        while not self.report.problems:
            now = time.monotonic()
            if enough():
                until = min(until, now)
            if now < until and len(self.open) < self.ahead:
                self.send()
            elif now >= until and not self.open:
                break
            if now >= due and now < until:
                strike = next(self.strikes)
                self.report.faults[strike.kind] += self.strike(strike)
                due = now + strike.pause
            if now >= until:
                self.at.lasting.end(everything=True)
                self.resume(everyone=True)
            self.tick()
            if now >= sampled + SAMPLE:
                sampled = now
                self.sample()
            if now >= told + TELL:
                told = now
                tell(self.progress(now - began))
            time.sleep(0.1)
        self.report.minutes = (min(until, time.monotonic()) - began) / 60
        if self.report.problems:
            tell(f"{self.report.store}: wrong: {self.report.problems[0]}")
        self.finish()

    def progress(self, seconds: float) -> str:
        counts = self.report.counts
        latest = self.report.vitals.latest().items()
        shown = ", ".join(f"{name} {value:.0f}" for name, value in latest)
        return (
            f"{seconds / 60:5.1f} min {self.report.store}: {counts['acknowledged']} judged, "
            f"{len(self.open)} generations under way, {self.faults()} faults; {shown}"
        )

    def faults(self) -> int:
        return self.report.faults.total() + self.book.broken

    # -- the end -----------------------------------------------------------------------------------

    def finish(self) -> None:
        """Nobody is struck any more: everybody ends as told, and nothing is left."""
        self.at.lasting.end(everything=True)
        self.resume(everyone=True)
        self.report.faults[CALLS] = self.book.broken
        self.end_client()
        if self.report.problems:
            return
        eventually(self.discarded, "the store takes the last discards")
        inspection = self.store.inspection
        left = inspection.get([each.id for each in inspection.list(limit=100_000)])
        left = [each for each in left if each is not None and flow_of(each) not in self.doubtful]
        if left:
            self.report.wrong(f"records that no order has: {left[:20]}")
        asked = [each for each in self.workers if each in self.leaving]
        for each in self.workers:
            self.ask_to_leave(each)
        for each in self.workers:
            status = each.process.wait(LEAVING)
            if not (status == 0 or each.pid in self.expected or (each in asked and status in LEFT)):
                self.report.wrong(f"{each.log.name} ended with {status}:\n{each.text()[-3000:]}")
        sessions = {each.pid for each in self.place.workers}
        eventually(lambda: not members(sessions), "no process is left behind")

    def discarded(self) -> bool:
        try:
            self.discard()
        except OperationalError:
            return False
        return not self.undone
