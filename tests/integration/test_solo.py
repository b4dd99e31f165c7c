"""The solo pool: in a test's own process and as a worker process."""

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
        assert flaky.delay(21).get(timeout=20) == 42
        with pytest.raises(KeyError, match="gone"):
            fails.delay().get(timeout=20)
    assert app.store.inspection.workers() == []


def test_a_solo_worker_process_runs_and_stops(tmp_path: Path) -> None:
    with site(tmp_path) as place:
        worker = place.worker("-P", "solo").ready()
        (done,) = place.send("tasks.traced", 5)
        assert place.ended([done])[0].state == "succeeded"
        assert place.ledger("start", done)[0].pid == worker.pid
        assert worker.stop() == 0
        assert place.store.inspection.workers() == []
