"""Measure the spike: memory and time, as ratios to plain redis-py in the same run.

Run it with ``python spikes/redis/measure.py [largest queue]``; it prints one table.
Times in the server come from ``INFO commandstats`` (microseconds spent in FCALL).
"""

from __future__ import annotations

import statistics
import sys
import time

from server import server
from spike import Spike, enqueue_request

from celeriac.ids import new_nonce, new_owner_id, new_task_id
from celeriac.message import Header, Message, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Want

BATCH = 128
NAME = "shop.tasks.send_email"


def message() -> Message:
    header = Header(
        id=new_task_id(), task=NAME, nonce=new_nonce(), sent=time.time(), origin="web-1@4711"
    )
    return compose(header, b'[["user@example.com","Hi","Hello!"],{}]')


def used(client) -> int:
    return client.info("memory")["used_memory_dataset"]


def busy(client) -> tuple[int, int]:
    stat = client.info("commandstats").get("cmdstat_fcall", {"usec": 0, "calls": 0})
    return stat["usec"], stat["calls"]


def rate(count: int, work, rounds: int = 5) -> float:
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        found.append(count / (time.perf_counter() - start))
    return statistics.median(found)


def fill(spike: Spike, count: int) -> None:
    while count > 0:
        spike.enqueue([message() for _ in range(min(1000, count))])
        count -= 1000


def enqueue_rates(client, spike: Spike) -> None:
    n = 2000
    wires = [(f"x:{i}", message().encode()) for i in range(n)]

    def plain() -> None:
        for key, wire in wires:
            client.set(key, wire)

    def one_by_one() -> None:
        for _ in range(n):
            spike.enqueue([message()])

    def pipeline() -> None:
        with client.pipeline(transaction=False) as pipe:
            for key, wire in wires:
                pipe.set(key, wire)
            pipe.execute()

    def bulk() -> None:
        for _ in range(n // 500):
            spike.enqueue([message() for _ in range(500)])

    def compose_only() -> None:
        for _ in range(n):
            enqueue_request([message()])

    # Interleaved, because the machine's speed drifts.
    pairs = [(rate(n, plain, 1), rate(n, one_by_one, 1)) for _ in range(7)]
    a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(mine / raw for raw, mine in pairs)
    print(f"one by one: SET {a:,.0f}/s, enqueue {b:,.0f}/s, ratio {ratio:.2f}")
    pairs = [(rate(n, pipeline, 1), rate(n, bulk, 1)) for _ in range(7)]
    a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(mine / raw for raw, mine in pairs)
    print(f"bulk: pipeline of SET {a:,.0f}/s, enqueue by 500 {b:,.0f}/s, ratio {ratio:.2f}")
    print(f"composing and packing alone {rate(n, compose_only):,.0f}/s")
    before = busy(client)
    one_by_one()
    after = busy(client)
    print(f"enqueue of one in the server {(after[0] - before[0]) / (after[1] - before[1]):.1f} us")
    before = busy(client)
    bulk()
    after = busy(client)
    print(f"enqueue by 500 in the server {(after[0] - before[0]) / n:.2f} us a task")


def exchanges(client, spike: Spike, keep: bool, names: int = 0, batch: int = BATCH) -> str:
    owner = new_owner_id()
    spike.register(owner, Manifest(tasks={NAME: TaskFacts()}))
    brief = frozenset([NAME, *(f"shop.tasks.number_{i}" for i in range(names))])
    want, commits, seq = Want(free=8, ahead=batch, brief=brief), [], 0
    if batch == 1:
        want = Want(free=1, brief=brief)
    per, walls = [], []
    for _ in range(40):
        seq += 1
        usec, _ = busy(client)
        start = time.perf_counter()
        answer = spike.exchange(owner, 0, seq, commits, [], ["celery"], want)
        walls.append((time.perf_counter() - start) * 1e6)
        assert all(verdict == "ok" for verdict in answer.verdicts)
        if commits and answer.deliveries:
            per.append((busy(client)[0] - usec) / len(commits))
        commits = [
            Commit(d.fence, Outcome("succeeded", body=b"\x81\xa5value\xc4\x04null", keep=keep))
            for d in answer.deliveries
        ]
    spike.exchange(owner, 0, seq + 1, commits, [], ["celery"], Want())
    each = max(1, len(commits))
    client_side = (statistics.median(walls)) / each
    return f"{statistics.median(per):5.1f} us in the server, {client_side:5.1f} us round trip"


def memory(client, spike: Spike) -> None:
    n = 100_000
    client.flushall()
    empty = used(client)
    fill(spike, n)
    wire = len(message().encode())
    queued = (used(client) - empty) / n
    one = client.lindex(f"{spike.prefix}q:celery:0", 0).decode()
    print(f"queued: {queued:.0f} B a task, of which the message is {wire}; ", end="")
    print(f"MEMORY USAGE of its key {client.memory_usage(f'{spike.prefix}m:{one}')}")
    owner = new_owner_id()
    spike.register(owner, Manifest(tasks={NAME: TaskFacts()}))
    got = [
        spike.exchange(owner, 0, seq, [], [], ["celery"], Want(free=1000)).deliveries
        for seq in range(20)
    ]
    leased = (used(client) - empty - queued * n) / 20_000
    print(f"leased: {queued + leased:.0f} B; ", end="")
    before = used(client)
    for seq, batch in enumerate(got, 20):
        done = [
            Commit(
                d.fence, Outcome("succeeded", body=b"\x81\xa5value\xc4\x04null", keep=bool(seq % 2))
            )
            for d in batch
        ]
        spike.exchange(owner, 0, seq, done, [], ["celery"], Want())
    kept = spike.state(got[1][0].id)
    change = (used(client) - before) / 20_000
    print(f"{change:+.0f} B as it ends (half kept, half tombstones)")
    print(f"a record that has ended: {kept}")
    for kind, id in (("tombstone", got[0][0].id), ("kept", got[1][0].id)):
        sizes = [client.memory_usage(f"{spike.prefix}{c}:{id}") or 0 for c in "mtr"]
        print(f"{kind}: message {sizes[0]}, record {sizes[1]}, result {sizes[2]} B")


def main() -> None:
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    with server() as client:
        spike = Spike(client)
        spike.load()
        memory(client, spike)
        client.flushall()
        enqueue_rates(client, spike)
        for size in (1_000, 10_000, 100_000, 300_000):
            if size <= largest:
                client.flushall()
                # 41 exchanges take 5,576 of them: a small queue is kept as long as that.
                fill(spike, max(size, 6_000))
                print(f"{size:>7,} queued, kept:    {exchanges(client, spike, keep=True)}")
                fill(spike, 6_000)
                print(f"{size:>7,} queued, ignored: {exchanges(client, spike, keep=False)}")
        fill(spike, 20_000)
        for names in (0, 200):
            print(f"exchange of one, {names + 1} brief names: ", end="")
            print(exchanges(client, spike, keep=True, names=names, batch=1))
        for names in (0, 200):
            print(f"exchange of 136, {names + 1} brief names: ", end="")
            print(exchanges(client, spike, keep=True, names=names))


if __name__ == "__main__":
    main()
