"""The command line, in this process: options, refusals, exit codes, help, and each command on an
SQLite file without a worker. `tests/acceptance/test_cli.py` runs it as people do."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click import BadParameter
from click.testing import CliRunner

from celeriac import exceptions, states
from celeriac.cli import exits, refused
from celeriac.cli.reference import render, render_help
from celeriac.cli.root import COMMANDS, root
from celeriac.cli.worker import expand_hostname
from celeriac.outcome import Failure, Outcome, ResultBody, encode_body
from celeriac.records import Commit, Manifest, TaskFacts, Want
from celeriac.stores import connect

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def run(*args, **options):
    return CliRunner().invoke(root, list(args), **options)


# -- without an application --------------------------------------------------------------------


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["worker", "--help"]])
def test_help_is_cheap(args):
    """No application, no store, no msgspec: only click and this command line."""
    code = (
        "import sys\nfrom celeriac.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert done.stdout
    loaded = set(done.stderr.split())
    assert not loaded & {"msgspec", "apsw", "asyncio", "celeriac.stores", "celeriac.conf"}
    assert not {each for each in loaded if each.startswith(("celeriac.app", "celeriac.worker"))}


#: They answer nothing; `events` prints JSON in any case.
WITHOUT_JSON = {"worker", "dev", "events", "shell", "completion"}


def commands():
    yield from ([name] for name in COMMANDS)
    yield from (["dead", name] for name in ("list", "show", "retry", "discard"))
    yield from (["list", name] for name in ("tasks", "queues", "workers"))


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_has_examples_and_takes_the_app_on_its_own_side(path):
    done = run(*path, "--help")
    assert done.exit_code == 0
    assert f"Examples:\n  celeriac {'' if path == ['completion'] else '-A '}" in done.output
    assert "-A, --app APP" in done.output
    if path not in (["dead"], ["list"]) and path[0] not in WITHOUT_JSON:
        assert "--json" in done.output


def test_the_list_of_commands_says_what_their_own_help_says():
    listed = run("--help").output
    for name in COMMANDS:
        assert f"  {name} " in listed


def test_the_reference_is_what_the_commands_say():
    assert PAGE.read_text() == render(), "python -m celeriac.cli.reference > docs/reference/cli.md"


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_the_help_of_the_root_is_printed_without_loading_anything(option):
    code = (
        "import sys; from celeriac.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    print(end.code, 'click' in sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, option]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == render_help(), (
        "python -m celeriac.cli.reference help > src/celeriac/cli/help.txt"
    )
    assert done.stderr == "0 False\n"


@pytest.mark.parametrize("name", refused.COMMANDS)
def test_commands_of_celery_are_refused_by_name(name):
    done = run("-A", "tasks", name)
    assert done.exit_code == exits.USAGE
    assert f"`{name}` is not in this version of Celeriac." in done.stderr
    assert refused.COMMANDS[name] in done.stderr


@pytest.mark.parametrize(("names", "flag", "instead"), refused.WORKER, ids=str)
def test_worker_options_of_celery_are_refused_by_name(names, flag, instead):
    for name in names:
        done = run("-A", "tasks", "worker", *([name] if flag else [name, "3"]))
        assert done.exit_code == exits.USAGE
        assert "is not in this version of Celeriac" in done.stderr
        assert instead.split()[0] in done.stderr


@pytest.mark.parametrize("args", [["-b", "x", "status"], ["status", "--broker", "x"]])
def test_a_broker_on_the_command_line_is_taken_on_either_side(args, tmp_path, monkeypatch):
    monkeypatch.setenv("CELERIAC_BROKER_URL", "sqlite:////no/such/folder/x.db")
    other = tmp_path / "other.db"
    (tmp_path / "broker_app.py").write_text("from celeriac import Celeriac\napp = Celeriac('a')\n")
    said = [f"sqlite:///{other}" if each == "x" else each for each in args]
    done = run("--workdir", str(tmp_path), "-A", "broker_app", *said)
    assert (done.exit_code, other.exists()) == (0, True), done.stderr


def test_a_broker_that_is_not_built_is_refused_by_name(tmp_path):
    (tmp_path / "rabbit_app.py").write_text("from celeriac import Celeriac\napp = Celeriac('a')\n")
    done = run("--workdir", str(tmp_path), "-A", "rabbit_app", "-b", "amqp://localhost", "status")
    assert done.exit_code == exits.USAGE
    assert "amqp:// cannot be opened: RabbitMQ is not in this version." in done.stderr


def test_a_worker_is_told_the_broker_and_the_backend(started):
    args = ("-b", "sqlite:////tmp/x.db", "--result-backend", "disabled://")
    assert run("-A", "jobs", *args, "worker").exit_code == 0
    assert started[0].spec.settings == {
        "broker_url": "sqlite:////tmp/x.db", "result_backend": "disabled://"
    }  # fmt: skip


def test_a_slip_is_answered_with_the_near_name():
    done = run("wroker")
    assert done.exit_code == exits.USAGE
    assert "Did you mean `worker`?" in done.stderr
    assert "Did you mean `dead show`?" in run("show").stderr
    assert "Did you mean" not in run("kaputt").stderr


@pytest.mark.parametrize("name", [*COMMANDS, "dead list", "list tasks"])
def test_without_an_app_it_says_how_to_name_one(name, monkeypatch):
    monkeypatch.delenv("CELERIAC_APP", raising=False)
    monkeypatch.delenv("CELERY_APP", raising=False)
    if name in {"dead", "list", "completion"}:
        return  # shows its help, or needs no application
    wanted = {
        **{each: ["x"] for each in ("call", "result", "why", "tree", "replay", "retry", "revoke")},
        "inspect": ["ping"],
        "control": ["shutdown"],
    }.get(name, [])
    done = run(*name.split(), *wanted)
    assert done.exit_code == exits.USAGE
    assert "celeriac -A tasks" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (exceptions.ImproperlyConfigured("x"), exits.USAGE),
        (exceptions.NotInThisVersion("x"), exits.USAGE),
        (exceptions.OperationalError("x"), exits.STORE),
        (exceptions.StoreFull("x"), exits.STORE),
        (exceptions.StoreVersionError("x"), exits.STORE),
        (exceptions.ResultNotFound("x"), exits.NOT_FOUND),
        (exceptions.NotRegistered("x"), exits.NOT_FOUND),
        (exceptions.TimeoutError("x"), exits.TIMED_OUT),
        (exceptions.DuplicateTask("x"), exits.FAILURE),
    ],
)
def test_errors_end_in_documented_codes(error, code):
    assert exits.code_of(error) == code
    assert code in exits.MEANINGS


# -- worker options ----------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch):
    """What the worker would be started with."""
    seen = []
    monkeypatch.setattr("celeriac.worker.main.run", lambda options: seen.append(options) or 0)
    return seen


def test_worker_options_become_a_spec(started, tmp_path):
    done = run(
        "--workdir", str(tmp_path), "worker", "-A", "jobs", "-l", "info", "-c", "3", "-Q", "a,b,a",
        "-n", "w1@%%", "-I", "more,extra", "--max-tasks-per-child", "7", "--time-limit", "30",
        "--soft-time-limit", "20.5", "--max-memory-per-child", "90000", "-P", "solo", "-q",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (options,) = started
    assert (options.queues, options.pool, options.concurrency) == (("a", "b"), "solo", 3)
    assert options.banner is False
    spec = options.spec
    assert (spec.app, spec.workdir, spec.loglevel) == ("jobs", str(tmp_path), "INFO")
    assert (spec.hostname, spec.include) == ("w1@%", ("more", "extra"))
    assert spec.settings == {
        "worker_pool": "solo",
        "worker_concurrency": 3,
        "worker_max_tasks_per_child": 7,
        "worker_max_memory_per_child": 90_000,
        "task_time_limit": 30.0,
        "task_soft_time_limit": 20.5,
    }


def test_what_was_not_given_is_left_to_the_settings(started):
    assert run("-A", "jobs", "worker").exit_code == 0
    (options,) = started
    assert (options.queues, options.pool, options.concurrency) == (None, None, None)
    assert options.spec.settings == {}
    assert options.banner


def test_auto_is_what_the_machine_allows(started):
    assert run("-A", "jobs", "worker", "-c", "auto").exit_code == 0
    assert started[0].concurrency >= 1


def test_the_app_is_not_imported_by_the_worker_command(started, tmp_path):
    (tmp_path / "bomb.py").write_text("raise SystemExit('imported')\n")
    assert run("--workdir", str(tmp_path), "-A", "bomb", "worker").exit_code == 0
    assert "bomb" not in sys.modules


def test_options_that_turn_off_what_is_not_there_are_taken_with_a_notice(started):
    done = run("-A", "jobs", "worker", "--without-gossip", "--without-heartbeat")
    assert done.exit_code == 0
    assert done.stderr == (
        "Notice: this changes nothing here: --without-gossip (workers meet in the store); "
        "--without-heartbeat (it keeps the leases of this worker's tasks).\n"
    )
    assert run("-A", "j", "worker", "--without-gossip", "-q").stderr == ""


@pytest.mark.parametrize(
    "args",
    [
        ["-O", "fair"], ["-Ofair"], ["-O", "default"], ["--prefetch-multiplier=1"],
        ["--disable-prefetch"], ["-S", "worker.state"], ["--statedb=worker.state"],
    ],
)  # fmt: skip
def test_options_of_celery_that_mend_what_does_not_occur_are_taken(started, args):
    done = run("-A", "jobs", "worker", *args)
    assert (done.exit_code, len(started)) == (0, 1)
    assert "changes nothing here: --" in done.stderr
    assert run("-A", "jobs", "--skip-checks", "worker", "-q").exit_code == 0


def test_an_option_that_is_refused_is_not_offered_for_a_slip(started, tmp_path):
    (tmp_path / "slip_app.py").write_text("from celeriac import Celeriac\napp = Celeriac('a')\n")
    place = ("--workdir", str(tmp_path), "-A", "slip_app")
    done = run(*place, "worker", "--qeues", "mail")
    assert "'--queues'" in done.stderr
    for slip in ("--beet", "--statdb", "--optimisation"):
        done = run(*place, "worker", slip)
        assert done.exit_code == exits.USAGE
        assert not re.search("--beat|--statedb|--optimization", done.stderr)
    assert "--loader" not in run(*place, "status", "--loadr").stderr
    assert not started
    assert "Error: There is no module" in run("-A", "no_such_app", "worker", "--slip").stderr


def test_processes_is_celerys_other_name_of_prefork(started):
    assert run("-A", "jobs", "worker", "-P", "processes").exit_code == 0
    assert started[0].pool == "prefork"


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("-P", "gevent", "'gevent' is not in this version of Celeriac. Use asyncio (for async def"),
        ("-P", "eventlet", "'eventlet' is not in this version of Celeriac. Use asyncio (for"),
        ("-O", "quick", "'quick' is not one of 'default', 'fair'"),
        ("-P", "thread", "there is no pool 'thread'. Did you mean threads?"),
        ("-P", "Asyncio", "there is no pool 'Asyncio'. Did you mean asyncio?"),
        ("-P", "quick", "there is no pool 'quick'. Use prefork, threads, asyncio or solo."),
        ("-c", "0", "from 1 on"),
        ("-c", "-3", "from 1 on"),
        ("--autoscale", "2,10", "the fewest, 10, is more than the most, 2: write --autoscale=10,2"),
        ("--autoscale", "0,0", "numbers from 1 on"),
        ("--autoscale", "5,0", "numbers from 1 on"),
        ("--autoscale", "many", "is not MAX,MIN"),
        ("--autoscale", "1,2,3", "is not MAX,MIN"),
        ("--autoscale", "5,-1", "is not MAX,MIN"),
        ("-c", "many", "or auto"),
        ("-n", "w%i", "%i is not in this version"),
        ("-l", "loud", "'loud' is not one of"),
        ("-Q", ",", "separated by commas"),
        ("-Q", "mail,bad queue", "'bad queue' is no name of a queue"),
        ("-n", "bad name", "'bad name' is no name of a worker"),
    ],
)
def test_wrong_worker_options_are_usage_errors(started, option, value, text):
    done = run("-A", "jobs", "worker", option, value)
    assert done.exit_code == exits.USAGE
    assert text in done.stderr
    assert not started


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_pools_and_autoscaling_are_taken(started, pool):
    assert run("-A", "jobs", "worker", "--pool", pool, "--autoscale=10,3").exit_code == 0
    assert run("-A", "jobs", "worker", "-P", pool, "--autoscale", "8").exit_code == 0
    assert [(each.pool, each.autoscale) for each in started] == [(pool, (10, 3)), (pool, (8, 1))]
    assert started[0].concurrency is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("-c", "4"), "-c/--concurrency and --autoscale contradict each other"),
        (("-P", "solo"), "--autoscale and -P solo contradict each other"),
    ],
)
def test_what_contradicts_autoscaling_is_refused(started, options, text):
    done = run("-A", "jobs", "worker", "--autoscale", "4,1", *options)
    assert done.exit_code == exits.USAGE
    assert text in done.stderr
    assert not started


def test_host_names_expand_as_in_celery():
    assert expand_hostname("w1@%h", "box.example.com") == "w1@box.example.com"
    assert expand_hostname("%n-%d-%%", "box.example.com") == "box-example.com-%"
    with pytest.raises(BadParameter):
        expand_hostname("%", "box")


@pytest.mark.parametrize("variable", ["CELERIAC_APP", "CELERY_APP"])
def test_the_app_comes_from_the_environment_and_an_option_wins(started, variable):
    run("worker", env={variable: "fromenv"})
    run("worker", "-A", "option", env={variable: "fromenv"})
    run("-A", "option", "worker", env={variable: "fromenv"})
    assert [each.spec.app for each in started] == ["fromenv", "option", "option"]


# -- with an application on an SQLite file -----------------------------------------------------

APP = """
from celeriac import Celeriac

app = Celeriac("{name}", broker="sqlite:///{path}")

@app.task(name="jobs.add")
def add(x, y):
    return x + y
"""


class Jobs:
    """A module with an application, its store, and commands run on it."""

    def __init__(self, folder, name):
        self.name = name
        self.url = f"sqlite:///{folder}/jobs.db"
        (folder / f"{name}.py").write_text(APP.format(name=name, path=f"{folder}/jobs.db"))

    def __call__(self, *args, **options):
        return run("-A", self.name, *args, **options)

    def call(self, *options):
        done = self("call", "jobs.add", "--args", "[1, 2]", *options)
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    @property
    def store(self):
        return connect(self.url)

    def end(self, id, outcome):
        """End the task as a worker would."""
        queue = self.store.queue
        queue.register("o1", Manifest(tasks={"jobs.add": TaskFacts()}, queues=("celery",)))
        taken = queue.exchange("o1", 0, 1, [], [], ["celery"], Want(free=10))
        fence = next(each.fence for each in taken.deliveries if each.id == id)
        queue.exchange("o1", 0, 2, [Commit(fence, outcome)], [], [], Want())
        queue.close_owner("o1")


@pytest.fixture
def jobs(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"jobs_{abs(hash(request.node.name))}"
    yield Jobs(tmp_path, name)
    sys.modules.pop(name, None)


def json_of(done):
    return json.loads(done.stdout)


def test_call_prints_the_id_of_a_queued_task(jobs):
    id = jobs.call("--queue", "mail", "--priority", "7")
    found = jobs.store.inspection.get([id])[0]
    assert (found.task, found.queue, found.priority) == ("jobs.add", "mail", 7)
    assert json_of(jobs("call", "jobs.add", "--args", "[1, 2]", "--json"))["id"]


def test_call_schedules_and_expires(jobs):
    id = jobs.call("--countdown", "500", "--expires", "900")
    assert jobs.store.inspection.get([id])[0].state == states.SCHEDULED
    assert json_of(jobs("why", id, "--json"))["code"] == "scheduled"
    id = jobs.call("--eta", "2090-01-01T00:00:00+00:00")
    assert jobs.store.inspection.get([id])[0].due == 3_786_912_000.0


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["jobs.ad"], exits.NOT_FOUND, "Did you mean 'jobs.add'?"),
        (["jobs.add", "--args", "[1"], exits.USAGE, "is not JSON"),
        (["jobs.add", "--args", "{}"], exits.USAGE, "is not a JSON array"),
        (["jobs.add", "--kwargs", "[]"], exits.USAGE, "is not a JSON object"),
        (["jobs.add", "--eta", "soon"], exits.USAGE, "is not a moment"),
        (["jobs.add", "--timeout", "1"], exits.USAGE, "--timeout needs --wait"),
        (["jobs.add", "--exchange", "x"], exits.USAGE, "There are no exchanges"),
        (["jobs.add", "--args", "[1]"], exits.USAGE, "missing 1 required positional argument"),
        (["jobs.add", "--args", "[1, 2]", "--queue", "a b"], exits.USAGE, "queue is 'a b'"),
        (
            ["jobs.add", "--args", "[1, 2]", "--countdown", "10", "--expires", "5"],
            exits.USAGE,
            "it could never run",
        ),
        (["other.task", "--unchecked", "--countdown", "inf"], exits.USAGE, "countdown is inf"),
    ],
)
def test_wrong_calls_store_nothing(jobs, args, code, text):
    done = jobs("call", *args)
    assert done.exit_code == code, done.output
    assert text in done.stderr
    assert jobs.store.inspection.list() == []


def test_a_name_of_another_application_can_be_sent_unchecked(jobs):
    assert jobs("call", "other.task", "--unchecked").exit_code == exits.OK
    assert jobs.store.inspection.list()[0].task == "other.task"


def test_result_of_a_success_a_failure_and_nothing_at_all(jobs):
    id = jobs.call()
    done = jobs("result", id, "--timeout", "0")
    assert done.exit_code == exits.TIMED_OUT
    assert "has not ended (PENDING)" in done.stderr
    jobs.end(id, Outcome(states.SUCCEEDED, body=encode_body(ResultBody(value=b"3"))))
    assert jobs("result", id).stdout == "3\n"
    assert json_of(jobs("result", id, "--json"))["result"] == 3
    failed = jobs.call()
    failure = Failure("ValueError", "no", ("no",), "Traceback (most recent call last):\n  here")
    body = encode_body(ResultBody(failure=failure))
    jobs.end(failed, Outcome(states.FAILED, body=body, reason="ValueError: no"))
    done = jobs("result", failed, "--traceback")
    assert done.exit_code == exits.TASK_FAILED
    assert "Traceback (most recent call last)" in done.stderr
    assert "FAILURE: ValueError: no" in done.stderr
    assert json_of(jobs("result", failed, "--json"))["error"] == "ValueError: no"
    assert jobs("result", "nope").exit_code == exits.NOT_FOUND


def test_why_says_reason_facts_and_what_to_do(jobs):
    id = jobs.call()
    done = jobs("why", id)
    assert done.exit_code == exits.OK
    assert done.stdout.startswith("Waiting for a worker: none alive reads queue 'celery'.\n")
    assert "  task       jobs.add\n  arguments  (1, 2)\n" in done.stdout
    assert f"What to do:\n  Start one: celeriac -A {jobs.name} worker -Q celery\n" in done.stdout
    missing = jobs("why", "nope")
    assert missing.exit_code == exits.NOT_FOUND
    assert "jobs.db" in missing.stdout


def test_revoke(jobs):
    id = jobs.call()
    done = jobs("revoke", id)
    assert (done.exit_code, done.stdout) == (exits.OK, f"{id}  revoked\n")
    assert json_of(jobs("why", id, "--json"))["code"] == "revoked"
    done = jobs("revoke", id, "nope", "--json")
    assert done.exit_code == exits.NOT_FOUND
    assert json_of(done) == {id: "revoked", "nope": "unknown"}
    assert jobs("revoke", id, "--terminate", "--signal", "SIGNONE").exit_code == exits.USAGE


def test_status(jobs):
    jobs.call()
    jobs.call("--queue", "mail")
    text = jobs("status").stdout
    assert "No worker is alive." in text
    assert [line.split()[:2] for line in text.splitlines()[-2:]] == [["celery", "1"], ["mail", "1"]]
    seen = json_of(jobs("status", "--json"))
    assert [each["due"] for each in seen["queues"]] == [1, 1]
    assert seen["workers"] == seen["parked"] == []


def test_purge_names_queues_and_asks(jobs):
    assert "No queue holds" in jobs("purge").stdout
    jobs.call()
    jobs.call("--queue", "mail")
    refused = jobs("purge", input="n\n")
    assert refused.exit_code == exits.FAILURE
    assert "End 2 tasks in 2 queues, for good?" in refused.stderr
    assert jobs("purge").exit_code == exits.USAGE
    assert jobs("purge", "--json").exit_code == exits.USAGE
    assert jobs("purge", "-Q", "mail", input="y\n").stdout.endswith("Purged 1 task from mail.\n")
    assert json_of(jobs("purge", "-f", "--json")) == {"purged": 1, "queues": {"celery": 1}}
    assert "No queue holds" in jobs("purge", "-f").stdout


def test_dead_list_show_retry_and_discard(jobs):
    assert jobs("dead", "list").stdout == "No dead task is put aside.\n"
    id = jobs.call()
    body = encode_body(ResultBody(failure=Failure("WorkerLostError", "SIGSEGV", None, "at line 7")))
    jobs.end(id, Outcome(states.DEAD, body=body, reason="WorkerLostError: SIGSEGV", charge="crash"))
    assert id in jobs("dead", "list", "--task", "jobs.add").stdout
    assert jobs("dead", "list", "--task", "other").stdout == "No dead task is put aside.\n"
    assert jobs("dead", "list", "--state", "failed").stdout == "No failed task is put aside.\n"
    assert [each["id"] for each in json_of(jobs("dead", "list", "--json"))] == [id]
    shown = jobs("dead", "show", id).stdout
    assert "at line 7" in shown
    assert f"Once the cause is mended: celeriac -A {jobs.name} retry {id}\n" in shown
    assert f"`celeriac -A {jobs.name} doctor` prints" in jobs("why", "nope").stdout
    assert f"  celeriac -A {jobs.name} dead list --queue celery; then" in jobs("doctor").stdout
    assert "  arguments   (1, 2)\n" in shown
    (whole,) = json_of(jobs("dead", "show", id, "--json"))
    assert json.loads(whole["arguments"]) == [[1, 2], {}]
    assert len(jobs("dead", "show", "x" * 5000).stderr) < 300
    assert len(jobs("why", "x" * 5000).stdout) < 1000
    assert jobs("dead", "show", "nope").exit_code == exits.NOT_FOUND
    assert jobs("dead", "retry", "--all", input="n\n").exit_code == exits.FAILURE
    assert jobs("dead", "retry", "--all", "--yes").stdout == "Retried 1 task.\n"
    assert jobs.store.inspection.get([id])[0].state == states.QUEUED
    again = jobs("dead", "retry", id, "nope")
    assert again.exit_code == exits.NOT_FOUND
    assert "whose errbacks have ended, can be retried (it is queued)" in again.stderr
    jobs("revoke", id)
    assert json_of(jobs("dead", "discard", id, "--json")) == {"discarded": [id], "left": []}
    assert jobs.store.inspection.get([id]) == [None]


@pytest.mark.parametrize("args", [[], ["id", "--all"], ["id", "--task", "x"]])
def test_dead_retry_wants_ids_or_all(jobs, args):
    assert jobs("dead", "retry", *args).exit_code == exits.USAGE


def test_doctor_finds_and_says_what_to_do(jobs):
    clean = jobs("doctor")
    assert clean.exit_code == exits.OK, clean.output
    assert "Nothing wrong was found." in clean.stdout
    jobs.call()
    done = jobs("doctor")
    assert done.exit_code == exits.FAILURE
    assert "FOUND: queue celery: no worker alive reads it (1 task due, 0 scheduled)" in done.stdout
    data = json_of(jobs("doctor", "--json"))
    assert not data["ok"]
    assert [each["code"] for each in data["findings"] if not each["note"]] == ["no_worker"]


def test_doctor_tells_of_a_store_that_cannot_be_opened(jobs, tmp_path):
    (tmp_path / "jobs.db").write_text("this is not a database, and long enough to be sure " * 90)
    done = jobs("doctor")
    assert done.exit_code == exits.STORE
    assert "FOUND: store" in done.stdout
    assert jobs("status").exit_code == exits.STORE


def test_a_store_in_memory_is_no_store_for_another_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    text = 'from celeriac import Celeriac\napp = Celeriac("m", broker="memory://cli")\n'
    (tmp_path / "in_memory_app.py").write_text(text)
    done = run("-A", "in_memory_app", "status")
    assert done.exit_code == exits.USAGE
    assert "lives inside one process" in done.stderr
    assert run("-A", "in_memory_app", "doctor").exit_code == exits.FAILURE


def test_a_module_the_app_includes_is_imported_and_blamed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "including_app.py").write_text(
        "from celeriac import Celeriac\n"
        f'app = Celeriac("i", broker="sqlite:///{tmp_path}/i.db", include=["included_tasks"])\n'
    )
    (tmp_path / "included_tasks.py").write_text("1 / 0\n")
    done = run("-A", "including_app", "status")
    assert done.exit_code == exits.USAGE
    assert 'included_tasks.py", line 1' in done.stderr
    assert "session.py" not in done.stderr
    assert "ZeroDivisionError: division by zero." in done.stderr.splitlines()[-1]
    (tmp_path / "included_tasks.py").unlink()
    assert (
        "includes the module 'included_tasks', which is not"
        in run("-A", "including_app", "status").stderr
    )


def test_an_app_that_cannot_be_imported_shows_its_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "broken_app.py").write_text("import no_such_library\n")
    done = run("-A", "broken_app", "status")
    assert done.exit_code == exits.USAGE
    assert "import no_such_library" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: Importing 'broken_app'")


def test_a_tree_that_is_watched_on_a_narrow_terminal_says_why_rather_than_ids_whole():
    from celeriac.cli.tree import fitted

    id = "01a22811-385b-7007-8b28-4a4bd6d338fc"
    line = (
        f"│  ├─ 5: PENDING tasks.add[{id}]: Waiting for a worker: none alive reads queue 'nowhere'."
    )
    assert fitted(line, 79) == (
        "│  ├─ 5: PENDING tasks.add[…d6d338fc]: Waiting for a worker: none alive reads …"
    )
    assert fitted(line, 200) == line
    short = f"└─ SUCCESS tasks.add[{id}]"
    assert fitted(short, 79) == short
