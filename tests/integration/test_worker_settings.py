"""Settings that a worker obeys, and those it refuses, shown by what it does."""

from pathlib import Path

import pytest
from workers import DEADLINE, Site, site


@pytest.fixture
def place(tmp_path: Path):
    with site(tmp_path) as found:
        yield found


def test_the_pool_of_the_settings_is_taken(place: Site) -> None:
    worker = place.worker(CELERIAC_WORKER_POOL="solo").ready()
    assert "solo, 1 executor(s)" in worker.text()
    assert "no hard time limit" in worker.text()
    assert worker.titled("executor") == []
    (task_id,) = place.send("tasks.traced")
    place.ended([task_id])
    assert place.ledger("start", task_id)[0].pid == worker.pid
    assert worker.stop() == 0


def test_log_formats_of_the_settings_are_used(place: Site) -> None:
    worker = place.worker(CELERIAC_WORKER_LOG_FORMAT="LINE %(message)s").ready()
    assert "LINE celeriac@" in worker.text()
    (task_id,) = place.send("tasks.add", 1, 2)
    worker.wait_for(f"LINE Task tasks.add[{task_id}] succeeded")


def test_the_root_logger_is_left_alone_unless_asked_for(place: Site) -> None:
    plain = place.worker("-c", "1").ready()
    (first,) = place.send("tasks.log_line")
    place.ended([first])
    plain.wait_for(f"Task tasks.log_line[{first}] succeeded")
    assert plain.stop() == 0
    taken = place.worker("-c", "1", CELERIAC_WORKER_HIJACK_ROOT_LOGGER="true").ready()
    place.send("tasks.log_line")
    taken.wait_for("WARNING/executor 1] a line from the shop")


@pytest.mark.parametrize(
    ("options", "environment", "told"),
    [
        ((), {"BROKER": "memory://"}, "lives inside one process"),
        (("-P", "solo"), {"BROKER": "memory://"}, "lives inside one process"),
        (("-c", "100000"), {}, "more than one worker of the pool prefork can hold"),
        (("--max-memory-per-child", "1000"), {}, "give at least"),
    ],
)
def test_what_cannot_work_is_refused(
    place: Site, options: tuple[str, ...], environment: dict[str, str], told: str
) -> None:
    worker = place.worker(*options, **environment)
    assert worker.process.wait(DEADLINE) == 2
    assert told in worker.text()


def test_a_namesake_is_told(place: Site) -> None:
    place.worker("-n", "twin@here").ready()
    second = place.worker("-n", "twin@here").ready()
    assert "Another worker is called twin@here, too" in second.text()
