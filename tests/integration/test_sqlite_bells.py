"""Doorbells of the SQLite store: who is woken, by what, and what happens when a bell is lost."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import apsw
import pytest
from interrupts import interrupted_at

from celeriac.exceptions import PayloadTooLarge
from celeriac.message import Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Fence, Manifest, TaskFacts, Want
from celeriac.stores import connect
from celeriac.stores.sqlite import bells, database, listener, waiter

DEADLINE = 60.0


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "jobs.db-bells" / "celeriac"


@pytest.fixture
def slow_net(monkeypatch):
    """The look once a second would hide a bell that does not ring: make it once an hour."""
    monkeypatch.setattr(waiter, "_NET", 3600.0)
    monkeypatch.setattr(listener, "_NET", 3600.0)


def send(store, *ids, **header):
    store.queue.enqueue([compose(Header(id, "job", f"n{id}", **header), b"[[],{}]") for id in ids])


def register(store, owner="w1", *tasks):
    names = tasks or ("job",)
    store.queue.register(owner, Manifest(tasks={name: TaskFacts() for name in names}))


def finish(store, *ids, owner="w1", seq=1):
    taken = store.queue.exchange(owner, 0, seq, [], [], ["celery"], Want(free=100)).deliveries
    commits = [
        Commit(each.fence, Outcome("succeeded", body=b"r")) for each in taken if each.id in ids
    ]
    assert len(commits) == len(ids)
    store.queue.exchange(owner, 0, seq + 1, commits, [], ["celery"], Want())


class Call:
    """A call that blocks, in a thread of its own."""

    def __init__(self, call, *args):
        self.answer = None
        self._thread = threading.Thread(target=self._run, args=(call, args), daemon=True)
        self._thread.start()

    def _run(self, call, args):
        self.answer = call(*args)

    def result(self):
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "still blocked"
        return self.answer

    @property
    def ended(self):
        return not self._thread.is_alive()


def until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.002)


def seats(folder, queue="celery"):
    return names(folder / f"q.{queue}")


def names(folder):
    """What is in a folder; nothing if it is not there."""
    return [each.name for each in folder.iterdir()] if folder.is_dir() else []


def waiting(store, folder, queue="celery"):
    """A thread that waits, once it is known to idle."""
    before = len(seats(folder, queue))
    call = Call(store.queue.wait, [queue], DEADLINE)
    until(lambda: len(seats(folder, queue)) > before)
    return call


# -- Queue.wait


def test_an_enqueue_wakes_a_waiter(url, folder, slow_net):
    store = connect(url)
    call = waiting(store, folder)
    send(store, "a")
    assert call.result() is True
    assert seats(folder) == []


def test_one_enqueue_wakes_one_waiter_and_the_next_another(url, folder, slow_net):
    store = connect(url)
    calls = [waiting(store, folder) for _ in range(3)]
    send(store, "a")
    until(lambda: sum(call.ended for call in calls) == 1)
    assert len(seats(folder)) == 2
    send(store, "b")
    until(lambda: sum(call.ended for call in calls) == 2)
    send(store, "c")
    assert [call.result() for call in calls] == [True] * 3


def test_a_bell_of_another_queue_wakes_nobody(url, folder, slow_net):
    store = connect(url)
    call = waiting(store, folder)
    send(store, "a", queue="another")
    send(store, "b", queue="celery")
    assert call.result() is True
    send(store, "c", queue="another")
    assert store.queue.wait(["celery"], 0.0) is True  # b is still there


def test_who_comes_after_nobody_waited_is_woken(url, folder, slow_net):
    store = connect(url)
    send(store, "a")
    settled = time.time_ns() - 10_000_000_001
    os.utime(folder / "q.celery", ns=(settled, settled))
    send(store, "b")
    assert store.queue._waiters.bells._deserted["celery"][1] == settled
    for id in "cde":
        with store.queue._database.write() as step:  # nothing is left to be found without a bell
            step.execute("DELETE FROM @record")
        call = waiting(store, folder)
        send(store, id)
        assert call.result() is True


@pytest.mark.parametrize(
    "changed",
    [lambda now: (now // 10**9 + 900) * 10**9 + 1, lambda now: (now // 10**9 - 10) * 10**9],
)
def test_a_folder_whose_next_change_might_not_show_is_looked_into_again(url, folder, changed):
    store = connect(url)
    send(store, "a")
    moment = changed(time.time_ns())
    os.utime(folder / "q.celery", ns=(moment, moment))
    send(store, "b")
    assert store.queue._waiters.bells._deserted == {}


def test_queue_names_of_any_kind_have_bells(url, folder, slow_net):
    store = connect(url)
    for queue in ("a/b", "..", "x" * 128, "/" * 128, "ümläut" * 12):
        call = Call(store.queue.wait, [queue], DEADLINE)
        until(lambda queue=queue: seats(folder, bells.quoted(queue)))
        send(store, f"id-{queue}"[:40], queue=queue)
        assert call.result() is True
    assert {each.name for each in folder.parent.parent.iterdir()} == {
        "jobs.db",
        "jobs.db-wal",
        "jobs.db-shm",
        "jobs.db-bells",
    }


def test_what_falls_due_ends_the_wait(url, folder, slow_net):
    store = connect(url)
    began, due = time.monotonic(), time.time() + 0.3
    send(store, "a", eta=due)
    assert store.queue.wait(["celery"], DEADLINE) is True
    assert time.time() > due - 0.01
    assert time.monotonic() - began < DEADLINE / 2


def test_an_earlier_eta_shortens_the_wait(url, folder, slow_net):
    store = connect(url)
    send(store, "later", eta=time.time() + 3600)
    call = waiting(store, folder)
    send(store, "sooner", eta=time.time() + 0.2)
    assert call.result() is True


def test_an_exchange_that_leaves_work_rings_the_next_waiter(url, folder, slow_net):
    store = connect(url)
    register(store)
    calls = [waiting(store, folder) for _ in range(2)]
    send(store, "a", "b")
    until(lambda: sum(call.ended for call in calls) == 1)
    assert store.queue.exchange("w1", 0, 1, [], [], ["celery"], Want(free=1)).more
    assert [call.result() for call in calls] == [True] * 2


def test_parking_rings_everybody_so_that_who_knows_the_name_hears_it(url, folder, slow_net):
    store = connect(url)
    register(store, "w1", "other")
    register(store, "w2", "job")
    calls = [waiting(store, folder) for _ in range(2)]
    send(store, "a")
    until(lambda: any(call.ended for call in calls))
    assert not store.queue.exchange("w1", 0, 1, [], [], ["celery"], Want(free=1)).deliveries
    assert [call.result() for call in calls] == [True] * 2
    answer = store.queue.exchange("w2", 0, 1, [], [], ["celery"], Want(free=1))
    assert [each.id for each in answer.deliveries] == ["a"]


def test_a_reap_pass_rings_for_what_is_parked_while_who_knows_it_idles(url, folder, slow_net):
    store = connect(url)
    register(store, "w1", "other")
    register(store, "w2", "job")
    send(store, "a")
    assert not store.queue.exchange("w1", 0, 1, [], [], ["celery"], Want(free=1)).deliveries
    call = waiting(store, folder)
    store.queue.reap()
    assert call.result() is True


def test_wake_ends_the_waits_of_this_process_only(url, folder, slow_net):
    store = connect(url)
    other = child(url, "print('sat', flush=True); print(store.queue.wait(['celery'], 60.0))")
    try:
        until(lambda: len(seats(folder)) == 1)
        calls = [Call(store.queue.wait, ["celery"], DEADLINE) for _ in range(2)]
        until(lambda: len(seats(folder)) == 3)
        connect(url).queue.wake()
        assert [call.result() for call in calls] == [True] * 2
        assert len(seats(folder)) == 1
        send(store, "a")
        out, _ = other.communicate(timeout=DEADLINE)
        assert out.split() == ["sat", "True"]
    finally:
        end(other)


def test_a_ring_to_one_who_is_shutting_down_is_passed_on(url, folder, slow_net):
    store = connect(url)
    first = waiting(store, folder)
    name = seats(folder)[0]
    ringer = bells.Bells(store.queue._database)
    # Both at once, as when a task arrives in the moment of the shutdown; or it has left already,
    # which the ringer is told.
    assert ringer.send(name, b"w") == 0
    ringer.send(name, b"r")
    until(lambda: first.ended)
    second = waiting(store, folder)
    name = seats(folder)[0]
    third = waiting(store, folder)
    ringer.send(name, b"r")
    ringer.send(name, b"w")
    until(lambda: second.ended)
    # It heard one or both: whether it passed the ring on or kept it, somebody looks.
    send(store, "a")
    assert third.result() is True


def test_a_lost_bell_costs_a_second_and_nothing_else(url, folder):
    """The folders of the bells are emptied while a worker waits: data_version is the net."""
    store = connect(url)
    call = waiting(store, folder)
    for name in list(seats(folder)):
        (folder / "q.celery" / name).unlink()
    send(store, "a")
    assert call.result() is True


def test_without_sockets_the_file_is_watched(url, monkeypatch):
    store = connect(url)

    def refuse(self, name):
        raise OSError(errno.EPERM, "no sockets here")

    monkeypatch.setattr(bells.Bells, "bind", refuse)
    call = Call(store.queue.wait, ["celery"], DEADLINE)
    send(store, "a")
    assert call.result() is True
    results = Call(store.results.wait, ["a"], DEADLINE)
    register(store)
    finish(store, "a")
    assert results.result()["a"].state == "succeeded"
    store.queue.wake()
    assert store.queue.wait(["idle"], 0.06) is False
    again = Call(store.queue.wait, ["idle"], DEADLINE)
    while not again.ended:
        store.queue.wake()
    assert again.result() is True


def test_an_idle_worker_writes_the_log_back(url, tmp_path, monkeypatch):
    monkeypatch.setattr(waiter, "_NET", 0.02)
    store = connect(url)
    send(store, *[f"a{n}" for n in range(8000)], queue="another")
    file, log = tmp_path / "jobs.db", tmp_path / "jobs.db-wal"
    kept, held = log.stat().st_size, file.stat().st_size
    assert kept > 1 << 20
    call = Call(store.queue.wait, ["celery"], DEADLINE)
    until(lambda: file.stat().st_size > held + (1 << 20))
    store.queue.wake()
    call.result()
    # The next commit begins the log anew, in the place that the file has already.
    send(store, "next")
    assert log.stat().st_size == kept


def test_a_log_that_grew_far_is_cut_when_it_begins_anew(url, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_WAL_KEPT", 1 << 20)
    store = connect(url)
    reader = apsw.Connection(str(tmp_path / "jobs.db"))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # holds the log as it is
    send(store, *[f"a{n}" for n in range(8000)])
    log = tmp_path / "jobs.db-wal"
    assert log.stat().st_size > database._WAL_KEPT
    reader.close()
    store.queue._database.checkpoint()
    send(store, "next")
    assert log.stat().st_size <= database._WAL_KEPT


# -- what a killed process leaves


def child(url, code):
    head = "import sys\nfrom celeriac.stores import connect\nstore = connect(sys.argv[1])\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code, url], stdout=subprocess.PIPE, text=True
    )


def end(process):
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_the_bell_of_a_killed_waiter_is_removed_and_the_next_one_rung(url, folder, slow_net):
    store = connect(url)
    store.queue.wait(["another"], 0.0)  # a process tidies up when it first uses the bells
    killed = child(url, "store.queue.wait(['celery'], 600.0)")
    try:
        until(lambda: len(seats(folder)) == 1)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    finally:
        end(killed)
    assert len(seats(folder)) == 1
    call = waiting(store, folder)
    send(store, "a")  # rings the dead one or the living one first, at random
    assert call.result() is True
    send(store, "b")
    assert seats(folder) == []


def test_a_process_removes_the_sockets_of_killed_ones(url, folder, slow_net):
    code = (
        "import threading\n"
        "threading.Thread(target=store.queue.wait, args=(['celery'], 600.0)).start()\n"
        "threading.Thread(target=store.results.wait, args=(['x'], 600.0)).start()\n"
        "listening = store.bus.listen('events')\n"
        "listening.get(None)\n"
    )
    connect(url).queue.enqueue([compose(Header("x", "job", "n", queue="q"), b"[[],{}]")])
    killed = child(url, code)
    try:
        until(lambda: seats(folder) and names(folder / "results") and names(folder / "bus.events"))
        killed.kill()
        killed.wait()
    finally:
        end(killed)
    connect(url).queue.wait(["another"], 0.0)
    left = [str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()]
    assert all(name.startswith(f"w.{os.getpid()}.") for name in left), left


# -- Results.wait


def test_a_result_wakes_a_process_that_waits_for_it(url, folder, slow_net):
    store = connect(url)
    send(store, "a", "b")
    register(store)
    waiter = child(
        url, "print({k: v.body for k, v in store.results.wait(['a'], 60.0).items()}, flush=True)"
    )
    try:
        until(lambda: names(folder / "results"))
        finish(store, "b", "a")
        out, _ = waiter.communicate(timeout=DEADLINE)
        assert out == "{'a': b'r'}\n"
    finally:
        end(waiter)


def test_one_socket_serves_all_threads_and_is_gone_afterwards(url, folder, slow_net):
    store = connect(url)
    ids = [f"t{n}" for n in range(12)]
    send(store, *ids)
    register(store)
    calls = [Call(store.results.wait, [id], DEADLINE) for id in ids]
    process = store.results._listener._process
    until(lambda: len(process.waiting) == len(ids))
    assert len(names(folder / "results")) == 1
    finish(store, *ids)
    assert [list(call.result()) for call in calls] == [[id] for id in ids]
    assert names(folder / "results") == []


def test_the_ear_is_handed_on(url, folder, slow_net):
    """The thread that listens for all gets its result first; the others must not go deaf."""
    store = connect(url)
    send(store, "first", "second")
    register(store)
    process = store.results._listener._process
    first = Call(store.results.wait, ["first"], DEADLINE)
    until(lambda: process.ear is not None)
    second = Call(store.results.wait, ["second"], DEADLINE)
    until(lambda: len(process.waiting) == 2)
    finish(store, "first")
    assert list(first.result()) == ["first"]
    taken = store.inspection.get(["second"])[0]
    fence = Fence("second", taken.attempt, taken.nonce)
    commit = Commit(fence, Outcome("succeeded"))
    store.queue.exchange("w1", 0, 3, [commit], [], ["celery"], Want())
    assert list(second.result()) == ["second"]


def test_a_wait_that_is_interrupted_at_any_step_says_nothing(url, folder, monkeypatch):
    """Ctrl-C: what is half made goes without a word, and the exception is not lost in its end."""
    connect(url).results.get_many(["a"])
    said, steps = [], 0
    monkeypatch.setattr(sys, "unraisablehook", lambda each: said.append(each.exc_value))
    cut = True
    while cut:
        steps += 1
        shutil.rmtree(folder, ignore_errors=True)  # or there would be more to tidy each time
        store = connect(url)  # one that has no sockets yet
        cut = interrupted_at(steps, lambda store=store: store.results.wait(["a"], 0.0))
        assert not said, steps
    assert steps > 50


def test_more_news_than_a_socket_holds_are_not_lost(url, folder, slow_net):
    """The listener is stopped while thousands of results arrive: it finds the mark and reads."""
    store = connect(url)
    ids = [f"{n:05}-{'x' * 100}" for n in range(6000)]
    send(store, *ids)
    register(store)
    waiter = child(
        url,
        f"left = set({[ids[0], ids[3000], ids[-1]]!r})\n"
        "while left:\n"
        "    left -= store.results.wait(left, 600.0).keys()\n"
        "print('all', flush=True)\n",
    )
    try:
        until(lambda: names(folder / "results"))
        waiter.send_signal(signal.SIGSTOP)
        seq = 0
        held = ()
        while seq == 0 or held:
            seq += 1
            commits = [Commit(each.fence, Outcome("succeeded")) for each in held]
            held = store.queue.exchange(
                "w1", 0, seq, commits, [], ["celery"], Want(free=200)
            ).deliveries
        assert any(name.endswith(".missed") for name in names(folder / "results"))
        waiter.send_signal(signal.SIGCONT)
        out, _ = waiter.communicate(timeout=DEADLINE)
        assert out == "all\n"
    finally:
        end(waiter)


# -- the bus


def test_the_bus_reaches_other_processes(url, folder):
    store = connect(url)
    listening = child(
        url,
        "s = store.bus.listen('commands')\nprint('ready', flush=True)\nprint(s.get(60.0))\n",
    )
    try:
        assert listening.stdout.readline() == "ready\n"
        store.bus.publish("other", b"not this")
        store.bus.publish("commands", b"x" * 70_000)
        out, _ = listening.communicate(timeout=DEADLINE)
        assert out == f"{b'x' * 70_000!r}\n"
    finally:
        end(listening)


def test_a_publication_over_the_limit_is_refused(url):
    with pytest.raises(PayloadTooLarge):
        connect(url).bus.publish("events", b"x" * 200_000)


def test_a_closed_subscription_leaves_nothing(url, folder):
    store = connect(url)
    subscription = store.bus.listen("events")
    assert len(names(folder / "bus.events")) == 1
    subscription.close()
    subscription.close()
    assert names(folder / "bus.events") == []
    assert subscription.get(0.0) is None
    store.bus.publish("events", b"to nobody")
