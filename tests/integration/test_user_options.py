"""An application's own options on a worker's command line, and signals of its configuration."""

import subprocess
import sys
from pathlib import Path

import pytest
from workers import DEADLINE, Site, site


@pytest.fixture
def place(tmp_path: Path):
    with site(tmp_path) as found:
        (tmp_path / "tasks.py").write_text(TASKS)
        yield found


TASKS = """
import os
import click
from celeriac import Celery, Task, signals

app = Celery("tasks", broker=os.environ["BROKER"])
app.config_from_object({"grace": 5, "task_annotations": {"tasks.annotated": {"time_limit": 44}}})
app.user_options["worker"].add(click.Option(("--fancy",), is_flag=True))
app.user_options["preload"].add(click.Option(("--template",), default="plain"))
forked = []


@signals.user_preload_options.connect
def hear(options, app, **kwargs):
    print("PRELOAD", options, flush=True)


@signals.celeryd_init.connect
def begin(sender, options, conf, **kwargs):
    print("INIT", options["fancy"], conf.grace, flush=True)


@app.on_after_configure.connect
def configured(sender, source, **kwargs):
    print("CONFIGURED", sender.main, source.grace, flush=True)


@app.on_after_finalize.connect
def finalized(sender, **kwargs):
    print("FINALIZED", len(sender.tasks) > 1, flush=True)


@app.on_after_fork.connect
def after_fork(sender, **kwargs):
    forked.append(os.getpid())


class Counting(Task):
    def __init__(self):
        self.runs = 0


@app.task(base=Counting, bind=True)
def count(self):
    self.runs += 1
    return self.runs


@app.task
def annotated():
    return [app.user_values, forked[-1:] == [os.getpid()], len(forked), annotated.time_limit]
"""


def test_options_signals_annotations_and_state_in_a_real_worker(place: Site) -> None:
    worker = place.worker("--fancy", "--template", "big", "-c", "1").ready()
    text = worker.text()
    assert "PRELOAD {'template': 'big'}" in text
    assert "INIT True 5.0" in text
    assert "CONFIGURED tasks 5.0" in text
    assert "FINALIZED True" in text
    out = place.python(
        "import tasks\n"
        "print('SAID', tasks.annotated.delay().get(timeout=60))\n"
        "print('RUNS', [tasks.count.delay().get(timeout=60) for _ in range(3)])\n"
    )
    assert "SAID [{'fancy': True, 'template': 'big'}, True, 1, 44.0]" in out
    assert "RUNS [1, 2, 3]" in out
    assert worker.stop() == 0


def test_an_option_that_nobody_knows_ends_the_worker_before_it_starts(place: Site) -> None:
    worker = place.worker("--fanci")
    assert worker.process.wait(DEADLINE) == 2
    assert "No such option" in worker.text()
    assert "INIT" not in worker.text()


@pytest.mark.parametrize(
    "start",
    [
        "app.worker_main(['worker', '--burst', '-c', '1', '-l', 'INFO', '--fancy'])",
        "app.Worker(burst=True, concurrency=1, loglevel=20, queues=['celery'], fancy=True).start()",
    ],
)
def test_a_worker_started_by_a_program(place: Site, start: str) -> None:
    (place.folder / "tasks.py").write_text(
        f"{TASKS}\n\nif __name__ == '__main__':\n    raise SystemExit({start})\n"
    )
    *_, task_id = place.send("tasks.count")  # what the application prints stands before it
    done = subprocess.run(
        [sys.executable, "tasks.py"],
        cwd=place.folder,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (record,) = place.ended([task_id])
    assert record.state == "succeeded"
