"""A worker of an application whose settings and tasks both name time limits."""

from pathlib import Path

from workers import DEADLINE, site

LIMITS = """
app.conf.update(task_soft_time_limit=600, task_time_limit=700)


@app.task(**{options})
def limited():
    return "ran"
"""


def with_limits(folder: Path, **options: int) -> None:
    tasks = folder / "tasks.py"
    tasks.write_text(tasks.read_text() + LIMITS.format(options=options))


def test_a_shorter_hard_limit_of_a_task_or_call_goes_over_the_soft_one_of_the_settings(
    tmp_path: Path,
) -> None:
    with site(tmp_path, "mistaken_tasks.py") as place:
        with_limits(tmp_path, time_limit=60)
        place.worker("-c", "1").ready()
        ids = [*place.send("tasks.limited"), *place.send("tasks.pid", time_limit=50)]
        assert {each.state for each in place.ended(ids)} == {"succeeded"}


def test_limits_that_contradict_each_other_are_told_without_a_traceback(tmp_path: Path) -> None:
    with site(tmp_path, "mistaken_tasks.py") as place:
        with_limits(tmp_path, soft_time_limit=800)
        worker = place.worker("-c", "1")
        assert worker.process.wait(DEADLINE) != 0
        assert "soft_time_limit of 800 s (from the task's options)" in worker.text()
        assert "Give it a soft_time_limit below 700" in worker.text()
        assert "Traceback" not in worker.text()
