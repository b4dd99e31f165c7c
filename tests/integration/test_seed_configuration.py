"""The configuration that the issue of this version quotes works as it is written: a real worker
with exactly these settings and options, and the same settings in every form they are read from."""

import json
from pathlib import Path

import pytest
from workers import Site, site


@pytest.fixture
def place(tmp_path: Path):
    with site(tmp_path, "seed_tasks.py") as found:
        yield found


def test_the_worker_reads_its_queues_and_no_other(place: Site) -> None:
    fast = place.worker("-Q", "fast", "--concurrency=10").ready()
    assert "10 executor(s)" in fast.text()
    assert "fast" in fast.text()
    out = place.python(
        "import json, tasks\n"
        "mail = tasks.send_email.delay('ann@example.com')\n"
        "done = tasks.resize.delay('cat').get(timeout=60)\n"
        "urgent = tasks.urgent.delay().get(timeout=60)\n"
        "print(json.dumps([mail.id, mail.state, done, urgent]))\n"
    )
    mail, state, done, urgent = json.loads(out)
    assert done == "cat.png"
    assert urgent == 9
    assert state == "PENDING"
    record = place.record(mail)
    assert (record.queue, record.state) == ("emails", "queued")

    place.worker("-Q", "emails").ready()
    place.ended([mail])
    sent = place.python(f"import tasks\nprint(tasks.app.AsyncResult({mail!r}).get(timeout=60))")
    assert sent == "sent to ann@example.com\n"


def test_the_settings_reach_the_worker(place: Site) -> None:
    place.worker("-Q", "fast", "-c", "1").ready()
    told = place.python(
        "import json, tasks\n"
        "(conf,) = tasks.app.control.inspect(timeout=60).conf().values()\n"
        "names = 'task_soft_time_limit task_time_limit worker_max_tasks_per_child'.split()\n"
        "print(json.dumps([conf[name] for name in names]))\n"
    )
    assert json.loads(told) == [600.0, 700.0, 1000]


def test_always_eager_runs_in_the_caller(place: Site) -> None:
    out = place.python(
        "import tasks\n"
        "tasks.app.conf.task_always_eager = True\n"
        "result = tasks.send_email.delay('bob@example.com')\n"
        "print(result.get(), result.successful(), type(result).__name__)\n"
    )
    assert out == "sent to bob@example.com True EagerResult\n"
    assert place.store.inspection.counts().states == {}


NEW = """
task_serializer = "json"
accept_content = ["json"]
result_serializer = "json"
timezone = "UTC"
enable_utc = True
worker_max_tasks_per_child = 1000
task_soft_time_limit = 600
task_time_limit = 700
task_routes = {"tasks.send_email": {"queue": "emails"}}
worker_prefetch_multiplier = 1
broker_connection_retry_on_startup = True
"""
OLD = """
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_SERIALIZER = "json"
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERYD_MAX_TASKS_PER_CHILD = 1000
CELERYD_TASK_SOFT_TIME_LIMIT = 600
CELERYD_TASK_TIME_LIMIT = 700
CELERY_ROUTES = {"tasks.send_email": {"queue": "emails"}}
CELERYD_PREFETCH_MULTIPLIER = 1
"""
DJANGO = """
DEBUG = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_SERIALIZER = "json"
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000
CELERY_TASK_SOFT_TIME_LIMIT = 600
CELERY_TASK_TIME_LIMIT = 700
CELERY_TASK_ROUTES = {"tasks.send_email": {"queue": "emails"}}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
"""


@pytest.mark.parametrize(
    ("text", "namespace"), [(NEW, None), (OLD, None), (DJANGO, "CELERY")], ids=["new", "old", "ns"]
)
def test_the_same_settings_from_a_module(place: Site, text: str, namespace: str | None) -> None:
    (place.folder / "celeryconfig.py").write_text(text)
    (place.folder / "tasks.py").write_text(
        "import os\nfrom celeriac import Celery\n"
        "app = Celery('tasks', broker=os.environ['BROKER'])\n"
        f"app.config_from_object('celeryconfig', namespace={namespace!r})\n"
        "@app.task\ndef send_email(to):\n    return f'sent to {to}'\n"
    )
    worker = place.worker("-Q", "emails", "-c", "1").ready()
    assert "changes nothing here: worker_prefetch_multiplier" in worker.text().replace(
        "broker_connection_retry_on_startup (a worker tries to reach its store for as long as it "
        "runs); ",
        "",
    )
    (task_id,) = place.send("tasks.send_email", "ann@example.com")
    (record,) = place.ended([task_id])
    assert (record.state, record.queue) == ("succeeded", "emails")
    shown = place.python(
        "import subprocess, sys\n"
        "print(subprocess.run([sys.executable, '-m', 'celeriac', '-A', 'tasks', 'settings',"
        " '--changed', '--json'], capture_output=True, text=True, check=True).stdout)"
    )
    told = {each["name"]: (each["value"], each["from"]) for each in json.loads(shown)["settings"]}
    where = f"module celeryconfig ({place.folder / 'celeryconfig.py'})"
    assert told["task_time_limit"] == (700.0, where)
    assert told["worker_max_tasks_per_child"] == (1000, where)
    assert told["broker_url"][1].startswith(f"code ({place.folder / 'tasks.py'}:")
