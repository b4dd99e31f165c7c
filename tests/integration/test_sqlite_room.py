"""No room left: what was acknowledged stays, what was not is refused whole, and work goes on once
there is room again."""

import os
import resource
import sys
import traceback

import pytest

from celeriac.exceptions import OperationalError, StoreFull
from celeriac.message import Header, compose
from celeriac.outcome import Outcome
from celeriac.records import Commit, Manifest, TaskFacts, Verdict, Want
from celeriac.stores import connect

PAYLOAD = b"[[],{}]" + b" " * 2000


def message(id):
    return compose(Header(id, "job", f"n{id}"), PAYLOAD)


def fill(store):
    """Enqueue in threes until the store is full; the ids that were acknowledged, and refused."""
    for number in range(100_000):
        ids = [f"{number}.{part}" for part in "abc"]
        try:
            store.queue.enqueue([message(id) for id in ids])
        except StoreFull as error:
            assert "nothing was stored" in str(error)  # noqa: PT017 - the text is the point
            assert "jobs.db" in str(error)  # noqa: PT017
            return [f"{n}.{part}" for n in range(number) for part in "abc"], ids
    raise AssertionError("the store never filled up")


def run_into_the_wall(url, make_room):
    """A worker holds a task, the store fills up, the worker's outcome is refused and held, room is
    made, everything goes on."""
    store = connect(url)
    store.queue.enqueue([message("held")])
    store.queue.register("w1", Manifest(tasks={"job": TaskFacts()}))
    held = store.queue.exchange("w1", 0, 1, [], [], ["celery"], Want(free=1)).deliveries
    kept, refused = fill(store)
    assert kept, "the wall stood before the first task"

    # A large result does not fit either. The worker holds it and tries again.
    commits = [Commit(each.fence, Outcome("succeeded", body=b"r" * 200_000)) for each in held]
    with pytest.raises(OperationalError) as caught:
        store.queue.exchange("w1", 0, 2, commits, [], ["celery"], Want())
    assert isinstance(caught.value, StoreFull)
    assert [each.state for each in store.inspection.get(["held"])] == ["leased"]
    assert store.inspection.get(refused) == [None] * 3
    assert {each.state for each in store.inspection.get(kept)} == {"queued"}

    make_room()
    answer = store.queue.exchange("w1", 0, 2, commits, [], ["celery"], Want())
    assert answer.verdicts == (Verdict.OK,)
    assert store.results.get_many(["held"])[0].body == b"r" * 200_000
    store.queue.enqueue([message(id) for id in refused])
    assert {each.state for each in store.inspection.get([*kept, *refused])} == {"queued"}
    connection = store.queue._database.connection()
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_limit_on_the_size_of_files(tmp_path):
    """EFBIG: in a child, because the limit is one of the process."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))
            run_into_the_wall(
                f"sqlite:///{tmp_path}/jobs.db",
                lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)),
            )
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_full_disk(small_disk):
    """ENOSPC, on a file system with nothing left."""
    small_disk.leave(2_000_000)
    run_into_the_wall(f"sqlite:///{small_disk.path}/jobs.db", small_disk.make_room)
