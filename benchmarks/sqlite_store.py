"""What the SQLite store costs by itself: enqueue, exchange, wake-up. Prints microseconds a task.

    python benchmarks/sqlite_store.py [--records N] [--relaxed] [--profile]

Times are medians of rounds: CPU of this process (user and system) and wall clock, which adds the
disk. The store lies in a new folder under --folder (default: the system's temporary folder).
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import tempfile
import threading
import time
from typing import Self

from celeriac.ids import new_nonce, new_task_id
from celeriac.message import Header, Message, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.base import Options

BATCH = 128
PAYLOAD = b'[["user@example.com", "Hi", "Hello!"], {}]'
BODY = b"\x82\xaaserializer\xa4json\xa5value\xc4\x04null"


def message() -> Message:
    return compose(
        Header(new_task_id(), "tasks.send_email", new_nonce(), sent=time.time()), PAYLOAD
    )


class Stopwatch:
    """Collects rounds; prints one line."""

    def __init__(self) -> None:
        self.rounds: list[tuple[float, float, int]] = []

    def __enter__(self) -> Self:
        self.tasks = 1
        self.began = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *exc: object) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        self.rounds.append((cpu - self.began[0], wall - self.began[1], self.tasks))

    def report(self, what: str) -> None:
        cpu = statistics.median(each[0] / each[2] for each in self.rounds) * 1e6
        wall = statistics.median(each[1] / each[2] for each in self.rounds) * 1e6
        print(f"{what:<44} {cpu:9.1f} us CPU {wall:9.1f} us wall, a task")


def exchange_rounds(store, rounds: int, keep: bool, results: bool, watch: Stopwatch) -> None:
    owner = f"bench{new_nonce()}"
    store.queue.register(owner, Manifest(tasks={"tasks.send_email": TaskFacts()}))
    want = Want(free=BATCH)
    body = BODY if results else None
    held = store.queue.exchange(owner, 0, 1, [], [], ["celery"], want).deliveries
    for seq in range(2, rounds + 2):
        commits = [Commit(each.fence, Outcome("succeeded", body=body, keep=keep)) for each in held]
        with watch:
            answer = store.queue.exchange(owner, 0, seq, commits, [], ["celery"], want)
            watch.tasks = max(1, len(held))
        held = answer.deliveries
        if len(held) < BATCH:
            break
    store.queue.close_owner(owner)


def wake_ups(store, rounds: int) -> None:
    """From enqueue() to the return of wait() in another thread."""
    delays = []
    for _ in range(rounds):
        store.queue.purge(["idle"])
        sitting = threading.Event()
        woken: list[float] = []

        def wait(sitting: threading.Event = sitting, woken: list[float] = woken) -> None:
            sitting.set()
            if store.queue.wait(["idle"], 5.0):
                woken.append(time.perf_counter())

        thread = threading.Thread(target=wait)
        thread.start()
        sitting.wait()
        time.sleep(0.005)
        header = Header(new_task_id(), "tasks.send_email", new_nonce(), queue="idle")
        began = time.perf_counter()
        store.queue.enqueue([compose(header, PAYLOAD)])
        thread.join()
        delays.extend(each - began for each in woken)
    print(f"{'from enqueue to the waiter awake':<44} {statistics.median(delays) * 1e6:9.1f} us p50")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--relaxed", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        durability = "relaxed" if options.relaxed else "full"
        store = connect(f"sqlite:///{folder}/bench.db", Options(durability=durability))
        print(store.capabilities.durability)
        single, bulk = Stopwatch(), Stopwatch()
        for _ in range(500):
            each = message()
            with single:
                store.queue.enqueue([each])
        single.report("enqueue one by one")
        for _ in range(options.records // 1000):
            batch = [message() for _ in range(1000)]
            with bulk:
                store.queue.enqueue(batch)
                bulk.tasks = 1000
        bulk.report("enqueue 1000 at once")
        profile = cProfile.Profile()
        rounds = options.records // BATCH // 3
        for what, keep, results in (
            ("exchange 128, results kept", True, True),
            ("exchange 128, no results", True, False),
            ("exchange 128, ignore_result", False, False),
        ):
            watch = Stopwatch()
            if options.profile and results:
                profile.enable()
            exchange_rounds(store, rounds, keep, results, watch)
            profile.disable()
            watch.report(what)
        wake_ups(store, 100)
        if options.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(22)


if __name__ == "__main__":
    main()
