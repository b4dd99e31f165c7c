"""Measure the Redis store as it is, as ratios to plain redis-py in the same run.

Run it with ``python benchmarks/redis_store.py [largest queue]``; ``REDIS_SERVER`` names another
server binary than Valkey's. Times in the server come from ``INFO commandstats``.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

import redis
from redis_server import serving, valkey

from celeriac.ids import new_nonce, new_owner_id, new_task_id
from celeriac.message import Header, Message, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.base import Store

BATCH = 128
NAME = "shop.tasks.send_email"
PAYLOAD = b'[["user@example.com","Hi","Hello!"],{}]'
BODY = b"\x81\xa5value\xc4\x04null"


def message() -> Message:
    header = Header(
        id=new_task_id(), task=NAME, nonce=new_nonce(), sent=time.time(), origin="web-1@4711"
    )
    return compose(header, PAYLOAD)


def busy(client) -> float:
    stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("usec", 0) for name in ("evalsha", "eval"))


def used(client) -> int:
    return client.info("memory")["used_memory_dataset"]


def fill(store: Store, count: int) -> None:
    while count > 0:
        store.queue.enqueue([message() for _ in range(min(1000, count))])
        count -= 1000


def rate(count: int, work) -> float:
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def enqueue_rates(client, store: Store) -> None:
    n = 2000
    sent = [message() for _ in range(n)]
    wires = [(f"x:{i}", each.encode()) for i, each in enumerate(sent)]

    def plain() -> None:
        for key, wire in wires:
            client.set(key, wire)

    def one_by_one() -> None:
        for _ in range(n):
            store.queue.enqueue([message()])

    def bulk() -> None:
        for _ in range(n // 500):
            store.queue.enqueue([message() for _ in range(500)])

    pairs = [(rate(n, plain), rate(n, one_by_one)) for _ in range(7)]
    a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(mine / raw for raw, mine in pairs)
    print(f"one by one: SET {a:,.0f}/s, enqueue {b:,.0f}/s, ratio {ratio:.2f}")
    print(f"bulk by 500: {statistics.median(rate(n, bulk) for _ in range(5)):,.0f}/s")
    before = busy(client)
    one_by_one()
    middle = busy(client)
    bulk()
    print(
        f"enqueue in the server: alone {(middle - before) / n:.1f} us, "
        f"by 500 {(busy(client) - middle) / n:.1f} us a task"
    )


def exchanges(client, store: Store, keep: bool, batch: int = BATCH, rounds: int = 40) -> str:
    owner = new_owner_id()
    store.queue.register(owner, Manifest(tasks={NAME: TaskFacts()}))
    want = Want(free=8, ahead=batch, brief=frozenset([NAME]))
    if batch == 1:
        want = Want(free=1, brief=frozenset([NAME]))
    commits: list[Commit] = []
    per, walls = [], []
    for seq in range(rounds):
        before = busy(client)
        start = time.perf_counter()
        answer = store.queue.exchange(owner, 0, seq, commits, [], ["celery"], want)
        wall = (time.perf_counter() - start) * 1e6
        assert all(verdict == "ok" for verdict in answer.verdicts)
        if commits and answer.deliveries:
            per.append((busy(client) - before) / len(commits))
            walls.append(wall / len(commits))
        commits = [
            Commit(each.fence, Outcome("succeeded", body=BODY, keep=keep))
            for each in answer.deliveries
        ]
    store.queue.exchange(owner, 0, rounds, commits, [], ["celery"], Want())
    inside, whole = statistics.median(per), statistics.median(walls)
    return f"{inside:5.1f} us in the server, {whole:5.1f} us round trip"


def memory(client, store: Store) -> None:
    n = 100_000
    client.flushall()
    empty = used(client)
    fill(store, n)
    print(f"queued: {(used(client) - empty) / n:.0f} B a task, message {len(message().encode())} B")
    for keep in (True, False):
        before = used(client)
        exchanges(client, store, keep=keep, rounds=100)
        ended = 100 * (BATCH + 8)
        grown = (used(client) - before) / ended
        print(f"{'kept' if keep else 'ignored'}: {grown:+.0f} B as it ends")


def main() -> None:
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    with (
        serving(os.environ.get("REDIS_SERVER") or valkey(sys.executable)) as server,
        redis.Redis.from_url(server.url, socket_timeout=None) as client,
    ):
        store = connect(server.url)
        memory(client, store)
        client.flushall()
        enqueue_rates(client, store)
        for size in (10_000, 100_000, 300_000):
            if size <= largest:
                client.flushall()
                fill(store, size)
                print(f"{size:>7,} queued, kept:    {exchanges(client, store, keep=True)}")
                fill(store, 6_000)
                print(f"{size:>7,} queued, ignored: {exchanges(client, store, keep=False)}")
        print(f"exchange of one: {exchanges(client, store, keep=True, batch=1)}")


if __name__ == "__main__":
    main()
