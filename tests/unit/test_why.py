"""`why` names the true reason: each state a task can be in, judged on its record alone, and then
on a real store."""

import msgspec
import pytest

from celeriac import states
from celeriac.control.destinations import Destinations
from celeriac.control.inspect import overview, put_aside, situation
from celeriac.control.phrases import absolute, ago, clip, commands, duration, iso, printable, size
from celeriac.control.reading import last_stack
from celeriac.control.why import Situation, explain, missing
from celeriac.message import Edges, Header, compose
from celeriac.outcome import Failure, Outcome, ResultBody, encode_body
from celeriac.records import Commit, Counts, Manifest, Record, TaskFacts, Want, WorkerView
from celeriac.stores import connect

NOW = 1_800_000_000.0


def record(state, **fields):
    given = {"task": "tasks.add", "queue": "celery", "enqueued_at": NOW - 60, **fields}
    return Record(id="id-1", state=state, **given)


def worker(
    *, alive=True, queues=("celery",), tasks=("tasks.add",), held=0, slots=2, owner="o1", beat=1
):
    manifest = Manifest(
        tasks={name: TaskFacts() for name in tasks},
        hostname="box",
        pid=77,
        concurrency=slots,
        queues=queues,
    )
    return WorkerView(owner, manifest, NOW - 100, NOW - beat, alive, held)


def why(state, *, workers=(), **fields):
    return explain(Situation(record(state, **fields), NOW, workers))


def test_every_store_state_has_an_explanation_that_shows_the_visible_state():
    for state in states.STORE_STATES:
        found = why(state)
        assert found.reason, state
        assert found.as_dict()["state"] == states.visible(state)


# -- not begun ---------------------------------------------------------------------------------


def test_without_a_worker_it_names_the_queue_and_who_reads_others():
    found = why(states.QUEUED, queue="mail", workers=[worker(queues=("celery",))])
    assert found.code == "waiting_for_worker"
    assert "none alive reads queue 'mail'" in found.reason
    assert "1 worker alive, on celery" in found.reason
    assert found.advice == ("Start one: celeriac -A APP worker -Q mail",)


def test_a_dead_worker_reads_nothing():
    assert why(states.QUEUED, workers=[worker(alive=False)]).code == "waiting_for_worker"


def test_behind_busy_workers_it_counts_what_comes_first():
    busy = Situation(record(states.QUEUED), NOW, [worker(held=2)], before=3)
    found = explain(busy)
    assert found.code == "waiting_for_slot"
    assert "with 2 slots holds 2 tasks; 3 tasks of the queue come first" in found.reason


def test_with_a_free_worker_it_is_due():
    assert why(states.QUEUED, workers=[worker(held=1)]).code == "due"


def test_a_worker_that_missed_its_beats_is_not_said_to_start_it_at_once():
    found = why(states.QUEUED, workers=[worker(beat=8)])
    assert found.code == "worker_silent"
    assert "has room, but last beat 8 s ago" in found.reason
    assert "kill -CONT 77" in found.advice[0]
    beating = worker(owner="o2", beat=1)
    assert why(states.QUEUED, workers=[worker(beat=8), beating]).code == "due"


def test_nobody_is_told_to_wait_for_a_slot_of_a_worker_that_is_silent():
    """It may be dead, and what it holds goes to nobody until its lease is over."""
    found = why(states.QUEUED, workers=[worker(held=2, beat=8)])
    assert found.code == "worker_silent"
    assert "reads queue 'celery', but last beat 8 s ago. It is dead, stopped" in found.reason


def test_what_has_expired_waits_for_nothing_but_the_sweep():
    found = why(states.QUEUED, expires=NOW - 4, workers=[worker()])
    assert found.code == "expiring"
    assert "It has expired 4 s ago" in found.reason
    assert "ends at the next sweep of a worker." in found.reason
    assert found.advice == ()
    found = why(states.QUEUED, expires=NOW - 4)
    assert "none is alive" in found.reason
    assert found.advice == ("Start one: celeriac -A APP worker -Q celery",)
    assert why(states.QUEUED, expires=NOW + 4, workers=[worker()]).code == "due"


def test_a_start_a_moment_ahead_of_this_clock_reads_as_now():
    found = why(states.RUNNING, workers=[worker(held=1)], owner="o1", started_at=NOW + 0.4)
    assert "for 0 s (since " in found.reason


def test_a_parked_task_names_the_unknown_name_and_near_ones():
    found = why(states.QUEUED, task="tasks.ad", parked=True, workers=[worker()])
    assert found.code == "unknown_task"
    assert "no worker of queue 'celery' knows a task named 'tasks.ad'" in found.reason
    assert "Near names: tasks.add" in found.reason


def test_names_of_one_module_are_near_by_what_differs():
    knowing = worker(tasks=("tasks.add", "tasks.hard", "tasks.kbd"))
    found = why(states.QUEUED, task="tasks.ad", parked=True, workers=[knowing])
    assert found.reason.endswith("Near names: tasks.add.")


def test_a_task_of_a_program_run_as_a_file_is_told_the_name_its_worker_has():
    found = why(states.QUEUED, task="__main__.add", parked=True, workers=[worker()])
    assert found.reason.endswith("Near names: tasks.add.")
    assert "run as a file" in found.advice[0]


def test_a_name_nobody_knows_is_unknown_before_it_is_parked():
    assert why(states.QUEUED, task="other", workers=[worker()]).code == "unknown_task"


def test_an_eta_is_told_relative_and_absolute():
    found = why(states.SCHEDULED, due=NOW + 42)
    assert found.code == "scheduled"
    assert "it is due in 42 s (2027-01-15" in found.reason


@pytest.mark.parametrize(
    ("counter", "text"),
    [
        ({"retries": 2}, "Backing off after ValueError: no: retry 2 is due in 5 s"),
        ({"crashes": 2}, "Waiting after crash 2: ValueError: no. It runs again in 5 s"),
        ({"losses": 1}, "Waiting after it was lost 1 time: ValueError: no"),
    ],
)
def test_backing_off_names_the_error_and_when_it_runs_again(counter, text):
    found = why(states.SCHEDULED, due=NOW + 5, reason="ValueError: no", **counter)
    assert found.code == "backing_off"
    assert text in found.reason


def test_what_was_given_back_uncharged_says_what_it_waits_for():
    found = why(states.SCHEDULED, due=NOW + 5, attempt=1, reason="it ran beside others")
    assert found.code == "backing_off"
    assert found.reason.startswith("Waiting: it ran beside others. It runs again in 5 s")


def test_the_wait_is_not_told_twice():
    found = why(states.SCHEDULED, due=NOW + 5, reason="Retry in 5s: ValueError('no')", retries=1)
    assert found.reason.startswith("Backing off after ValueError('no'): retry 1 is due in 5 s")


def test_what_fell_due_without_a_worker_says_both():
    found = why(states.SCHEDULED, due=NOW - 5)
    assert found.code == "waiting_for_worker"
    assert found.reason.startswith("It fell due 5 s ago")


# -- held --------------------------------------------------------------------------------------


def test_running_says_where_since_when_and_which_attempt():
    found = why(
        states.RUNNING, workers=[worker(held=1)], owner="o1", started_at=NOW - 90, attempt=2
    )
    assert found.code == "running"
    assert "Running on worker box (pid 77) for 1 min 30 s (since 2027-01-15 " in found.reason
    assert "attempt 2" in found.reason


def test_running_says_that_its_worker_has_been_silent():
    """Right after a ``kill -9`` nobody but its host knows that it has gone."""
    silent = msgspec.structs.replace(worker(held=1), beat_at=NOW - 5)
    for state in (states.RUNNING, states.LEASED):
        found = why(state, workers=[silent], owner="o1", started_at=NOW - 90, leased_at=NOW - 90)
        assert "The worker was last heard of 5 s ago; if it has died, the task" in found.reason
    late = msgspec.structs.replace(worker(held=1), beat_at=NOW - 4)  # a beat may be that late
    found = why(states.RUNNING, workers=[late], owner="o1", started_at=NOW - 90)
    assert "last heard" not in found.reason


def test_a_pending_revoke_is_told():
    fields = {"owner": "o1", "revoked": True, "started_at": NOW}
    found = why(states.RUNNING, workers=[worker()], **fields)
    assert found.code == "revoke_pending"
    assert "left to end" in found.reason
    found = why(states.RUNNING, workers=[worker()], terminate="SIGTERM", **fields)
    assert "ended with SIGTERM" in found.reason


@pytest.mark.parametrize("workers", [[], [worker(alive=False)]])
def test_a_lost_worker_is_told_with_who_takes_it_back(workers):
    found = why(states.RUNNING, owner="o1", workers=workers)
    assert found.code == "worker_lost"
    assert "No worker is alive to take it back" in found.reason
    found = why(states.RUNNING, owner="o1", workers=[*workers, worker(owner="o2")])
    assert "A worker that is alive will take it back" in found.reason


# -- ended -------------------------------------------------------------------------------------


def test_success_shows_the_result_cut_short_and_safe_for_a_terminal():
    body = encode_body(ResultBody(value=b'"' + b"x\x1b[31m" * 100 + b'"'))
    found = why(states.SUCCEEDED, ended_at=NOW - 3, started_at=NOW - 5, body=body)
    assert found.code == "succeeded"
    assert "reported running for 2 s" in found.reason
    assert "\x1b" not in found.reason
    assert len(found.reason) < 350


def test_success_without_a_kept_result_says_so():
    assert "result not kept" in why(states.SUCCEEDED, ended_at=NOW).reason


def test_dead_counts_the_deaths_and_names_the_last():
    found = why(states.DEAD, crashes=3, ended_at=NOW, reason="executor 9 died of signal 11")
    assert "ended the process that ran it 3 times" in found.reason
    assert "Last: executor 9 died of signal 11" in found.reason
    assert "Once the cause is mended: celeriac retry id-1" in found.advice


STACK = (
    "Fatal Python error: Segmentation fault\n\n"
    "Current thread 0x0000 (most recent call first):\n"
    '  File "tasks.py", line 5 in crash'
)


def test_a_last_stack_is_kept_apart_from_the_reason_and_pointed_to():
    fields = {"crashes": 3, "ended_at": NOW, "reason": f"executor 9 died of signal 11\n{STACK}"}
    found = why(states.DEAD, **fields)
    assert found.reason.endswith("Last: executor 9 died of signal 11.")
    assert dict(found.facts)["reason"] == "executor 9 died of signal 11"
    assert found.advice[0] == "Its last stack: celeriac dead show id-1"
    assert last_stack(record(states.DEAD, **fields)) == STACK
    shown = explain(Situation(record(states.DEAD, **fields), NOW, whole=True))
    assert shown.advice == found.advice[1:]


def test_without_a_stack_nothing_points_to_one():
    found = why(states.DEAD, crashes=3, ended_at=NOW, reason="executor 9 exited with status 3")
    assert not any("last stack" in each for each in found.advice)


def test_the_lines_of_an_error_are_no_stack():
    failed = record(states.FAILED, ended_at=NOW, reason="ValueError: one\ntwo")
    assert last_stack(failed) == ""
    assert "ValueError: one two" in explain(Situation(failed, NOW)).reason


def test_a_cascade_points_to_its_cause():
    found = why(states.FAILED, ended_at=NOW, reason="UpstreamFailed: …", cause="id-0")
    assert found.advice == ("It ended because of another task: celeriac why id-0",)


def test_no_record_names_the_store_and_how_long_records_are_kept():
    found = missing("nope", "sqlite:////tmp/a.db", 86_400)
    assert found.code == "not_found"
    assert ("store", "sqlite:////tmp/a.db") in found.facts
    assert "1 d after its task ended" in dict(found.facts)["kept"]
    assert "for ever" in dict(missing("nope", "x", None).facts)["kept"]


# -- on a real store ---------------------------------------------------------------------------


@pytest.fixture
def store(request):
    return connect(f"memory://{request.node.name}")


def message(id, task="tasks.add", **fields):
    return compose(Header(id=id, task=task, nonce=f"n-{id}", **fields), b"[[], {}]")


def register(store, *tasks, queues=("celery",)):
    manifest = Manifest(
        tasks={name: TaskFacts() for name in tasks}, hostname="box", pid=1, concurrency=1,
        queues=queues,
    )  # fmt: skip
    store.queue.register("o1", manifest)


def now_of(store):
    return store.options.clock.wall()


def code_of(store, id):
    return explain(situation(store, id, now_of(store))).code


def test_a_task_through_its_life(store):
    store.queue.enqueue([message("a")])
    assert code_of(store, "a") == "waiting_for_worker"
    register(store, "tasks.add")
    assert code_of(store, "a") == "due"
    taken = store.queue.exchange("o1", 0, 1, [], [], ["celery"], Want(free=1))
    fence = taken.deliveries[0].fence
    assert code_of(store, "a") == "received"
    store.queue.enqueue([message("b"), message("c", priority=5)])
    assert code_of(store, "b") == "waiting_for_slot"
    assert situation(store, "b", now_of(store)).before == 1
    assert situation(store, "c", now_of(store)).before == 0
    store.queue.beat("o1", started=[fence])
    assert code_of(store, "a") == "running"
    failure = encode_body(ResultBody(failure=Failure("ValueError", "no")))
    failed = Outcome(states.FAILED, body=failure, reason="ValueError: no")
    store.queue.exchange("o1", 0, 2, [Commit(fence, failed)], [], [], Want())
    assert code_of(store, "a") == "failed"
    assert [each.id for each in put_aside(store)] == ["a"]
    assert situation(store, "nope", now_of(store)) is None


def test_an_unknown_name_is_parked_and_shown(store):
    register(store, "tasks.add")
    store.queue.enqueue([message("a", task="tasks.ad")])
    store.queue.exchange("o1", 0, 1, [], [], ["celery"], Want(free=1))
    assert code_of(store, "a") == "unknown_task"
    seen = overview(store)
    assert seen.parked == (("celery", "tasks.ad", 1),)
    assert (seen.queues[0].due, seen.queues[0].parked) == (0, 1)


def test_a_part_of_a_workflow_names_what_it_waits_for(store):
    first = message("a", edges=Edges(success=("b",)))
    store.queue.enqueue([first, message("b", edges=Edges(waits=True))])
    found = explain(situation(store, "b", now_of(store)))
    assert found.code == "waiting_in_workflow"
    assert "tasks.add[a] (queued)" in found.reason


def test_what_it_waits_for_is_found_by_its_workflow_among_many_tasks(store, monkeypatch):
    monkeypatch.setattr("celeriac.control.inspect.SCAN", 3)
    for kind in ("success", "failure", "own"):
        first = message(f"of-{kind}", flow=kind, edges=Edges(**{kind: (kind,)}))
        store.queue.enqueue([first, message(kind, flow=kind, edges=Edges(waits=True))])
    store.queue.enqueue([message(f"m{i}") for i in range(8)])
    for kind in ("success", "failure", "own"):
        found = explain(situation(store, kind, now_of(store)))
        assert f"tasks.add[of-{kind}] (queued)" in found.reason


def test_put_aside_pages_through_everything(store, monkeypatch):
    monkeypatch.setattr("celeriac.control.inspect.SCAN", 3)
    store.queue.enqueue([message(f"m{i}") for i in range(8)])
    store.queue.purge(["celery"])
    found = put_aside(store, [states.CANCELLED], limit=None)
    assert sorted(each.id for each in found) == [f"m{i}" for i in range(8)]
    assert len(put_aside(store, [states.CANCELLED], limit=5)) == 5


def test_counts_of_an_unknown_queue_do_not_matter():
    assert Situation(record(states.QUEUED), NOW).counts == Counts({}, {})


# -- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.25, "0.25 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (3600 * 5 + 60, "5 h 1 min"),
        (86_400 * 2 + 3600 * 4, "2 d 4 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_moments_sizes_and_cut_texts():
    assert ago(NOW - 5, NOW) == "5 s ago"
    assert ago(NOW + 5, NOW) == "in 5 s"
    assert [size(1), size(4096), size(3 * 1024**3)] == ["1 byte", "4.0 KiB", "3.0 GiB"]
    assert clip("a\n b" + "c" * 50, 10) == "a bcccccc…"
    assert printable("a\x1b[0m\tb\n") == "a\\x1b[0m\tb\n"


def test_commands_name_the_application_that_is_known():
    advice = "Start one: celeriac -A APP worker -Q a. See `celeriac dead show x`."
    assert commands(advice, "") == advice
    assert commands(advice, "shop:app") == (
        "Start one: celeriac -A shop:app worker -Q a. See `celeriac -A shop:app dead show x`."
    )
    assert commands("Is celeriac whyever told?", "shop") == "Is celeriac whyever told?"


@pytest.mark.parametrize("then", [1e12, 1e18, float("inf")])
def test_a_record_with_a_moment_beyond_any_calendar_is_still_shown(then):
    assert absolute(then) == "beyond the year 9999"
    assert iso(then) is None
    found = why(states.SCHEDULED, due=then, expires=then)
    assert "beyond the year 9999" in found.reason
    assert found.as_dict()["record"]["due"] is None


# -- queues that lead nowhere, and rate limits -------------------------------------------------


def test_a_route_to_nowhere_is_named():
    known = Destinations(("celery", "mail"), {}, {"mial": ["tasks.*"]})
    found = explain(
        Situation(record(states.QUEUED, queue="mial"), NOW, [worker(queues=("mail",))], known=known)
    )
    assert found.code == "waiting_for_worker"
    assert found.reason == (
        "Waiting for a worker: none alive reads queue 'mial' (1 worker alive, on mail). "
        "task_routes['tasks.*'] leads there. task_queues does not declare it; it declares celery, "
        "mail. Near: 'mail'."
    )
    assert found.advice[-1].endswith("celeriac revoke id-1")


def limited_worker(limit="10/s", alive=True):
    facts = {"tasks.add": TaskFacts(rate_limit=limit)}
    manifest = Manifest(tasks=facts, hostname="box", pid=77, concurrency=2, queues=("celery",))
    return WorkerView("o1", manifest, NOW - 100, NOW - 1, alive, 0)


def test_a_rate_limit_is_named():
    found = why(states.SCHEDULED, due=NOW + 12, workers=[limited_worker()])
    assert found.code == "rate_limited"
    assert found.reason.startswith(
        "Held back by its rate limit: worker box (pid 77) begins at most 10/s of tasks.add. It is "
        "offered to a worker again in 12 s "
    )
    assert "control rate_limit tasks.add" in found.advice[0]


def test_a_token_is_named():
    found = why(states.LEASED, owner="o1", leased_at=NOW - 1, workers=[limited_worker("5/m")])
    assert found.reason.endswith(" It begins when its rate limit of 5/m lets it.")
    running = why(states.RUNNING, owner="o1", started_at=NOW - 1, workers=[limited_worker("5/m")])
    assert "rate limit" not in running.reason


@pytest.mark.parametrize(
    ("fields", "view"),
    [
        ({"retries": 1, "reason": "Retry in 5s: ValueError()"}, limited_worker()),
        ({"crashes": 1}, limited_worker()),
        ({}, limited_worker(limit="")),
        ({}, limited_worker(alive=False)),
        (
            {"wire": compose(Header("id-1", "tasks.add", "n", eta=NOW + 12), b"[]").encode()},
            limited_worker(),
        ),
    ],
)
def test_what_waits_for_another_reason_is_not_said_to_be_limited(fields, view):
    assert why(states.SCHEDULED, due=NOW + 12, workers=[view], **fields).code != "rate_limited"
