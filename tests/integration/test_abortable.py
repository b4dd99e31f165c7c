"""`contrib.abortable`: tasks that are told to stop, in workers of their own and in this process."""

import asyncio
import threading
from pathlib import Path

import pytest
from inline import drain, make_app
from workers import eventually, site

from celeriac import Celeriac
from celeriac.contrib.abortable import ABORTED, AbortableAsyncResult, AbortableTask
from celeriac.exceptions import TaskRevokedError
from celeriac.testing.worker import start_worker


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_task_that_runs_stops_when_it_is_told(tmp_path: Path, pool: str) -> None:
    with site(tmp_path, "abortable_tasks.py") as place:
        place.worker("-P", pool).ready()
        app = Celeriac("client", broker=f"sqlite:///{place.db}", set_as_current=False)
        (sent,) = place.send("tasks.export")
        place.wait_ledger("start", sent)
        result = AbortableAsyncResult[str](sent, app)
        assert not result.is_aborted()
        assert result.state in {"RECEIVED", "STARTED"}
        result.abort()
        assert result.get(timeout=60) == "stopped half-way"
        assert (result.state, result.is_aborted()) == ("SUCCESS", False)
        app.close()


@pytest.mark.parametrize("broker", ["memory://abortable", "sqlite"])
def test_the_state_is_aborted_until_the_task_has_ended(tmp_path: Path, broker: str) -> None:
    url = f"sqlite:///{tmp_path}/abortable.db" if broker == "sqlite" else broker
    app = Celeriac("abortable", broker=url, set_as_current=False)
    begun, told = threading.Event(), threading.Event()

    @app.task(bind=True, base=AbortableTask)
    def export(self):  # type: ignore[no-untyped-def]
        before = self.is_aborted()
        begun.set()
        assert told.wait(60)
        return [before, self.is_aborted(), self.is_aborted(task_id="another")]

    with start_worker(app):
        result = export.delay()
        assert isinstance(result, AbortableAsyncResult)
        assert begun.wait(60)
        result.abort()
        assert (result.state, result.status, result.ready()) == (ABORTED, ABORTED, False)
        assert result.is_aborted()
        assert export.AsyncResult(result.id).is_aborted()
        told.set()
        assert result.get(timeout=60) == [False, True, False]
    app.close()


def test_a_task_that_has_not_begun_does_not_run() -> None:
    app = make_app()
    task = app.task(name="t", base=AbortableTask)(lambda: 1)
    result = task.apply_async(countdown=3600)
    waiting = task.delay()
    for each in (result, waiting):
        each.abort()
        assert (each.state, each.is_aborted(), each.ready()) == ("REVOKED", True, True)
        with pytest.raises(TaskRevokedError):
            each.get(timeout=60)
    assert drain(app) == []


def test_a_task_that_was_told_to_stop_is_not_repeated() -> None:
    app = make_app()

    @app.task(name="t", bind=True, base=AbortableTask)
    def retried(self):  # type: ignore[no-untyped-def]
        self.AsyncResult(self.request.id).abort()
        raise self.retry(countdown=0)

    result = retried.delay()
    assert len(drain(app)) == 1
    assert (result.state, result.is_aborted()) == ("REVOKED", True)


def test_a_coroutine_can_look_from_another_thread() -> None:
    app = make_app()

    @app.task(name="t", bind=True, base=AbortableTask)
    async def export(self):  # type: ignore[no-untyped-def]
        before = await asyncio.to_thread(self.is_aborted)
        self.AsyncResult(self.request.id).abort()
        return [before, await asyncio.to_thread(self.is_aborted)]

    result = export.delay()
    drain(app)
    assert result.get(timeout=60) == [False, True]


def test_without_a_worker_nobody_was_told_to_stop() -> None:
    app = make_app()
    task = app.task(name="t", bind=True, base=AbortableTask)(lambda self: self.is_aborted())
    assert task() is False
    assert task.apply().get() is False
    app.conf.task_always_eager = True
    assert task.delay().get() is False


def test_a_worker_that_dies_leaves_the_mark(tmp_path: Path) -> None:
    with site(tmp_path, "abortable_tasks.py") as place:
        worker = place.worker("-c", "1").ready()
        (sent,) = place.send("tasks.export")
        place.wait_ledger("start", sent)
        for child in worker.titled("executor"):
            child.suspend()  # so that it cannot see the mark and stop
        place.store.queue.revoke([sent])
        worker.kill()
        place.worker("-c", "1").ready()
        (record,) = place.ended([sent])
        assert record.state == "revoked"
        eventually(lambda: len(place.alive_workers()) == 1, "the dead worker is buried")
        assert len(place.ledger("start", sent)) == 1
