"""The solo pool: in a test's own process and as a worker process."""

import asyncio
import logging
import signal
import threading
from pathlib import Path

import pytest
from workers import site

from celeriac import Celeriac
from celeriac.testing.worker import start_worker


@pytest.mark.parametrize("broker", ["memory://solo", "sqlite"])
def test_start_worker_runs_tasks_for_real(tmp_path: Path, broker: str) -> None:
    url = f"sqlite:///{tmp_path}/solo.db" if broker == "sqlite" else broker
    app = Celeriac("solo-test", broker=url)

    @app.task(bind=True, max_retries=2)
    def flaky(self, value):  # type: ignore[no-untyped-def]
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return value * 2

    @app.task
    def fails() -> None:
        raise KeyError("gone")

    with start_worker(app):
        assert flaky.delay(21).get(timeout=60) == 42
        with pytest.raises(KeyError, match="gone"):
            fails.delay().get(timeout=60)
    assert app.store.inspection.workers() == []


def test_the_loop_of_coroutines_ends_with_its_worker() -> None:
    app = Celeriac("solo-loop", broker="memory://solo-loop")
    seen: list[asyncio.AbstractEventLoop] = []
    ended = threading.Event()

    async def lingers() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    @app.task
    async def leaves_something_running() -> None:
        seen.append(asyncio.get_running_loop())
        leaves_something_running.kept = asyncio.create_task(lingers())
        await asyncio.sleep(0)

    with start_worker(app):
        leaves_something_running.delay().get(timeout=60)
        assert not seen[0].is_closed()
    assert ended.is_set()
    assert seen[0].is_closed()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_solo_worker_tells_that_it_stops(tmp_path: Path, number: signal.Signals) -> None:
    with site(tmp_path) as place:
        worker = place.worker("-P", "solo").ready()
        (nap,) = place.send("tasks.nap_on")
        place.wait_ledger("start", nap)
        worker.send(number)
        worker.wait_for(
            f"{number.name}: stopping; the running task ends first, the solo pool cannot cut it"
        )
        worker.send(number)  # once more changes nothing
        (place.folder / f"end-{nap}").touch()
        assert worker.process.wait(60) == 0
        assert place.record(nap).state == "succeeded"
        assert worker.text().count("stopping") == 1
        # Told at once, not when the task has ended.
        assert worker.text().index("stopping") < worker.text().index("succeeded in")
        assert worker.text().rstrip().endswith("Stopped.")


def test_an_idle_solo_worker_tells_that_it_stops(tmp_path: Path) -> None:
    with site(tmp_path) as place:
        worker = place.worker("-P", "solo").ready()
        assert worker.stop() == 0
        lines = [line for line in worker.text().splitlines() if "stopping" in line]
        assert len(lines) == 1
        assert lines[0].endswith("SIGTERM: stopping")


def test_start_worker_stops_without_a_line(caplog: pytest.LogCaptureFixture) -> None:
    app = Celeriac("solo-quiet", broker="memory://quiet", set_as_current=False)
    with caplog.at_level(logging.INFO, "celeriac"), start_worker(app):
        pass
    assert "Stopped." in caplog.text
    assert "stopping" not in caplog.text
    assert "stop line" not in {each.name for each in threading.enumerate() if each.is_alive()}


def test_a_solo_worker_process_runs_and_stops(tmp_path: Path) -> None:
    with site(tmp_path) as place:
        worker = place.worker("-P", "solo", "-c", "4").ready()
        assert "-c 4 has no effect: the pool solo runs one task at a time" in worker.text()
        (done,) = place.send("tasks.traced", 5)
        assert place.ended([done])[0].state == "succeeded"
        assert place.ledger("start", done)[0].pid == worker.pid
        assert worker.stop() == 0
        assert place.store.inspection.workers() == []
