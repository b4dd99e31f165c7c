"""Row 49 of the fault matrix with code of old: commits of before, from the history of this
repository, beside that of today on one store.

`test_versions.py` pretends a later version, `test_golden_stores.py` has what old ones wrote.
"""

import io
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from workers import DEADLINE, Site, client_of, eventually, site_on

from celeriac import Celeriac
from celeriac.stores.redis import schema as redis_schema
from celeriac.stores.sqlite import schema as sqlite_schema

ROOT = Path(__file__).parents[2]
#: The last commits of schema 3 of SQLite and of schema 1 of Redis, which had no workflows yet; and
#: the first one of those of today.
BEFORE, SINCE = {"sqlite": "cf85d6f", "redis": "8b3a3cb"}, "a688423"
VERSIONS = {"sqlite": (3, sqlite_schema.VERSION), "redis": (1, redis_schema.VERSION)}
#: What sends one of each and prints its kind, number and id: tasks, and workflows.
SEND = (
    "from tasks import again, double\n"
    "for n in range({count}):\n"
    "    print('late', n, double.apply_async((n,), countdown=0.5).id)\n"
    "    print('again', n, again.delay(n).id)\n"
)
FLOWS = (
    "from celeriac import chain, chord\n"
    "from tasks import again, double, total\n"
    "for n in range({count}):\n"
    "    line = chain(double.s(n), double.s(), again.s()).delay()\n"
    "    whole = chord([double.s(each) for each in range(6)], total.s()).delay()\n"
    "    print('chain', n, line.id)\n"
    "    print('chord', n, whole.id)\n"
)

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """A function: the folder to import the code of a commit from."""

    def unpacked(commit: str) -> str:
        folder = tmp_path_factory.getbasetemp() / f"code-{commit}"
        if not folder.exists():
            made = subprocess.run(
                ["git", "archive", commit, "src"], cwd=ROOT, capture_output=True, check=False
            )
            assert made.returncode == 0, (
                f"this test needs the history of the repository (git fetch --unshallow): "
                f"{made.stderr.decode()}"
            )
            with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
                archive.extractall(folder, filter="data")
        return str(folder / "src")

    return unpacked


@pytest.fixture(params=["sqlite", "redis"])
def place(tmp_path: Path, request, shared):
    with site_on(request.param, tmp_path, shared, "deploy_tasks.py") as made:
        made.environment.pop("PYTHONPATH", None)
        yield made


@pytest.fixture
def kind(place: Site) -> str:
    return place.broker.partition(":")[0]


@pytest.fixture
def app(place: Site):
    with client_of(place) as made:
        yield made


def send(place: Site, count: int, code: str = "", flows: bool = True) -> dict[str, int]:
    """Tasks that repeat or have an eta, and *flows*: id → the value that each must come to."""
    more = {"PYTHONPATH": code} if code else {}
    found = {}
    for line in place.python((SEND + FLOWS * flows).format(count=count), **more).splitlines():
        what, number, id = line.split()
        n = int(number)
        values = {"chain": 4 * n, "chord": 2 * sum(range(6)), "late": 2 * n, "again": n}
        found[id] = values[what]
    return found


def values(app: Celeriac, wanted: dict[str, int]) -> dict[str, int]:
    return {id: app.AsyncResult(id).get(timeout=DEADLINE) for id in wanted}


#: Says where the code comes from that runs, and which schema the store has by what it knows.
TELL = (
    "import celeriac\n"
    "from tasks import app\n"
    "print(celeriac.__file__)\n"
    "print(app.store.inspection.facts()['schema version'])\n"
)


def runs_with(place: Site, code: str) -> int:
    """The version of the store's schema as *code* sees it, and it is this code that runs."""
    file, version = place.python(TELL, PYTHONPATH=code).split()
    assert file.startswith(f"{code}/celeriac/"), file
    return int(version)


def ran_once(place: Site) -> None:
    """No part of them ran to its end twice, but for what its worker took along before it could
    say so."""
    ends = Counter(line.id for line in place.ledger("end"))
    twice = [id for id, count in ends.items() if count > 1 + place.record(id).losses]
    assert twice == []


def test_what_old_code_left_is_finished_and_it_is_refused_from_then_on(
    place: Site, kind: str, app: Celeriac, code
) -> None:
    old, flows = code(BEFORE[kind]), kind == "sqlite"
    gate = place.folder / "gate"
    worker = place.worker("-c", "2", PYTHONPATH=old).ready()
    (waits,) = place.python(
        f"from tasks import wait_for\nprint(wait_for.delay({str(gate)!r}).id)\n", PYTHONPATH=old
    ).split()
    place.wait_ledger("start", waits)
    wanted = send(place, 8, old, flows)
    eventually(lambda: len(place.ledger("end")) >= 10, "some of it was done by old code")
    worker.kill()  # in the middle of whatever it was about
    wanted |= send(place, 2, old, flows)
    before, now = VERSIONS[kind]
    assert runs_with(place, old) == before != now
    gate.touch()
    # Today's client is the first to open it, and migrates it.
    assert app.store.inspection.facts()["schema version"] == now
    mate = place.worker("-c", "2").ready()
    assert values(app, wanted) == wanted
    assert app.AsyncResult(waits).get(timeout=DEADLINE) == str(gate)
    ran_once(place)
    for words in (["worker"], ["status"]):
        refused = subprocess.run(
            [sys.executable, "-m", "celeriac", "-A", "tasks", *words],
            cwd=place.folder, env={**place.environment, "PYTHONPATH": old},
            capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
        assert refused.returncode not in (0, None)
        told = refused.stdout + refused.stderr
        assert f"{now}" in told, told
        assert "schema" in told, told
    # It has done no harm.
    later = send(place, 1)
    assert values(app, later) == later
    assert mate.stop() == 0


def test_old_and_new_code_of_one_schema_work_side_by_side(
    place: Site, kind: str, app: Celeriac, code
) -> None:
    """As in a deploy: each sends, each works, each may be killed, and results are read by both."""
    old = code(SINCE)
    workers = [place.worker("-c", "1", PYTHONPATH=each) for each in (old, os.devnull)]
    for worker in workers:
        worker.ready()
    assert runs_with(place, old) == VERSIONS[kind][1]
    wanted = send(place, 6, old) | send(place, 6)
    eventually(lambda: len({line.pid for line in place.ledger("start")}) >= 2, "both have worked")
    workers[0].kill()
    assert values(app, wanted) == wanted
    # The other way round: the new one dies, and the old one goes on.
    back = place.worker("-c", "1", PYTHONPATH=old).ready()
    more = send(place, 6) | send(place, 6, old)
    workers[1].kill()
    told = place.python(
        "import tasks\n"
        f"print([tasks.app.AsyncResult(id).get(timeout=60) for id in {list(more)!r}])\n",
        PYTHONPATH=old,
    )
    assert told.strip() == str(list(more.values()))
    ran_once(place)
    assert back.stop() == 0
