"""``celeriac tree`` with real workers, on SQLite and on Redis."""

import json
import os
import signal
import subprocess
import sys

import pytest
from workers import DEADLINE, eventually, site

from celeriac.cli import exits


@pytest.fixture(params=["sqlite", "redis"])
def place(tmp_path, request, shared):
    broker, namespace = "", ""
    if request.param == "redis":
        broker, namespace = shared.url("redis"), shared.namespace()
    with site(tmp_path, "flow_tasks.py", broker, namespace) as made:
        yield made


def celeriac(place, *args, **more):
    """A command of the command line, begun."""
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen(
        [sys.executable, "-m", "celeriac", "-A", "tasks", *args],
        cwd=place.folder, env={**place.environment, "TERM": "xterm", "COLUMNS": "200"},
        text=True, **given,
    )  # fmt: skip


def tree(place, *args):
    """Exit code and output of ``celeriac tree``."""
    started = celeriac(place, "tree", *args)
    out, err = started.communicate(timeout=DEADLINE)
    assert err == "" or started.returncode == exits.NOT_FOUND, err
    return started.returncode, out, err


def send(place, code):
    """The id of what *code* makes ``result``."""
    return place.python(
        f"from celeriac import chain, chord, group\nfrom tasks import *\n{code}\nprint(result.id)"
    ).strip()


def test_a_workflow_from_its_sending_to_its_end(place):
    id = send(place, "result = (download_file.s('x') | fail.s() | echo.s()).delay()")
    code, out, _ = tree(place, id)
    assert code == exits.TIMED_OUT
    assert out.splitlines()[0] == "PENDING: 3 tasks: 3 PENDING"
    assert "Waiting for a worker: none alive reads queue 'celery'." in out
    place.worker().ready()
    place.ended([id])
    code, out, _ = tree(place, id)
    lines = out.splitlines()
    assert code == exits.TASK_FAILED
    assert lines[0].startswith("FAILURE: 3 tasks: 2 FAILURE, 1 SUCCESS; ")
    assert lines[1] == "Failed:"
    assert lines[2].startswith("  tasks.fail(…)[")
    assert lines[2].endswith("]: ValueError: no such file")
    assert lines[3].startswith('    File "')
    assert lines[3].endswith(", in fail")
    assert lines[5].startswith(f"FAILURE chain of 3 {id}")
    assert [line.split("[")[0] for line in lines[6:9]] == [
        "├─ SUCCESS tasks.download_file", "├─ FAILURE tasks.fail", "└─ FAILURE tasks.echo",
    ]  # fmt: skip
    failed = lines[2].partition("[")[2].partition("]")[0]
    assert lines[9:] == [
        "",
        "What to do:",
        f"  More of what failed: celeriac -A tasks why {failed}",
        f"  To run it again, and go on from there: celeriac -A tasks retry {failed}",
    ]
    code, out, _ = tree(place, id, "--json")
    data = json.loads(out)
    assert (code, data["ready"], data["failed"]) == (exits.TASK_FAILED, True, True)
    assert data["counts"] == {"SUCCESS": 1, "FAILURE": 2}
    assert data["children"][0]["worker"]
    why = celeriac(place, "why", data["children"][0]["id"])
    assert (
        f"The whole workflow: celeriac -A tasks tree {id}" in why.communicate(timeout=DEADLINE)[0]
    )


def test_groups_replacements_added_members_and_what_was_sent(place):
    place.worker().ready()
    id = send(
        place,
        "result = (group(split.s('a b') | echo.s(), grow.s(1), sends.si()) | echo.s()).delay()",
    )
    place.ended([id])
    eventually(lambda: "sent SUCCESS tasks.resize_image" in tree(place, id)[1], "what was sent")
    code, out, _ = tree(place, id)
    assert code == exits.OK
    assert out.splitlines()[0].startswith("SUCCESS: 8 tasks: 8 SUCCESS; ")
    for words in ("in its place SUCCESS group of 2 ", "added SUCCESS tasks.grow[", "then SUCCESS"):
        assert words in out
    group = json.loads(tree(place, id, "--json")[1])["children"][0]
    for member in (group["id"], group["children"][1]["id"]):
        assert tree(place, member) == (exits.OK, out, "")


def test_unknown_ids_and_single_tasks(place):
    code, out, err = tree(place, "nobody")
    assert (code, out) == (exits.NOT_FOUND, "")
    assert err.startswith("No task nobody is known to this store")
    (id,) = place.send("tasks.echo", 1)
    code, out, _ = tree(place, id)
    assert code == exits.TIMED_OUT
    assert out.splitlines()[1].startswith(f"PENDING tasks.echo[{id}]: Waiting for a worker")


def revoke(place, *args):
    started = celeriac(place, "revoke", *args)
    out, err = started.communicate(timeout=DEADLINE)
    assert err == ""
    return started.returncode, out


def test_a_group_is_revoked_by_its_id(place):
    """Steps of its chains, and what gathers it, too; what others sent, and what follows, not."""
    id = send(place, "result = group(echo.s(n) | echo.s() for n in range(2)).delay()")
    code, out = revoke(place, id)
    assert (code, out) == (exits.OK, f"{id}  a group: 4 tasks revoked\n")
    code, out, _ = tree(place, id)
    lines = out.splitlines()
    assert code == exits.TASK_FAILED
    assert lines[:2] == ["REVOKED: 4 tasks: 4 REVOKED", "Revoked:"]
    first = [line.partition("[")[2].partition("]")[0] for line in lines[2:4]]
    assert lines[-1] == (
        f"  To run after all what was revoked: celeriac -A tasks retry {' '.join(first)}"
    )
    assert "Failed:" not in out
    assert revoke(place, id) == (exits.OK, f"{id}  a group: all of its tasks have ended\n")
    # In the middle of a workflow; one that is gathered has its id on the task that gathers it.
    id = send(place, "result = (group(echo.s(n) for n in range(2)) | echo.s()).delay()")
    group = json.loads(tree(place, id, "--json")[1])["children"][0]
    assert revoke(place, group["id"])[1].endswith("  a group: 2 tasks revoked\n")
    id = send(place, "result = chord([group(echo.s(1), echo.s(2))], echo.s()).delay()")
    data = json.loads(tree(place, id, "--json")[1])
    todo = [data]
    gathered = next(
        each for each in todo if todo.extend(each["children"]) or each["task"] == "celeriac.collect"
    )
    code, out = revoke(place, gathered["id"], "--json")
    assert code == exits.OK
    assert set(json.loads(out).values()) == {"revoked"}
    assert len(json.loads(out)) == 3


def held_group(place):
    gate = place.folder / "gate"
    id = send(place, f"result = group(held.s({str(gate)!r}), echo.s(1), echo.s(2)).apply_async()")
    return id, gate


def test_watch_as_json_is_an_object_a_change_until_the_end(place):
    place.worker().ready()
    id, gate = held_group(place)
    watching = celeriac(place, "tree", id, "--watch", "--json")
    seen = []
    while not seen or seen[-1]["counts"] != {"SUCCESS": 2, "STARTED": 1}:
        seen.append(json.loads(watching.stdout.readline()))
    held = seen[-1]["children"][0]
    assert held["progress"] is None or held["progress"]["fraction"] == 0.5
    gate.touch()
    out, err = watching.communicate(timeout=DEADLINE)
    assert (watching.returncode, err) == (exits.OK, "")
    last = json.loads(out.splitlines()[-1])
    assert (last["ready"], last["counts"]) == (True, {"SUCCESS": 3})


def test_watch_prints_once_a_change_where_there_is_no_terminal(place):
    place.worker().ready()
    id, gate = held_group(place)
    watching = celeriac(place, "tree", id, "--watch")
    lines = []
    while "STARTED tasks.held" not in "".join(lines[-3:]):
        lines.append(watching.stdout.readline())
    gate.touch()
    out, err = watching.communicate(timeout=DEADLINE)
    assert (watching.returncode, err) == (exits.OK, "")
    assert out.rstrip().splitlines()[-4].startswith(f"SUCCESS group of 3 {id}")
    whole = "".join(lines) + out
    assert whole.count(f"group of 3 {id}") <= 6


def test_watch_draws_in_place_on_a_terminal(place):
    place.worker().ready()
    id, gate = held_group(place)
    master, slave = os.openpty()
    watching = celeriac(place, "tree", id, "--watch", stdout=slave)
    os.close(slave)
    drawn = b""
    try:
        while drawn.count(b"\x1b[J") < 2 or b"1 of 2 (50 %)" not in drawn:
            drawn += os.read(master, 65536)
        gate.touch()
        while True:
            drawn += os.read(master, 65536)
    except OSError:  # all is read, and nobody writes any more
        os.close(master)
    _, err = watching.communicate(timeout=DEADLINE)
    assert (watching.returncode, err) == (exits.OK, "")
    text = drawn.decode().replace("\r\n", "\n")
    end = text.rpartition("\x1b[J")[2].splitlines()
    assert end[0].startswith("SUCCESS: 3 tasks: 3 SUCCESS; ")
    assert len(end) == 5


def test_ctrl_c_ends_the_watching_alone(place):
    place.worker().ready()
    id, gate = held_group(place)
    watching = celeriac(place, "tree", id, "--watch", "--json")
    assert watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=DEADLINE)
    assert (watching.returncode, err) == (exits.INTERRUPTED, "")
    gate.touch()
    assert eventually(lambda: tree(place, id)[0] == exits.OK, "the workflow went on")


def test_the_result_of_a_group_is_followed_by_its_id(place):
    place.worker().ready()
    id, gate = held_group(place)
    following = celeriac(place, "result", id, "--follow", "--json")
    seen = []
    while not seen or seen[-1]["progress"]["current"] != 2.5:
        seen.append(json.loads(following.stdout.readline()))
    assert (seen[-1]["state"], seen[-1]["progress"]["total"]) == ("STARTED", 3)
    gate.touch()
    out, err = following.communicate(timeout=DEADLINE)
    assert (following.returncode, err) == (exits.OK, "")
    last = json.loads(out.splitlines()[-1])
    assert (last["state"], last["result"]) == ("SUCCESS", [str(gate), 1, 2])
    assert last["progress"]["fraction"] == 1.0


def test_the_result_of_a_group_without_success_names_its_members(place):
    place.worker().ready()
    id = send(place, "result = group(echo.s(1), fail.s()).apply_async()")
    eventually(lambda: tree(place, id)[0] == exits.TASK_FAILED, "it fails")
    done = celeriac(place, "result", id)
    out, err = done.communicate(timeout=DEADLINE)
    assert (done.returncode, out) == (exits.TASK_FAILED, "")
    assert err.startswith("FAILURE: 1 of 2 members:\n")
    assert "FAILURE: ValueError: no such file\n" in err
    assert f"See: celeriac -A tasks tree {id}" in err


def test_results_in_another_store(place, tmp_path):
    place.environment["CELERIAC_RESULT_BACKEND"] = f"sqlite:///{tmp_path}/results.db"
    place.worker().ready()
    id = send(place, "result = (download_file.s('x') | fail.s() | echo.s()).delay()")
    place.ended([id])
    code, out, _ = tree(place, id)
    assert code == exits.TASK_FAILED
    assert "ValueError: no such file" in out
    assert ", in fail" in out
