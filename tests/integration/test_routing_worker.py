"""Routes, queues and priorities with real workers: who runs what, in which order."""

from pathlib import Path

import pytest
from workers import DEADLINE, Site, Worker, site


@pytest.fixture
def place(tmp_path: Path):
    with site(tmp_path, "routing_tasks.py") as found:
        yield found


def routed(place: Site) -> Site:
    place.environment["ROUTES"] = "1"
    return place


def send(place: Site, code: str) -> list[str]:
    """Run a client that prints ids."""
    return place.python(f"from tasks import *\n{code}").split()


def pids(place: Site, event: str) -> set[int]:
    return {line.pid for line in place.ledger(event)}


def executors(worker: Worker) -> set[int]:
    return {child.pid for child in worker.titled("executor")}


def test_each_worker_runs_what_is_routed_to_its_queues(place: Site) -> None:
    routed(place)
    mail = place.worker("-Q", "emails", "-c", "1", "-n", "mail@here").ready()
    rest = place.worker("-Q", "celery,reports", "-c", "1", "-n", "rest@here").ready()
    ids = send(
        place,
        "for each in send_email, report, traced:\n"
        "    print(each.delay().id)\n"
        "for each in app.enqueue_many([send_email.s(), report.s(), traced.s()]):\n"
        "    print(each.id)\n",
    )
    found = place.ended(ids)
    assert [each.queue for each in found] == ["emails", "reports", "celery"] * 2
    assert [each.priority for each in found] == [0, 7, 0] * 2
    assert pids(place, "email") == executors(mail)
    assert pids(place, "report") == pids(place, "traced") == executors(rest)


def test_what_a_task_sends_is_routed_as_well(place: Site) -> None:
    routed(place)
    place.worker("-Q", "celery,emails,reports").ready()
    (id,) = send(place, "print(sends.delay('ann').id)")
    place.ended([id])
    inner = place.python(f"from tasks import *; print(*app.AsyncResult({id!r}).get(timeout=60))")
    assert [each.queue for each in place.ended(inner.split())] == ["emails", "reports"]


def test_a_router_by_its_name_is_asked_in_client_and_worker(place: Site) -> None:
    place.environment["CELERIAC_TASK_ROUTES"] = "tasks.route"
    place.worker("-Q", "celery,to-ann,to-bob").ready()
    first, second = send(
        place, "print(send_email.delay(to='bob').id)\nprint(sends.delay('ann').id)"
    )
    assert [each.queue for each in place.ended([first, second])] == ["to-bob", "celery"]
    inner = place.python(f"from tasks import *; print(*app.AsyncResult({second!r}).get(timeout=9))")
    assert [each.queue for each in place.ended(inner.split())] == ["to-ann", "celery"]


def test_a_worker_reads_what_is_declared_less_what_is_excluded(place: Site) -> None:
    place.environment["DECLARED"] = "celery,emails,reports"
    whole = place.worker("-c", "1", "-n", "whole@here").ready()
    assert "queues:      celery, emails, reports" in whole.text()
    assert whole.stop() == 0
    part = place.worker("-X", "emails,maills", "-c", "1", "-n", "part@here").ready()
    assert "queues:      celery, reports" in part.text()
    assert "-X names the queue maills, which this worker would not read" in part.text()
    (view,) = place.alive_workers()
    assert view.manifest.queues == ("celery", "reports")


@pytest.mark.parametrize(
    ("options", "environment", "told"),
    [
        (
            ("-Q", "emials"),
            {"DECLARED": "emails", "STRICT": "1"},
            "-Q names the queue 'emials', which task_queues does not declare",
        ),
        (("-X", "celery"), {}, "-X leaves no queue to read"),
        (
            (),
            {"DECLARED": "celery", "STRICT": "1", "ROUTES": "1"},
            "task_routes['tasks.send_email'] leads to nowhere: task_queues does not declare",
        ),
        ((), {"CELERIAC_TASK_ROUTES": "tasks.rout"}, "has no 'rout'; did you mean 'route'?"),
        (
            (),
            {"CELERIAC_TASK_ROUTES": "no_module.route"},
            "the module 'no_module' cannot be imported",
        ),
        ((), {"CELERIAC_TASK_DEFAULT_RATE_LIMIT": "often"}, "'often' is no rate limit"),
    ],
)
def test_a_worker_that_could_not_do_its_work_is_refused(
    place: Site, options: tuple[str, ...], environment: dict[str, str], told: str
) -> None:
    worker = place.worker(*options, **environment)
    assert worker.process.wait(DEADLINE) == 2
    assert told in worker.text()


def test_why_and_doctor_name_a_route_to_nowhere(place: Site) -> None:
    routed(place)
    place.environment["DECLARED"] = "celery,reports"
    place.worker("-c", "1").ready()
    (id,) = send(place, "print(send_email.delay().id)")
    out = place.python(
        "import subprocess, sys\n"
        f"for words in ['why', {id!r}], ['doctor']:\n"
        "    subprocess.run([sys.executable, '-m', 'celeriac', '-A', 'tasks', *words])\n"
    )
    assert "none alive reads queue 'emails' (1 worker alive, on celery, reports)" in out
    assert "task_routes['tasks.send_email'] leads there." in out
    assert "task_queues does not declare it; it declares celery, reports." in out
    assert "FOUND: queue emails: no worker alive reads it" in out


def order(place: Site, ids: list[str]) -> list[str]:
    """The ids in the order in which they began."""
    place.ended(ids)
    return [line.id for line in place.ledger("traced") if line.id in ids]


def test_the_most_urgent_of_a_queue_begin_first(place: Site) -> None:
    ids = send(
        place,
        "for priority in (0, 3, None, 9, 5):\n"
        "    print(traced.apply_async(priority=priority).id)\n"
        "print(urgent.delay().id)\n"
        "print(urgent.apply_async(priority=1).id)\n",
    )
    zero, three, none, nine, five, urgent, one = ids
    place.worker("-c", "1").ready()
    assert order(place, ids) == [nine, urgent, five, three, one, zero, none]


def test_queues_take_turns_and_priority_counts_within_each(place: Site) -> None:
    ids = send(
        place,
        "for queue in 'a', 'b':\n"
        "    for priority in (0, 9):\n"
        "        print(traced.apply_async(queue=queue, priority=priority).id)\n"
        "print(traced.apply_async(queue='a', priority=5).id)\n",
    )
    a0, a9, b0, b9, a5 = ids
    place.worker("-c", "1", "-Q", "a,b").ready()
    began = order(place, ids)
    assert [id for id in began if id in {a0, a9, a5}] == [a9, a5, a0]
    assert [id for id in began if id in {b0, b9}] == [b9, b0]
    assert set(began[:2]) == {a9, b9}  # the turn changes after each
