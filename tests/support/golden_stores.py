"""Golden stores: what a store of each schema holds in the middle of its life, as text.

    python tests/support/golden_stores.py          # writes what is missing, keeps what is there

``tests/unit/golden/stores`` has ``sqlite-VERSION.sql`` and ``redis-VERSION.commands`` (for
``redis-cli``), each made by the code of its time and never written again: when a schema changes,
the command above writes that of the new one beside them. ``NAME.json`` says what must have come of
each task once a worker has been at work. :func:`restore` makes a store of a file again.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FOLDER = HERE.parent / "unit" / "golden" / "stores"
NAMESPACE = "celeriac"
#: Texts of a dump are cut here, so that lines can be read.
_SAFE = re.compile(rb"[ !#-\[\]-~]")


# -- furnishing ----------------------------------------------------------------------------------


class Furnisher:
    """Puts tasks into a store and, as a worker of two hands, into each of their states.

    ``expected`` is what is to become of each: its state, how often it may still run, its value.
    """

    def __init__(self, tasks: Any, store: Any) -> None:
        from celeriac.records import Manifest, TaskFacts

        self.tasks, self.app, self.store = tasks, tasks.app, store
        self.expected: dict[str, dict[str, Any]] = {}
        self._seq = 0
        names = {name: TaskFacts() for name in self.app.tasks if name != "tasks.unknown_then"}
        names["tasks.once"] = TaskFacts(late=False)
        store.queue.register("gone", Manifest(tasks=names, hostname="old@host", pid=1))

    def send(self, id: str, task: str = "traced", *args: Any, **options: Any) -> None:
        self.tasks.app.send_task(f"tasks.{task}", args=args, task_id=id, **options)

    def expect(self, id: str, state: str, runs: int = 1, value: Any = None) -> None:
        self.expected[id] = {"state": state, "runs": runs, "value": value}

    def exchange(self, commits: Any = (), started: Any = (), free: int = 0) -> Any:
        from celeriac.records import Want

        self._seq += 1
        return self.store.queue.exchange(
            "gone", 0, self._seq, list(commits), list(started), ["celery"], Want(free=free)
        )

    def lease(self, id: str) -> Any:
        """Lease that one, which is all there is."""
        (found,) = self.exchange(free=9).deliveries
        assert found.id == id, found
        return found

    def commit(self, delivery: Any, state: str, value: Any = None, **more: Any) -> None:
        from celeriac.outcome import Failure, Outcome, ResultBody, encode_body
        from celeriac.records import Commit
        from celeriac.serialization import encode

        body = None
        if state == "succeeded":
            body = encode_body(ResultBody(value=encode("json", value)))
        elif state == "failed":
            body = encode_body(ResultBody(failure=Failure("ValueError", "of old", ("of old",))))
        outcome = Outcome(state, body=body, **more)
        (verdict,) = self.exchange([Commit(delivery.fence, outcome)]).verdicts
        assert verdict == "ok", verdict

    def run(self, id: str, state: str = "succeeded", value: Any = None, **more: Any) -> None:
        self.commit(self.lease(id), state, value, **more)


def queued(f: Furnisher) -> None:
    """What nobody has touched."""
    f.send("scheduled", "traced", "scheduled", countdown=30)
    f.expect("scheduled", "succeeded", value=["scheduled"])
    f.send("expired", "traced", queue="unread", expires=20)
    f.expect("expired", "expired", runs=0)
    f.send("queued", "traced", "ключ", {"a": [1, None]})
    f.expect("queued", "succeeded", value=["ключ", {"a": [1, None]}])
    f.send("urgent", "traced", priority=9)
    f.expect("urgent", "succeeded", value=[])
    f.send("elsewhere", "traced", queue="mail")
    f.expect("elsewhere", "succeeded", value=[])
    f.send("ignored", "traced", ignore_result=True)
    f.expect("ignored", "succeeded")
    f.send("long", "traced", "words " * 3000)
    f.expect("long", "succeeded", value=["words " * 3000])
    f.store.queue.revoke(["revoked-before-it-came"])


def ended(f: Furnisher) -> None:
    f.send("succeeded")
    f.run("succeeded", value=[1, "zwei"])
    f.expect("succeeded", "succeeded", 0, [1, "zwei"])
    f.send("tombstone", ignore_result=True)
    f.run("tombstone", keep=False)
    f.expect("tombstone", "succeeded", 0)
    f.send("failed", "fails")
    f.run("failed", "failed", reason="ValueError: of old")
    f.expect("failed", "failed", 0)
    f.send("dead")
    f.run("dead", "dead", reason="DeadTaskError: put aside", charge="crash")
    f.expect("dead", "dead", 0)
    f.send("revoked", countdown=3600)
    f.store.queue.revoke(["revoked"])
    f.expect("revoked", "revoked", 0)


def returned(f: Furnisher) -> None:
    """What is due again."""
    f.send("retried", "traced", "retried")
    f.run("retried", "scheduled", delay=30.0, charge="retry", reason="ValueError: not yet")
    f.expect("retried", "succeeded", value=["retried"])
    f.send("crashed", "traced", "crashed")
    f.run("crashed", "scheduled", delay=30.0, charge="crash", reason="crash 1 of 3: signal 9")
    f.expect("crashed", "succeeded", value=["crashed"])


def held(f: Furnisher) -> None:
    """What the worker that is gone had in its hands."""
    f.send("leased", "traced", "leased")
    f.lease("leased")
    f.expect("leased", "succeeded", value=["leased"])
    f.send("running", "traced", "running")
    running = f.lease("running")
    f.exchange(started=[running.fence])
    f.store.queue.update(running.fence, "HALFWAY", None)
    f.expect("running", "succeeded", value=["running"])
    f.send("once", "once")
    f.lease("once")
    f.expect("once", "failed", 0)
    f.send("called-off")
    called = f.lease("called-off")
    f.exchange(started=[called.fence])
    f.store.queue.revoke(["called-off"], "SIGTERM")
    f.expect("called-off", "revoked", 0)


def parked(f: Furnisher) -> None:
    f.send("parked", "unknown_then")
    assert not f.exchange(free=9).deliveries
    f.expect("parked", "succeeded", value="known now")


def part(task: Any, id: str, *args: Any, **options: Any) -> Any:
    return task.s(*args).set(task_id=id, **options)


def workflows_begun(f: Furnisher) -> None:
    from celeriac import chain, chord

    traced, fails, told = f.tasks.traced, f.tasks.fails, f.tasks.told
    f.send("dead-retried")
    f.run("dead-retried", "dead", reason="DeadTaskError: put aside", charge="crash")
    # A chain of which the first part has ended, and waits for the second.
    chain(*(part(traced, f"chain-{n}", n) for n in range(3))).delay()
    f.run("chain-0", value=[0])
    f.expect("chain-0", "succeeded", 0, [0])
    f.lease("chain-1")
    f.expect("chain-1", "succeeded", value=[[0], 1])
    f.expect("chain-2", "succeeded", value=[[[0], 1], 2])
    # A chord: one member is in, one is held, one is to come; then one that fails, and its errback,
    # which is due later.
    body = part(traced, "body").on_error(part(told, "body-told"))
    chord([part(traced, f"member-{n}", n) for n in range(2)], body).delay()
    one, _ = f.exchange(free=9).deliveries
    f.commit(one, "succeeded", ["zero"])
    f.expect("member-0", "succeeded", 0, ["zero"])
    f.expect("member-1", "succeeded", value=[1])
    f.expect("body", "succeeded", value=[[["zero"], [1]]])
    f.expect("body-told", "ignored", 0)
    lost = part(traced, "lost-body").on_error(part(told, "lost-told", countdown=30))
    chord([part(fails, "lost-0"), part(traced, "lost-1", 1)], lost).delay()
    one, _ = f.exchange(free=9).deliveries
    f.commit(one, "failed", reason="ValueError: of old")
    f.expect("lost-0", "failed", 0)
    f.expect("lost-1", "succeeded", value=[1])
    f.expect("lost-body", "failed", 0)
    f.expect("lost-told", "succeeded")


def workflows_queued(f: Furnisher) -> None:
    """Of which no part has begun; a group that was kept; an operator's retry."""
    from celeriac import chain, group

    traced = f.tasks.traced
    chain(group(part(traced, f"fork-{n}", n) for n in range(2)), part(traced, "joined")).delay()
    f.expect("fork-0", "succeeded", value=[0])
    f.expect("fork-1", "succeeded", value=[1])
    f.expect("joined", "succeeded", value=[[[0], [1]]])
    kept = group(part(traced, f"kept-{n}", n) for n in range(2)).apply_async(task_id="kept")
    kept.save()
    f.expect("kept-0", "succeeded", value=[0])
    f.expect("kept-1", "succeeded", value=[1])
    f.store.inspection.retry(["dead-retried"])
    f.expect("dead-retried", "succeeded", value=[])


def held_up(f: Furnisher) -> None:
    """A join whose sender died half-way, an entry of the schedule."""
    from celeriac.message import Edges, Header, compose
    from celeriac.stores.base import Entry

    def message(id: str, task: str = "tasks.traced", **edges: Any) -> Any:
        made = Edges(**edges) if edges else None
        return compose(Header(id, task, f"n{id}", edges=made), b"[[],{}]")

    f.store.queue.open_join(
        "never-sealed", message("open-body", waits=True, gathers="never-sealed")
    )
    f.store.queue.enqueue([message("open-0", join=("never-sealed", 0))], "never-sealed")
    f.expect("open-body", "failed", 0)
    f.expect("open-0", "succeeded", value=[])
    f.store.schedules.save(Entry("each-hour", b"definition", 1234.5, True))


def stamped(f: Furnisher) -> None:
    if not hasattr(f.store.queue, "revoke_stamps"):
        return  # a version before there were stamps
    f.store.queue.revoke_stamps(["customer=acme"])
    f.send("stamped", "traced", stamped_headers=["customer"], customer="acme")
    f.expect("stamped", "revoked", 0)


def fresh_tasks(folder: Path, broker: str) -> Any:
    """The golden application on the store *broker*."""
    os.environ.update(BROKER=broker, LEDGER=str(folder / "ledger"))
    spec = importlib.util.spec_from_file_location("tasks", HERE / "golden_tasks.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["tasks"] = made
    spec.loader.exec_module(made)
    return made


def furnish(folder: Path, broker: str, flows: bool = True) -> dict[str, Any]:
    """Fill the empty store *broker*; returns what is to become of it. Without *flows*: no
    workflows, for versions that had none."""
    tasks = fresh_tasks(folder, broker)
    furnisher = Furnisher(tasks, tasks.app.store)
    begun: list[Callable[[Furnisher], None]] = [ended, returned, held, parked]
    untouched: list[Callable[[Furnisher], None]] = [queued]
    if flows:
        begun.append(workflows_begun)
        untouched += [workflows_queued, held_up, stamped]
    # In this order: what is left queued would be leased with what is to be held.
    for each in (*begun, *untouched):
        each(furnisher)
    return furnisher.expected


# -- texts ---------------------------------------------------------------------------------------


def dump_sqlite(path: Path) -> str:
    import apsw

    file = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    lines = [
        f"PRAGMA {name} = {int(str(file.pragma(name)))};"
        for name in ("application_id", "user_version")
    ]
    made = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    tables = []
    for name, text in file.execute(f"{made} ORDER BY type DESC, name").fetchall():
        lines.append(f"{text};")
        if text.startswith("CREATE TABLE"):
            tables.append(name)
    for name in [*tables, "sqlite_sequence"]:
        for row in file.execute(f'SELECT * FROM "{name}"').fetchall():
            values = ", ".join(str(apsw.format_sql_value(value)) for value in row)
            lines.append(f'INSERT INTO "{name}" VALUES ({values});')
    return "\n".join(lines) + "\n"


_WRITE = {b"list": "RPUSH", b"hash": "HSET", b"set": "SADD", b"string": "SET", b"zset": "ZADD"}


def dump_redis(client: Any) -> str:
    lines = []
    for key in sorted(client.keys("*")):
        kind = client.type(key)
        if kind == b"string":
            values = [client.get(key)]
        elif kind == b"list":
            values = client.lrange(key, 0, -1)
        elif kind == b"set":
            values = sorted(client.smembers(key))
        elif kind == b"hash":
            values = [each for pair in sorted(client.hgetall(key).items()) for each in pair]
        else:
            scored = client.zrange(key, 0, -1, withscores=True)
            values = [each for member, score in scored for each in (repr(score).encode(), member)]
        lines.append(" ".join([_WRITE[kind], *map(quoted, [key, *values])]))
    return "\n".join(lines) + "\n"


def quoted(value: bytes) -> str:
    """As ``redis-cli`` reads it."""
    return '"' + _escaped(value) + '"'


def _escaped(value: bytes) -> str:
    each = (bytes([code]) for code in value)
    return "".join(c.decode() if _SAFE.match(c) else f"\\x{c.hex()}" for c in each)


def commands(text: str) -> Iterator[list[bytes]]:
    """The commands of a dump."""
    for line in text.splitlines():
        name, *values = re.findall(r'[A-Z]+|"[^"]*"', line)
        plain = (value[1:-1].encode() for value in values)
        yield [
            name.encode(),
            *(
                re.sub(rb"\\x(..)", lambda found: bytes.fromhex(found[1].decode()), value)
                for value in plain
            ),
        ]


def restore(name: str, place: Any) -> None:
    """Make the store *name* again: in the file *place*, or on the server of that client."""
    if name.startswith("sqlite"):
        import apsw

        file = apsw.Connection(str(place))
        file.pragma("journal_mode", "wal")
        text = (FOLDER / f"{name}.sql").read_text("utf-8")
        with file:
            file.execute("CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT); DROP TABLE t")
            file.execute(text)
        file.close()
        place.chmod(0o600)
        return
    for each in commands((FOLDER / f"{name}.commands").read_text("ascii")):
        place.execute_command(*each)


# -- the command ---------------------------------------------------------------------------------


def write(name: str, ending: str, text: str, expected: dict[str, Any]) -> None:
    (FOLDER / f"{name}.{ending}").write_text(text, "utf-8")
    facts = json.dumps(expected, indent=1, ensure_ascii=False, sort_keys=True)
    (FOLDER / f"{name}.json").write_text(f"{facts}\n", "utf-8")
    print(f"{name}.{ending}: {len(text)} characters, {len(expected)} tasks")


def main() -> None:
    from servers import server

    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made, contextlib.ExitStack() as stack:
        folder = Path(made)
        for kind, version in versions().items():
            ending = "sql" if kind == "sqlite" else "commands"
            name = f"{kind}-{version}"
            if (FOLDER / f"{name}.{ending}").exists():
                print(f"{name}.{ending}: kept")
                continue
            if kind == "sqlite":
                expected = furnish(folder, f"sqlite:///{folder / 'golden.db'}")
                write(name, ending, dump_sqlite(folder / "golden.db"), expected)
            else:
                place = stack.enter_context(server("redis"))
                expected = furnish(folder, place.url)
                write(name, ending, dump_redis(place.connect()), expected)


def versions() -> dict[str, int]:
    """The schema of each store, as this code writes it."""
    from celeriac.stores.redis import schema as redis
    from celeriac.stores.sqlite import schema as sqlite

    return {"sqlite": sqlite.VERSION, "redis": redis.VERSION}


if __name__ == "__main__":
    main()
