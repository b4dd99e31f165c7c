"""What a task asks for wrongly is its own failure: the executor lives and runs the next one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from workers import REDIS_LATER, Site, site_on


@pytest.fixture(params=REDIS_LATER)
def place(tmp_path: Path, request, shared) -> Iterator[Site]:
    with site_on(request.param, tmp_path, shared, "mistaken_tasks.py") as found:
        yield found


def reason_and_executors(place: Site, task: str, argument: object) -> tuple[str, set[bytes | None]]:
    """Why the task failed, and what its executor says it is before and after."""
    place.worker("-c", "1").ready()
    ids = [*place.send("tasks.pid"), *place.send(task, argument)]
    first, failed = place.ended(ids)
    (last,) = place.ended(place.send("tasks.pid"))
    assert (failed.state, failed.crashes) == ("failed", 0)
    found = place.store.results.get_many([first.id, last.id])
    return failed.reason, {each.body for each in found if each is not None}


def test_a_time_that_is_none_in_a_retry_fails_the_task_and_not_the_executor(place: Site) -> None:
    reason, executors = reason_and_executors(place, "tasks.again", "2030")
    assert reason.startswith("TypeError: Retry(when='2030')")
    assert len(executors) == 1


def test_a_state_that_is_none_fails_the_task_and_not_the_executor(place: Site) -> None:
    reason, executors = reason_and_executors(place, "tasks.show", "state")
    assert reason.startswith("TypeError: update_state(): state is 5, of type int")
    assert len(executors) == 1


def test_a_state_that_went_past_the_checks_is_not_shown_and_the_executor_lives(place: Site) -> None:
    worker = place.worker("-c", "1").ready()
    ids = [*place.send("tasks.pid"), *place.send("tasks.show", "raw"), *place.send("tasks.pid")]
    first, shown, last = place.ended(ids)
    assert (shown.state, shown.crashes, shown.attempt) == ("succeeded", 0, 1)
    found = place.store.results.get_many([first.id, last.id])
    assert len({each.body for each in found if each is not None}) == 1
    assert "a state that is no text was not shown" in worker.text()
