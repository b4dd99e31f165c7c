"""Soft and hard time limits that meet: which gives way, and what is told of those that cannot."""

import pytest
from inline import drain, make_app

from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.zygote import describe

SEED = {"task_soft_time_limit": 600, "task_time_limit": 700}


def nothing():
    return None


@pytest.mark.parametrize("hard", [60, 600])
def test_the_soft_limit_of_the_settings_gives_way_to_a_hard_one_of_a_task(hard):
    app = make_app(**SEED)
    task = app.task(name="t", time_limit=hard)(nothing)
    app.task(name="plain")(nothing)
    facts = describe(app).tasks
    assert (facts["t"].soft_time_limit, facts["t"].time_limit) == (None, hard)
    assert (facts["plain"].soft_time_limit, facts["plain"].time_limit) == (600, 700)
    task.delay()
    assert len(drain(app)) == 1


def test_the_soft_limit_of_the_settings_gives_way_to_a_hard_one_of_a_call():
    app = make_app(**SEED)
    task = app.task(name="t")(nothing)
    task.apply_async(time_limit=5)
    app.send_task("t", time_limit=5)
    assert [each[1].state for each in drain(app)] == ["succeeded", "succeeded"]


def test_limits_that_task_and_call_name_are_told_with_who_says_them():
    app = make_app(**SEED)
    task = app.task(name="t", soft_time_limit=50)(nothing)
    with pytest.raises(ValueError, match="would never be reached") as caught:
        task.apply_async(time_limit=5)
    assert str(caught.value) == (
        "the task 't' has a soft_time_limit of 50 s (from the task's options), which is not below "
        "its time_limit of 5 s (from the call), so the soft one would never be reached. Give it a "
        "soft_time_limit below 5 or a time_limit above 50"
    )


def test_a_worker_tells_a_soft_limit_above_the_hard_one_of_the_settings():
    app = make_app(**SEED)
    app.task(name="t", soft_time_limit=800)(nothing)
    with pytest.raises(ImproperlyConfigured) as caught:
        describe(app)
    assert "800 s (from the task's options)" in str(caught.value)
    assert "700 s (from the settings)" in str(caught.value)
