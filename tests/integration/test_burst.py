"""``celeriac worker --burst``: until the queues are empty, and no longer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from workers import DEADLINE, Site, site


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as found:
        yield found


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_a_burst_runs_what_is_there_and_ends(place: Site, pool: str) -> None:
    ids = place.send("tasks.add", 1, 2, count=300)
    later = place.send("tasks.add", 1, 2, countdown=3600)
    other = place.send("tasks.add", 1, 2, queue="other")
    unknown = place.send("tasks.nobody_knows")
    worker = place.worker("--burst", "-P", pool)
    assert worker.process.wait(DEADLINE) == 0, worker.text()
    assert {record.state for record in place.ended(ids)} == {"succeeded"}
    assert place.record(later[0]).state == "scheduled"
    assert place.record(other[0]).state == "queued"
    assert place.record(unknown[0]).state == "queued"
    assert place.alive_workers() == []


def test_a_burst_with_nothing_to_do_ends(place: Site) -> None:
    worker = place.worker("--burst")
    assert worker.process.wait(DEADLINE) == 0
    assert "Nothing is left to do" in worker.text()


def test_a_burst_waits_for_what_runs_and_what_that_sends(place: Site) -> None:
    code = place.folder / "tasks.py"
    code.write_text(
        code.read_text()
        + "\n@app.task\ndef chain(left):\n"
        + "    time.sleep(0.4)\n"
        + "    if left:\n"
        + "        chain.delay(left - 1)\n"
        + "    return left\n"
    )
    place.send("tasks.chain", 3)
    worker = place.worker("--burst")
    assert worker.process.wait(DEADLINE) == 0
    assert worker.text().count("succeeded in") == 4


def test_a_repeat_that_is_due_at_once_is_part_of_it(place: Site) -> None:
    (task_id,) = place.send("tasks.flaky", 2)
    worker = place.worker("--burst")
    assert worker.process.wait(DEADLINE) == 0
    record = place.record(task_id)
    assert record.state in {"succeeded", "scheduled"}
    if record.state == "scheduled":  # the task asks for a wait, and that is not waited for
        assert record.due is not None


def test_a_burst_does_not_reload(place: Site) -> None:
    worker = place.worker("--burst", "--reload")
    assert worker.process.wait(DEADLINE) == 2
    assert "choose one" in worker.text()
