"""`doctor`: each thing that can be wrong is found once, said to what, with what to do."""

import os
from dataclasses import replace

import pytest

from celeriac.conf import Settings
from celeriac.control.destinations import Destinations
from celeriac.control.doctor import Checkup, examine, judge, look_at, settings_findings
from celeriac.control.inspect import Overview, QueueLine
from celeriac.message import Header, compose
from celeriac.records import Manifest, TaskFacts, WorkerView
from celeriac.stores import connect

NOW = 1_800_000_000.0


def line(name="celery", **numbers):
    empty = dict.fromkeys(
        ["due", "parked", "scheduled", "held", "waiting", "dead", "failed", "workers"], 0
    )
    return QueueLine(name=name, **{**empty, **numbers})


def worker(*, alive=True, beat_at=NOW - 1, held=0, tasks=("tasks.add",), version="1"):
    manifest = Manifest(
        tasks={name: TaskFacts() for name in tasks},
        hostname="box",
        pid=7,
        queues=("celery",),
        version=version,
    )
    return WorkerView("o1", manifest, NOW - 100, beat_at, alive, held)


def checkup(*, workers=(), queues=(), parked=(), **fields):
    given = {"now": NOW, "version": "1", "url": "sqlite:////x", "lease": 15.0, **fields}
    return Checkup(overview=Overview(tuple(workers), tuple(queues), tuple(parked)), **given)


def found(**fields):
    return judge(checkup(**fields))


def codes(**fields):
    return [each.code for each in found(**fields)]


def test_nothing_is_found_where_nothing_is_wrong():
    assert found(workers=[worker()], queues=[line(due=3, workers=1)]) == []


def test_work_without_a_worker_is_found():
    (one,) = found(workers=[worker()], queues=[line("mail", due=2, scheduled=1)])
    assert one.code == "no_worker"
    assert one.where == "queue mail"
    assert "2 tasks due, 1 scheduled" in one.what
    assert "workers alive read celery" in one.what
    assert one.advice == "Start one: celeriac -A APP worker -Q mail"


def test_an_empty_queue_needs_no_worker():
    assert found(queues=[line(failed=2)]) == []


def test_parked_names_are_found_and_near_ones_named():
    (one,) = found(workers=[worker()], parked=[("celery", "tasks.ad", 4)])
    assert (one.code, one.where) == ("parked", "task tasks.ad in queue celery")
    assert "Near names: tasks.add" in one.advice
    (one,) = [
        each
        for each in found(
            workers=[worker()],
            parked=[("celery", "tasks.new", 1)],
            tasks=frozenset({"tasks.new", "tasks.add"}),
        )
        if not each.note
    ]
    assert "restart them with the present code" in one.advice


def test_a_dead_owner_is_found_once_nobody_has_reaped_it_for_two_leases():
    assert codes(workers=[worker(alive=False, beat_at=NOW - 31, held=2)]) == ["dead_owner"]
    assert codes(workers=[worker(alive=False, beat_at=NOW - 16, held=2)]) == []
    assert codes(workers=[worker(alive=False, beat_at=NOW - 31, held=0)]) == []


def test_dead_tasks_and_limits_are_found():
    assert codes(queues=[line(dead=1)], facts={"limits reached": ["failed"]}) == ["dead", "limit"]
    assert codes(facts={"limits reached": []}) == []


def test_doubtful_clocks_are_found():
    assert codes(workers=[worker(beat_at=NOW + 100)]) == ["clock"]
    assert codes(newest=NOW + 100) == ["clock"]
    assert codes(newest=NOW + 10) == []
    assert codes(now=1_000_000.0) == ["clock"]


def test_other_versions_and_older_code_are_told_apart():
    assert codes(workers=[worker(version="0.9")]) == ["versions"]
    (note,) = found(workers=[worker()], tasks=frozenset({"tasks.add", "tasks.new"}))
    assert (note.code, note.note) == ("older_code", True)


def test_the_file_s_mode_writability_log_and_room_are_judged(tmp_path):
    path = tmp_path / "jobs.db"
    path.write_bytes(b"")
    path.chmod(0o644)
    place = replace(look_at(str(path)), free=10**12)
    (one,) = found(place=place)
    assert one.advice == f"chmod 600 {path}"
    private = replace(place, mode=0o600)
    assert found(place=private) == []
    assert codes(place=replace(private, writable=False)) == ["permissions"]
    assert codes(place=replace(private, wal=10**9)) == ["wal"]
    assert codes(place=replace(private, free=1000)) == ["room"]
    assert place.owner == place.me == os.geteuid()


def test_what_is_no_file_is_not_looked_at(tmp_path):
    assert look_at("memory of process 7") is None
    assert look_at(str(tmp_path / "not-there.db")) is None


def test_settings_that_contradict_each_other_are_found():
    (note,) = settings_findings(Settings())
    assert (note.code, note.note) == ("unsigned", True)
    assert list(settings_findings(Settings(security_key="k" * 32))) == []
    wrong = [each for each in settings_findings(Settings(heartbeat=9.0)) if not each.note]
    assert [each.code for each in wrong] == ["settings"]
    assert "heartbeat" in wrong[0].what


@pytest.mark.parametrize("registered", [False, True])
def test_an_examination_reads_a_real_store(registered):
    store = connect(f"memory://doctor-{registered}")
    store.queue.enqueue([compose(Header("a", "tasks.add", "n"), b"[[], {}]")])
    if registered:
        manifest = Manifest(tasks={"tasks.add": TaskFacts()}, queues=("celery",), version="1")
        store.queue.register("o1", manifest)
    read = examine(store, tasks=["tasks.add"], version="1", now=store.options.clock.wall())
    assert [each.code for each in judge(read)] == ([] if registered else ["no_worker"])


# -- where tasks go ----------------------------------------------------------------------------


def test_a_queue_that_tasks_go_to_and_nobody_reads_is_noted():
    known = Destinations(
        (), {"mail": ["tasks.send"], "celery": ["tasks.add"]}, {"mail": ["*.send"]}
    )
    (one,) = found(workers=[worker()], known=known)
    assert (one.code, one.where, one.note) == ("nowhere", "queue mail", True)
    assert one.what == (
        "tasks.send goes there, and no worker alive reads it (they read celery). "
        "task_routes['*.send'] leads there."
    )


def test_a_queue_that_nobody_declares_is_found_even_without_a_worker():
    known = Destinations(("celery",), {"mial": ["a", "b", "c", "d"]})
    (one,) = found(known=known)
    assert not one.note
    assert "a, b, c and 1 more go there" in one.what
    assert "task_queues does not declare it; it declares celery." in one.what


def test_a_queue_is_found_once():
    known = Destinations((), {"mail": ["tasks.send"]})
    assert codes(workers=[worker()], queues=[line("mail", due=1)], known=known) == ["no_worker"]
    assert codes(known=known) == []
