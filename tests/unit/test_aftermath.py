"""What is left over is found (``support/aftermath.py``): each test spoils one thing."""

import os
import subprocess
from types import SimpleNamespace

import aftermath
import psutil
import pytest
from workers import eventually

from celeriac.clock import ManualClock
from celeriac.records import Manifest, TaskFacts, Want
from celeriac.stores.base import Options
from celeriac.stores.memory import make_store
from celeriac.testing.conformance import message
from celeriac.worker.duties.hostlock import lock_folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    options = Options(clock=ManualClock())
    return SimpleNamespace(store=make_store("memory://", options), options=options, workers=[])


@pytest.fixture
def living():
    """A process that lives, as a worker."""
    process = subprocess.Popen(["sleep", "100"])
    yield SimpleNamespace(process=process, pid=process.pid)
    process.kill()
    process.wait()


def register(place, pid=1):
    place.store.queue.register("w1", Manifest({"job": TaskFacts()}, hostname="here", pid=pid))


def test_a_lease_of_who_is_dead_is_found(place) -> None:
    place.store.queue.enqueue([message("a")])
    register(place)
    place.store.queue.exchange("w1", 1, 1, [], [], ["celery"], Want(free=1))
    assert aftermath.problems(place, 0.0) == []
    place.options.clock.advance(place.options.lease + 1)
    assert aftermath.problems(place, 0.0) == ["a is leased, held by w1, who does not live"]


def test_a_lock_file_that_nobody_holds_is_found_where_somebody_could_bury_it(place, living) -> None:
    folder = lock_folder(place.store.url, place.options.namespace)
    (folder / "gone.lock").touch()
    (folder / "half").touch()
    assert aftermath.problems(place, 0.0) == []
    place.workers.append(living)
    register(place, living.pid)
    assert sorted(aftermath.problems(place, 0.0)) == [
        "half in the folder of lock files", "lock file of gone, who is dead",
    ]  # fmt: skip


def test_a_process_that_outlives_its_worker_is_found(place) -> None:
    started = "exec -a 'celeriac: executor 1 here' sleep 100 >/dev/null & echo $!"
    leader = subprocess.Popen(
        ["bash", "-c", started], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    pid = int(leader.communicate()[0])
    assert leader.wait() == 0
    place.workers.append(SimpleNamespace(process=leader, pid=leader.pid))
    try:
        (found,) = aftermath.problems(place, 0.0) if _titled(pid) else [""]
        assert f"pid={pid}" in found
        assert found.endswith(f"outlived its worker {leader.pid}")
    finally:
        os.kill(pid, 9)


def _titled(pid: int) -> bool:
    """Wait until bash has become it."""
    eventually(lambda: "celeriac" in " ".join(psutil.Process(pid).cmdline()[:1]), "it is titled")
    return True
