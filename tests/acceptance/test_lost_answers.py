"""Every call that a client, a worker or an executor makes of its store fails, before it was applied
and after, in every process; nothing is lost or doubled, and a join fires once.

Which calls were struck is written down, and held against the seam: one that is added to it and is
struck here nowhere fails the test.
"""

import json
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack

import noting_worker
import pytest
import tallies
from servers import LOOPBACK, server
from workers import EVERY_STORE, HERE, eventually, site

from celeriac import states
from celeriac.testing.faults import CALLS
from celeriac.testing.ledger import Ledger

#: Calls that nobody makes yet: limits over all workers and the scheduler come later.
UNUSED = {each for each in CALLS if each.startswith(("coordinator.", "schedules."))}
#: Calls that one store is asked only.
REDIS_ONLY = {"queue.wait_and_lease"}
KINDS = ("before", "after")
DEADLINE = 150.0

pytestmark = pytest.mark.faults


@pytest.fixture(params=EVERY_STORE)
def place(tmp_path, request):
    with ExitStack() as stack:
        broker, backend = "", f"sqlite:///{tmp_path}/results.db"
        if request.param != "sqlite":
            made = stack.enter_context(server(request.param))
            broker = f"redis://{LOOPBACK}:{made.port}/0"
            backend = f"redis://{LOOPBACK}:{made.port}/1"
        found = stack.enter_context(site(tmp_path, "answer_tasks.py", broker))
        found.kind = request.param
        found.environment |= {"PYTHONPATH": str(HERE), "BACKEND": backend, "CHAOS": "0.02"}
        found.celeriac = [sys.executable, str(HERE / "chaos_worker.py")]
        yield found


def clients(place):
    """Run one client for each way to fail first; what both say is to be."""
    (place.folder / "answer_client.py").write_text((HERE / "answer_client.py").read_text())
    running = [
        subprocess.Popen(
            [sys.executable, "answer_client.py", first], cwd=place.folder,
            env={**place.environment, "CHAOS_FIRST": first},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for first in KINDS
    ]  # fmt: skip
    told = []
    try:
        for each in running:
            out, errors = each.communicate(timeout=DEADLINE)
            logs = "\n".join(f"--- {w.log.name}\n{w.text()[-3000:]}" for w in place.workers)
            assert each.returncode == 0, f"{errors}\n{logs}"
            told.append(json.loads(out.splitlines()[-1]))
    finally:
        for each in running:
            if each.poll() is None:
                each.kill()
                each.wait()
    return told


def struck(place):
    """How often each call failed in each way."""
    lines = place.ledger_path.with_name("ledger.broken").read_text().splitlines()
    return Counter(tuple(each.split()) for each in lines)


def judge(place, told):
    """Hold what is stored against what the clients were told; return counts."""
    inspection = place.store.inspection
    everything = inspection.get([each.id for each in inspection.list(limit=100_000)])
    records = {each.id: each for each in everything}
    # What was reopened has an end in each generation, and is counted below.
    ids = [each.id for each in everything if not each.generation]
    lines = Ledger(place.ledger_path).read()
    tally = tallies.count(ids, everything, lines, noting_worker.read(place.ledger_path))
    assert not tally.problems, "\n".join(tally.problems)
    starts = Counter(line.id for line in lines if line.event == "start")
    for each in told:
        for id in each["values"]:
            record = records[id]
            assert record.state == states.SUCCEEDED, record
            assert starts[id] <= 1 + record.generation + record.losses, (record, starts[id])
        assert {records[id].state for id in each["failed"]} == {states.FAILED}
        assert {records[id].state for id in each["revoked"]} == {states.CANCELLED}
        assert not records.keys() & set(each["gone"])
        assert [records[id].generation for id in each["reopened"]] == [1] * len(each["reopened"])
        assert [starts[id] for id in each["bodies"]] == [1] * len(each["bodies"])
    joins = sum(len(each["bodies"]) for each in told)
    return {**tally.counts, "joins": joins}


def unfinished(place):
    found = place.store.inspection.list(limit=100_000)
    return [each for each in found if each.state not in states.TERMINAL]


def test_every_call_fails_in_every_process_and_nothing_is_lost_or_doubled(
    place, request, record_property
):
    for number, first in enumerate((*KINDS, *KINDS)):
        pool = "solo" if number > 1 else "prefork"
        place.worker("-P", pool, "-l", "WARNING", "-n", f"w{number}", CHAOS_FIRST=first)
    told = clients(place)
    eventually(lambda: not unfinished(place), "all have ended", DEADLINE)
    place.workers[0].kill()  # a mate finds it dead, and reaps
    eventually(
        lambda: len(place.store.inspection.workers()) == 3, "the dead one is no longer known"
    )
    assert [each.stop() for each in place.workers[1:]] == [0, 0, 0]
    assert place.store.inspection.workers() == []
    counts = judge(place, told)
    found = struck(place)
    print(dict(found))
    record_property("tally", (place.kind, {**counts, "faults": found.total()}))
    asked = CALLS - UNUSED - (REDIS_ONLY if place.kind == "sqlite" else set())
    missing = {(call, kind) for call in asked for kind in KINDS} - found.keys()
    assert not missing, f"was never struck: {sorted(missing)}"
    assert not UNUSED & {call for call, _ in found}, "it is used now"
