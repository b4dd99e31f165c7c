"""Sensitive arguments: whatever a task does with them, nothing that is written or printed shows
them. A marker is sent as a secret through tasks that fail, repeat and crash, and looked for in
all that there is afterwards."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from workers import DEADLINE, Site, eventually, site

MARK = 'hunter2\u00e9-S3CR"ET\\-9f'
#: How it may look once it was quoted, escaped or encoded.
LOOKS = sorted(
    {
        form
        for text in (MARK, repr(MARK)[1:-1], json.dumps(MARK)[1:-1], ascii(MARK)[1:-1])
        for form in (text, text.replace("\\", "\\\\"), text[-10:], text[:10])
    }
)
FAILING = ("raises", "repeats", "repeats_by_itself")
SINGLE = ("echoes", "crashes", "aborts", "hangs", "converts", "rejects", "ignores")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, "secret_tasks.py") as found:
        yield found


def celeriac(place: Site, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "celeriac", "-A", "tasks", *args],
        cwd=place.folder,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def send(place: Site, *calls: tuple[str, list[object], dict[str, object]]) -> list[str]:
    """Send calls by the tasks themselves, so that they are masked from the start."""
    code = (
        "import json, sys, tasks\n"
        "for name, args, kwargs in json.loads(sys.stdin.read()):\n"
        "    print(getattr(tasks, name).apply_async(args, kwargs).id)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(calls),
        cwd=place.folder,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def clean(text: str, where: str) -> None:
    found = [look for look in LOOKS if look in text]
    lines = [line for line in text.splitlines() if any(look in line for look in found)]
    assert not found, f"{where} shows the secret: {lines[:5]}"


def test_nothing_shows_a_secret(place: Site) -> None:
    worker = place.worker("-l", "DEBUG", CELERIAC_WORKER_LOG_FORMAT="%(message)s").ready()
    listener = subprocess.Popen(
        [sys.executable, "-m", "celeriac", "-A", "tasks", "events"],
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        control = place.send("tasks.shows", "the control")[0]
        calls = {name: (name, ["ada", MARK], {}) for name in FAILING}
        calls |= {name: (name, [MARK], {}) for name in SINGLE}
        calls["by keyword"] = ("raises", [], {"user": "ada", "password": MARK})
        calls["deep"] = ("raises", ["ada", {"nested": [MARK], "number": 1}], {})
        calls["tells"] = ("tells", [MARK, {"more": MARK}], {})
        ids = dict(zip(calls, send(place, *calls.values()), strict=True))
        # Sent by name, by a program that does not know the task and checks nothing.
        for args in (("ada", MARK, "too many"), ("ada", MARK)):
            ids[f"by name {len(args)}"] = place.send("tasks.raises", *args)[0]
        ids["misspelt"] = place.send("tasks.raises", "ada", kwargs={"passwrd": MARK})[0]
        # By one that has not even the module, and so cannot know what to hide.
        stranger = (
            "import json, os, sys\nfrom celeriac import Celeriac\n"
            "app = Celeriac('client', broker=os.environ['BROKER'])\n"
            f"print(app.send_task('tasks.raises', ('ada', {MARK!r})).id)\n"
        )
        ids["by a stranger"] = place.python(stranger).strip()
        records = place.ended([control, *ids.values()])
    finally:
        listener.terminate()
        events = listener.communicate(timeout=DEADLINE)[0]
    by_id = {record.id: record for record in records}
    states = {name: by_id[id].state for name, id in ids.items()}
    assert states["raises"] == states["repeats"] == states["misspelt"] == "failed", states
    assert (states["crashes"], states["tells"]) == ("dead", "succeeded"), states
    assert worker.stop() == 0

    # What is looked through does hold what is not hidden.
    assert "ValueError: shown: the control" in by_id[control].reason
    assert "shown: the control" in worker.text()
    assert "tasks.raises" in events
    assert re.search(r"ada cannot log in with \\*'\*\*\*", worker.text())
    assert "printed ***" in worker.text()
    assert "without an end ***" in worker.text()
    assert "warned of ***" in worker.text()

    clean(worker.text(), "the worker's log")
    clean(events, "celeriac events")
    for name, id in ids.items():
        record = by_id[id]
        clean(record.reason, f"the reason of {name}")
        clean(repr(record), f"repr of the record of {name}")
        if name != "echoes":  # a result is what the task returned
            clean((record.body or b"").decode("utf-8", "replace"), f"the stored end of {name}")
    for name in ("raises", "repeats", "crashes", "converts", "rejects", "echoes"):
        clean(celeriac(place, "why", ids[name]), f"why {name}")
    clean(celeriac(place, "dead", "show", *ids.values()), "dead show")
    clean(celeriac(place, "dead", "show", "--json", *ids.values()), "dead show --json")
    clean(celeriac(place, "dead", "list", "--state", "all"), "dead list")
    clean(celeriac(place, "dead", "list", "--state", "all", "--json"), "dead list --json")
    clean(celeriac(place, "status"), "status")
    shown = celeriac(place, "dead", "show", ids["raises"])
    assert "('ada', '***')" in shown


def test_what_runs_and_waits_is_listed_without_its_secrets(place: Site) -> None:
    place.worker("-c", "1").ready()
    (running,) = send(place, ("naps", [MARK, 300], {}))
    eventually(lambda: place.record(running).state == "running", "it runs")
    send(place, ("naps", [MARK, 300], {}))
    scheduled = place.send("tasks.naps", MARK, 1, countdown=600)[0]
    for args in (("inspect", "active"), ("inspect", "reserved"), ("inspect", "scheduled")):
        clean(celeriac(place, *args, "--timeout", "60"), " ".join(args))
    assert running in celeriac(place, "inspect", "active", "--timeout", "60")
    for id in (running, scheduled):
        clean(celeriac(place, "why", id), "why")


def test_a_client_tells_of_a_failure_without_the_secret(place: Site) -> None:
    place.worker().ready()
    out = place.python(
        "import tasks, traceback\n"
        f"mark = {MARK!r}\n"
        "result = tasks.raises.delay('ada', mark)\n"
        "try:\n"
        "    result.get(timeout=30)\n"
        "except Exception as error:\n"
        "    print(repr(error), error, error.args)\n"
        "    traceback.print_exception(error, limit=0)\n"
        "print(result.traceback, repr(result), result.info)\n"
        "signature = tasks.raises.s('ada', mark)\n"
        "print(signature, repr(signature), tasks.app.client.message('x', (mark,), {}))\n"
        "try:\n"
        "    tasks.raises.delay('ada', [mark, {mark: object()}])\n"
        "except Exception as error:\n"
        "    print(repr(error), error, *error.__notes__)\n"
    )
    assert re.search(r"ada cannot log in with \\*'\*\*\*", out)
    assert "tasks.raises('ada', '***')" in out
    clean(out, "the client")
