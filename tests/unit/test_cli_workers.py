"""``inspect``, ``control``, ``events``, ``list``, ``report``, ``shell`` and ``completion``, in this
process: a worker runs in a thread of it. `tests/integration` has them with real workers."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from celeriac.app import current
from celeriac.cli import exits
from celeriac.cli.control import COMMANDS
from celeriac.cli.inspect import QUESTIONS
from celeriac.cli.root import root
from celeriac.records import Manifest
from celeriac.testing.worker import start_worker

APP = """
import threading
from celeriac import Celeriac
app = Celeriac("shop", broker="sqlite:///shop.db", heartbeat=0.5, lease=10.0, lease_margin=1.0)

@app.task(time_limit=90)
def add(x, y):
    return x + y

begun, over = threading.Event(), threading.Event()

@app.task
def nap():
    begun.set()
    over.wait(60)
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Runs a command of an application in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    # Tasks that another test's import has shared with every app of this process are not the shop's.
    monkeypatch.setattr(current, "shared", [])
    (tmp_path / "shop.py").write_text(APP)
    sys.modules.pop("shop", None)

    def run(*args, **options):
        # The worker is in this process, and what it writes waits for the disk: not a second only.
        patient = "-t" not in args and args[0] in {"inspect", "control"} and args[1:2] != ["--list"]
        more = ["-t", "60"] if patient else []
        return CliRunner().invoke(root, ["-A", "shop", *args, *more], **options)

    yield run
    module = sys.modules.pop("shop", None)
    if module is not None:
        module.app.close()


@pytest.fixture
def worker(shop):
    """A worker of that application, in threads."""
    import shop as module

    with start_worker(module.app, hostname="here@x") as running:
        yield running


# -- inspect and control -----------------------------------------------------------------------


def test_without_a_worker_the_code_is_69(shop):
    for args in (["inspect", "ping"], ["inspect", "registered"], ["control", "shutdown"]):
        done = shop(*args)
        assert done.exit_code == exits.NO_WORKER == 69
        assert done.stdout == ""
        assert "No worker that is meant lives." in done.stderr


def test_inspect_prints_what_each_worker_says(shop, worker):
    done = shop("inspect", "ping")
    assert done.exit_code == 0
    assert done.stdout == "->  here@x: OK\n    pong\n\n1 worker answered.\n"
    assert json.loads(shop("inspect", "ping", "-j").stdout) == {"here@x": {"ok": "pong"}}
    assert shop("inspect", "registered").stdout.startswith("->  here@x: OK\n    * shop.add\n")
    found = json.loads(shop("inspect", "registered", "time_limit", "--json").stdout)
    assert found == {"here@x": ["shop.add [time_limit=90.0]", "shop.nap"]}
    assert "- empty -" in shop("inspect", "active").stdout
    assert json.loads(shop("inspect", "query_task", "nope", "--json").stdout) == {"here@x": {}}
    assert json.loads(shop("inspect", "conf", "--json").stdout)["here@x"]["heartbeat"] == 0.5
    whole = json.loads(shop("inspect", "conf", "with_defaults", "--json").stdout)["here@x"]
    assert whole["worker_pool"] == "prefork"
    assert shop("inspect", "ping", "-d", "other@x").exit_code == 69
    done = shop("inspect", "ping", "-d", "here@x,other@x")
    assert done.exit_code == 69, "one of those that were asked for gave no answer"
    assert "->  here@x: OK" in done.stdout
    assert "No living worker is named other@x." in done.stderr
    assert shop("control", "heartbeat", "-d", "here@x,other@x").exit_code == 69


@pytest.mark.parametrize("name", [each for each in QUESTIONS if each != "query_task"])
def test_every_question_is_answered(shop, worker, name):
    done = shop("inspect", name)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("->  here@x: OK\n")
    assert set(json.loads(shop("inspect", name, "--json").stdout)) == {"here@x"}


def test_control_prints_what_each_worker_says_and_fails_if_one_refuses(shop, worker):
    done = shop("control", "add_consumer", "mail")
    assert done.exit_code == 0
    assert done.stdout == "->  here@x: OK\n    add consumer mail\n\n1 worker answered.\n"
    done = shop("control", "rate_limit", "shop.add", "10/s", "--json")
    assert json.loads(done.stdout) == {"here@x": {"ok": "new rate limit set successfully"}}
    for args in (["pool_grow"], ["pool_restart"], ["autoscale", "4", "1"], ["pool_shrink", "2"]):
        done = shop("control", *args)
        assert done.exit_code == exits.FAILURE
        assert "->  here@x: ERROR" in done.stdout
        assert "not in this version" in done.stdout
    assert shop("control", "enable_events").exit_code == 0
    assert shop("control", "disable_events").exit_code == 0
    assert shop("control", "heartbeat").exit_code == 0


def test_a_worker_that_does_not_answer_makes_it_69(shop, worker):
    import shop as module

    module.app.store.queue.register("o1", Manifest({}, hostname="stuck@x"))
    for args in (["inspect", "ping"], ["control", "heartbeat"]):
        done = shop(*args, "-t", "3")
        assert done.exit_code == 69, done.stderr
        assert "->  here@x: OK" in done.stdout
        assert "No answer from stuck@x" in done.stderr


def test_tasks_are_shown_on_a_line_each(shop, worker):
    import shop as module

    late = module.add.apply_async((1,), {"y": 2}, countdown=600)
    (line,) = [each for each in shop("inspect", "scheduled").stdout.splitlines() if "*" in each]
    assert line.startswith(f"    * shop.add[{late.id}], args ")
    assert ", kwargs {'y': 2}, due 2" in line
    nap = module.nap.delay()
    try:
        module.begun.wait(60)
        (line,) = [each for each in shop("inspect", "active").stdout.splitlines() if "*" in each]
        shape = r"    \* shop\.nap\[" + nap.id + r"\] for [0-9.]+ m?s, pid [0-9]+"
        assert re.fullmatch(shape, line), line
        done = shop("inspect", "query_task", nap.id)
        assert f"    * active: shop.nap[{nap.id}] for " in done.stdout
        (found,) = json.loads(shop("inspect", "active", "-j").stdout)["here@x"]
        assert found["id"] == nap.id
    finally:
        module.over.set()
        nap.get(timeout=60)


def test_control_revokes_in_the_store(shop):
    import shop as module

    first, second = (module.add.apply_async((1, 2), countdown=600) for _ in range(2))
    assert shop("control", "revoke", first.id, second.id).exit_code == 0
    assert first.state == second.state == "REVOKED"
    third = module.add.apply_async((1, 2), countdown=600)
    assert shop("control", "terminate", "SIGKILL", third.id).exit_code == 0
    assert third.state == "REVOKED"
    assert shop("control", "revoke", "unknown-id").exit_code == exits.NOT_FOUND
    done = shop("control", "revoke", first.id, "-d", "here@x")
    assert done.exit_code == exits.USAGE
    assert "A revoke holds for every worker" in done.stderr


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["inspect"], "Which one? ping, active"),
        (["inspect", "actve"], "Did you mean `active`?"),
        (["inspect", "zzz"], "There are: ping, active"),
        (["inspect", "clock"], "`inspect clock` is not in this version of Celeriac."),
        (["inspect", "ping", "x"], "ping takes no arguments."),
        (["inspect", "query_task"], "query_task takes ID [ID ...]."),
        (["inspect", "conf", "all"], "conf takes nothing, or with_defaults."),
        (["inspect", "ping", "-t", "-1"], "-t"),
        (["control"], "Which one? shutdown, add_consumer"),
        (["control", "shutdwn"], "Did you mean `shutdown`?"),
        (["control", "election"], "`control election` is not in this version of Celeriac."),
        (["control", "add_consumer"], "add_consumer takes QUEUE."),
        (["control", "add_consumer", "a", "b"], "add_consumer takes QUEUE."),
        (["control", "time_limit", "shop.add"], "time_limit takes TASK SOFT [HARD]."),
        (["control", "time_limit", "shop.add", "soon"], "'soon' is no number of seconds."),
        (["control", "pool_grow", "many"], "'many' is no number of tasks."),
        (["control", "terminate", "SIGFOO", "x"], "there is no signal 'SIGFOO'; use SIGTERM"),
        (["control", "autoscale", "many"], "'many' is no number of executors."),
        (["events", "--camera", "x"], "-c/--camera is not in this version"),
        (["list", "bindings"], "There are no exchanges to bind to"),
        (["list", "nonsense"], "There is no `list nonsense`. There are: tasks, queues, workers."),
        (["list", "task"], "Did you mean `tasks`?"),
        (["status", "-t", "3"], "-t/--timeout is not in this version of Celeriac. It reads"),
        (["status", "-d", "a@x"], "`celeriac inspect ping -d WORKER` asks one."),
        (["result", "-t", "add", "x"], "-t/--task is not in this version"),
        (["worker", "-c", "0"], "'0' is not a number from 1 on, or auto"),
        (["shell", "--gevent"], "--gevent is not in this version"),
        (["completion", "tcsh"], "tcsh"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_before_anything_is_loaded(shop, args, text):
    done = shop(*args)
    assert done.exit_code == exits.USAGE
    assert text in done.stderr
    assert "shop" not in sys.modules


def test_the_sub_commands_are_listed(shop):
    for command, names in (("inspect", QUESTIONS), ("control", COMMANDS)):
        done = shop(command, "--list")
        assert done.exit_code == 0
        listed = [line.split()[0] for line in done.stdout.splitlines()]
        assert listed == list(names)
        assert all(f"  {name} " in shop(command, "--help").output for name in names)


# -- list, report ------------------------------------------------------------------------------


def test_tasks_queues_and_workers_are_listed(shop):
    assert shop("list", "tasks").stdout == (
        "TASK      HERE  WORKERS\nshop.add  yes   -\nshop.nap  yes   -\n"
    )
    assert shop("list", "queues").stdout == "No queue holds anything, and no worker lives.\n"
    assert shop("list", "workers").stdout == "No worker is alive.\n"
    import shop as module

    with start_worker(module.app, hostname="here@x"):
        module.add.apply_async((1, 2), countdown=600)
        found = json.loads(shop("list", "tasks", "--json").stdout)
        assert found[0] == {"task": "shop.add", "here": True, "workers": ["here@x"]}
        found = json.loads(shop("list", "queues", "--json").stdout)
        assert found == [{"queue": "celery", "unfinished": 1, "workers": ["here@x"]}]
        assert shop("list", "workers").stdout == "here@x\n"
        assert "celery      1  here@x" in shop("list", "queues").stdout


def test_report_shows_versions_and_settings_and_no_secret(shop, monkeypatch):
    monkeypatch.setenv("CELERIAC_SECURITY_KEY", "a secret that is long enough")
    done = shop("report")
    assert done.exit_code == 0
    assert "software -> celeriac:" in done.stdout
    assert "    heartbeat: 0.5\n" in done.stdout
    assert "security_key: (hidden)" in done.stdout
    assert "long enough" not in done.stdout
    found = json.loads(shop("report", "--json").stdout)
    assert set(found) == {"software", "platform", "app", "settings"}
    import shop as module

    assert module.app.bugreport() == done.stdout


# -- events ------------------------------------------------------------------------------------


def test_events_end_by_timeout_and_by_limit(shop):
    done = shop("events", "--timeout", "0.1")
    assert done.exit_code == exits.TIMED_OUT
    assert "No event came within 0.1 s." in done.stderr


def test_events_are_json_lines(shop, worker):
    done = shop("-q", "events", "--type", "worker", "--limit", "1", "--timeout", "60")
    assert done.exit_code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["hostname"] == "here@x"
    assert done.stderr == ""


# -- shell -------------------------------------------------------------------------------------


def test_shell_has_the_application_and_its_tasks_at_hand(shop):
    code = "print(app.main, celery is app, add.name, add.s(1, 2), Task, celeriac.__name__)"
    done = shop("shell", "-c", code)
    assert done.exit_code == 0, done.exception
    assert done.stdout.startswith("shop True shop.add shop.add(1, 2) ")
    done = shop("shell", "--without-tasks", "-c", "print('add' in dir())")
    assert done.stdout == "False\n"


def test_what_the_code_of_a_shell_raises_is_shown_from_its_own_line_on(shop):
    done = shop("shell", "-c", "x = 1\nx / 0")
    assert done.exit_code == exits.FAILURE
    assert done.stderr.splitlines() == [
        "Traceback (most recent call last):",
        '  File "<code>", line 2, in <module>',
        "ZeroDivisionError: division by zero",
    ]
    done = shop("shell", "-c", "1 /")
    assert done.exit_code == exits.FAILURE
    assert done.stderr.endswith("SyntaxError: invalid syntax\n")
    assert "shell.py" not in done.stderr
    assert shop("shell", "-c", "import sys; sys.exit(3)").exit_code == 3


def test_shell_asks(shop):
    done = shop("shell", "--python", input="print(app.main * 2)\n")
    assert done.exit_code == 0, done.exception
    assert "shopshop" in done.stdout


def test_a_prompt_that_is_not_installed_is_named(shop, monkeypatch):
    monkeypatch.setitem(sys.modules, "bpython", None)
    done = shop("shell", "--bpython")
    assert done.exit_code == exits.USAGE
    assert 'bpython is not installed: pip install "bpython".' in done.stderr


# -- completion --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [("bash", "complete -o nosort -F"), ("zsh", "#compdef celeriac"), ("fish", "complete ")],
)
def test_completion_prints_a_script(shop, name, text):
    done = shop("completion", name)
    assert done.exit_code == 0
    assert text in done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash to complete in")
def test_the_script_completes_commands_and_options(tmp_path):
    """What the script asks for, asked as it asks."""

    def complete(*words):
        environment = {
            **os.environ,
            "_CELERIAC_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["celeriac", *words]),
            "COMP_CWORD": str(len(words)),
        }
        code = "from celeriac.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert complete("ins") == ["inspect"]
    assert "--destination" in complete("inspect", "--d")
    assert complete("list", "ta") == ["tasks"]
    assert complete("inspect", "act") == ["active", "active_queues"]
    assert complete("control", "shut") == ["shutdown"]
    assert complete("worker", "-P", "th") == ["threads"]
    assert complete("settings", "task_soft") == ["task_soft_time_limit"]
