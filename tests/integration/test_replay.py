"""``celeriac replay`` beside real workers: what they have left is run here, and stays as it is."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from workers import DEADLINE, Site, eventually, site


@pytest.fixture(
    params=[("sqlite", "prefork"), ("sqlite", "threads"), ("redis", "prefork"),
            ("redis", "threads")],
    ids="-".join,
)  # fmt: skip
def place(tmp_path: Path, request: pytest.FixtureRequest, shared: Any) -> Iterator[Site]:
    store, pool = request.param
    broker, namespace = "", ""
    if store == "redis":
        broker, namespace = shared.url("redis"), shared.namespace()
    with site(tmp_path, "progress_tasks.py", broker, namespace) as made:
        made.worker("-P", pool).ready()
        yield made


def celeriac(
    place: Site, *args: str, code: int = 0, said: str = ""
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "celeriac", "-A", "tasks", *args],
        cwd=place.folder, env=place.environment, capture_output=True, text=True, input=said,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == code, (args, done.stdout, done.stderr)
    return done


def notes(place: Site) -> list[str]:
    path = place.folder / "notes"
    return path.read_text().splitlines() if path.exists() else []


def test_a_success(place: Site) -> None:
    (id,) = place.send("tasks.pay", 5, "4711-0815")
    (record,) = place.ended([id])
    eventually(lambda: notes(place).count("receipt") == 1, "the worker's receipt")
    done = celeriac(place, "replay", id)
    assert done.stdout == 'charging 5\n{"paid": 5}\n'
    told = done.stderr.splitlines()
    assert told[0] == (
        f"Replay of tasks.pay[{id}] beside its record (SUCCESS), which stays as it is. Attempt 1, "
        "called with (5, '***'). What this run sends or writes is real."
    )
    assert told[1:3] == [
        "(state, not stored) CHARGING {'amount': 5}",
        "(progress, not stored) 1 of 2 (50 %)",
    ]
    assert told[3].startswith("(progress, not stored) 2 of 2 (100 %)")
    assert told[4].startswith("Sent for real: tasks.note[")
    assert len(told) == 5
    assert "4711" not in done.stderr
    eventually(lambda: notes(place).count("receipt") == 2, "what the replay has sent is run")
    assert sorted(notes(place)) == [f"{id} False 0", f"{id} True 0", "receipt", "receipt"]
    assert place.record(id) == record


def test_a_failure_and_the_debugger(place: Site) -> None:
    (id,) = place.send("tasks.pay", 0, "4711-0815")
    (record,) = place.ended([id])
    done = celeriac(place, "replay", id, code=1)
    assert done.stdout == "charging 0\n"
    assert done.stderr.endswith(
        "ValueError: nothing to charge *** with\nFAILURE: ValueError: nothing to charge *** with\n"
    )
    assert "line" in done.stderr
    assert "runner.py" not in done.stderr
    done = celeriac(place, "replay", id, "--pdb", code=1, said="p amount * 2 + 42\nq\n")
    assert "(Pdb) 42\n" in done.stdout
    found = json.loads(celeriac(place, "replay", id, "--json", code=1).stdout)
    assert (found["state"], found["replay"], found["sent"]) == ("FAILURE", True, [])
    assert found["error"] == "ValueError: nothing to charge *** with"
    assert place.record(id) == record


def test_a_repeat_is_only_told(place: Site) -> None:
    (id,) = place.send("tasks.pay", -1, "4711-0815")
    eventually(lambda: place.record(id).state == "scheduled", "it waits for its repeat")
    record = place.record(id)
    done = celeriac(place, "replay", id, code=1)
    assert done.stderr.endswith(
        "RETRY: ValueError: below zero. A worker would run it again in 10 min, as retry 2. "
        "The replay ends here.\n"
    )
    assert notes(place) == [f"{id} False 0", f"{id} True 1"]
    assert place.record(id) == record


def test_one_that_runs_just_now(place: Site) -> None:
    gate = place.folder / "gate"
    (id,) = place.send("tasks.count", 3, str(gate))
    eventually(lambda: b"number 3" in (place.record(id).meta or b""), "all that it says is shown")
    record = place.record(id)
    # The replay would wait for the gate as well: it is enough to see what it says first.
    replay = subprocess.Popen(
        [sys.executable, "-m", "celeriac", "-A", "tasks", "replay", id],
        cwd=place.folder, env=place.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert replay.stderr is not None
    assert "beside its record (STARTED)" in replay.stderr.readline()
    assert "has it just now: this is a second run beside that one." in replay.stderr.readline()
    assert "(progress, not stored) 1 of 3" in replay.stderr.readline()
    now = place.record(id)
    assert (now.nonce, now.attempt, now.meta) == (record.nonce, record.attempt, record.meta)
    gate.touch()
    replay.communicate(timeout=DEADLINE)
    assert replay.returncode == 0
    place.ended([id])


def test_what_cannot_be_replayed(place: Site) -> None:
    assert "No task nope is known" in celeriac(place, "replay", "nope", code=4).stderr
    (gone,) = place.send("tasks.note", "x", ignore_result=True)
    place.ended([gone])
    done = celeriac(place, "replay", gone, code=4)
    assert "its arguments are not kept" in done.stderr
    assert "app.tasks['tasks.note'].apply(args=[…])" in done.stderr
    unknown = celeriac(place, "call", "tasks.renamed", "--unchecked").stdout.strip()
    done = celeriac(place, "replay", unknown, code=4)
    assert "Task 'tasks.renamed' is not registered" in done.stderr
    assert "leave out --json" in celeriac(place, "replay", gone, "--pdb", "--json", code=2).stderr
