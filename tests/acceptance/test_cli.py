"""The command line as people use it: processes, one SQLite file, without and with a worker."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
from workers import DEADLINE, eventually, site

APP = """
import os, time
from pathlib import Path
from celeriac import Celeriac

app = Celeriac("tasks", broker=os.environ["BROKER"], crash_delay=0.05)

@app.task
def add(x, y):
    return x + y

@app.task
def fail(text):
    raise ValueError(text)

@app.task(bind=True)
def hold(self):
    Path(f"started-{self.request.id}").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return "held"

@app.task(bind=True, max_retries=1, default_retry_delay=600)
def later(self):
    raise self.retry(exc=ValueError("not yet"))

@app.task
def crash():
    os.kill(os.getpid(), 11)
"""


class Shell:
    """Runs ``celeriac`` as a process of its own in the application's folder."""

    def __init__(self, place):
        self.place = place
        self.folder = place.folder
        self.command = [sys.executable, "-m", "celeriac"]

    def __call__(self, *args, code=0, app=True, **environment):
        done = subprocess.run(
            [*self.command, *(["-A", "tasks"] if app else []), *args],
            cwd=self.folder,
            env={**self.place.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == code, (args, done.stdout, done.stderr)
        return done

    def json(self, *args, code=0):
        return json.loads(self(*args, "--json", code=code).stdout)

    def why(self, id):
        return self.json("why", id)["code"]

    def call(self, name, *options):
        return self("call", f"tasks.{name}", *options).stdout.strip()


@pytest.fixture
def place(tmp_path):
    with site(tmp_path) as made:
        (tmp_path / "tasks.py").write_text(APP)
        yield made


@pytest.fixture
def celeriac(place):
    return Shell(place)


def test_without_a_worker(celeriac, place):
    id = celeriac.call("add", "--args", "[1, 2]")
    assert celeriac.why(id) == "waiting_for_worker"
    assert celeriac.json("status")["queues"][0]["due"] == 1
    assert celeriac.json("doctor", code=1)["findings"][0]["code"] == "no_worker"
    assert celeriac("result", id, "--timeout", "0", code=6).stdout == ""
    later = celeriac.call("add", "--args", "[1, 2]", "--countdown", "600")
    assert celeriac.why(later) == "scheduled"
    celeriac("revoke", later)
    assert celeriac.why(later) == "revoked"
    celeriac("result", later, code=5)
    assert "Nobody answered. Add -f/--force." in celeriac("purge", code=2).stderr
    assert celeriac("purge", "-f").stdout == "Purged 1 task from celery.\n"
    assert celeriac("dead", "list").stdout == "No dead task is put aside.\n"
    celeriac("why", "never-was", code=4)
    celeriac("call", "tasks.ad", code=4)
    place.db.chmod(0o644)
    (finding,) = [f for f in celeriac.json("doctor", code=1)["findings"] if not f["note"]]
    assert finding["advice"] == f"chmod 600 {place.db}"


def test_with_a_worker(celeriac, place):
    place.worker("-c", "1").ready()
    done = celeriac("call", "tasks.add", "--args", "[1, 2]", "--wait", "--timeout", "60")
    id, result = done.stdout.split()
    assert result == "3"
    assert celeriac.why(id) == "succeeded"
    assert celeriac("result", id).stdout == "3\n"

    failed = celeriac.call("fail", "--args", '["no such user"]')
    done = celeriac("result", failed, "--traceback", code=5)
    assert "raise ValueError(text)" in done.stderr
    assert done.stderr.endswith("FAILURE: ValueError: no such user\n")
    assert celeriac.why(failed) == "failed"

    backing_off = celeriac.call("later")
    eventually(lambda: celeriac.why(backing_off) == "backing_off", "the retry is scheduled")
    assert "Backing off after ValueError" in celeriac("why", backing_off).stdout

    unknown = celeriac("call", "tasks.new", "--unchecked").stdout.strip()
    eventually(lambda: celeriac.json("status")["parked"], "the unknown name is parked")
    assert celeriac.why(unknown) == "unknown_task"

    held = celeriac.call("hold")
    eventually((celeriac.folder / f"started-{held}").exists, "hold runs")
    eventually(lambda: celeriac.why(held) == "running", "its start is recorded")
    behind = celeriac.call("add", "--args", "[3, 4]")
    eventually(lambda: celeriac.why(behind) in {"waiting_for_slot", "received"}, "it waits")
    (worker,) = celeriac.json("status")["workers"]
    assert (worker["alive"], worker["concurrency"], worker["queues"]) == (True, 1, ["celery"])
    celeriac("revoke", held, "--terminate")
    done = celeriac("result", held, "--timeout", "60", code=5)
    assert done.stderr.startswith("REVOKED")
    assert celeriac("result", behind, "--timeout", "60").stdout == "7\n"


def test_what_kills_its_executor_is_dead_and_can_be_retried_or_discarded(celeriac, place):
    place.worker("-c", "1").ready()
    id = celeriac.call("crash")
    celeriac("result", id, "--timeout", "60", code=5)
    assert celeriac.why(id) == "dead"
    (record,) = celeriac.json("dead", "list")
    assert (record["id"], record["crashes"]) == (id, 3)
    shown = celeriac("dead", "show", id).stdout
    assert "SIGSEGV" in shown
    # os.kill is called in crash(): its stack stands on lines of its own, and once.
    assert "\n  last stack\n    Fatal Python error: Segmentation fault\n" in shown
    assert shown.count(" in crash") == 1
    assert "dead show" not in shown
    assert celeriac.json("doctor", code=1)["findings"][0]["code"] == "dead"
    assert celeriac("dead", "retry", id).stdout == "Retried 1 task.\n"
    celeriac("result", id, "--timeout", "60", code=5)
    assert celeriac("dead", "discard", "--all", "--yes").stdout == "Discarded 1 task.\n"
    celeriac("why", id, code=4)


def test_the_worker_command_and_an_app_that_cannot_be_imported(celeriac):
    (celeriac.folder / "tasks.py").write_text("import helpr\n")
    for command in ("status", "worker"):
        done = celeriac(command, code=2)
        assert "import helpr" in done.stderr
        assert "No module named 'helpr'" in done.stderr


def test_a_reader_that_goes_away_is_no_traceback(celeriac):
    """As in ``celeriac --help | head -1``, with a pipe that nobody reads from the start."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*celeriac.command, "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_ctrl_c_while_waiting_is_quiet(celeriac, place):
    id = celeriac.call("add", "--args", "[1, 2]")
    waiting = subprocess.Popen(
        [*celeriac.command, "-A", "tasks", "result", id],
        cwd=celeriac.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    notice = waiting.stderr.readline()
    assert "none alive reads queue 'celery'" in notice
    # The notice comes just before the wait; it sleeps once it waits.
    process = psutil.Process(waiting.pid)
    eventually(lambda: process.status() == psutil.STATUS_SLEEPING, "it waits")
    waiting.send_signal(signal.SIGINT)
    out, err = waiting.communicate(timeout=DEADLINE)
    assert waiting.returncode == 130
    assert (out, err.strip()) == ("", "")


def test_the_app_may_stand_on_either_side_and_come_from_the_environment(celeriac):
    for args, environment in (
        (["-A", "tasks", "status"], {}),
        (["status", "-A", "tasks"], {}),
        (["status", "--app=tasks:app"], {}),
        (["status"], {"CELERIAC_APP": "tasks.app"}),
    ):
        assert "No worker is alive." in celeriac(*args, app=False, **environment).stdout
