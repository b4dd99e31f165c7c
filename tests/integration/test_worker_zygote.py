"""The zygote dies at the worst moment: together with the executors it would have replaced."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from workers import REDIS_LATER, eventually, site, site_on


@pytest.mark.parametrize("kind", REDIS_LATER)
def test_a_worker_survives_the_death_of_its_zygote_and_all_its_executors_at_once(
    kind: str, tmp_path: Path, shared
):
    with site_on(kind, tmp_path, shared) as place:
        worker = place.worker().ready()
        for _ in range(2):
            eventually(
                lambda: worker.titled("zygote") and len(worker.titled("executor")) >= 2,
                "a zygote and two executors",
            )
            for process in worker.titled("executor") + worker.titled("zygote"):
                os.kill(process.pid, signal.SIGKILL)
            tasks = place.send("tasks.traced", count=20)
            assert {record.state for record in place.ended(tasks)} == {"succeeded"}
        assert worker.text().count("The zygote ended with status -9") == 2
        assert worker.stop() == 0


def test_what_all_executors_need_is_imported_once(tmp_path: Path):
    """What each imported by itself after the fork would be memory of its own."""
    executors = 6
    with site(tmp_path) as place:
        worker = place.worker("-c", str(executors), PYTHONPROFILEIMPORTTIME="1").ready()
        eventually(lambda: len(worker.titled("executor")) == executors, "all executors")
        tasks = place.send("tasks.traced", count=4 * executors)
        assert {record.state for record in place.ended(tasks)} == {"succeeded"}
        assert worker.stop() == 0
        names = [line.rpartition("|")[2].strip() for line in worker.text().splitlines()
                 if line.startswith("import time:")]  # fmt: skip
    assert "celeriac.runner" in names
    assert [name for name, times in Counter(names).items() if times >= executors] == []


UPDATED = """
import os
if os.path.exists("updated"):  # as if the library were, under a worker that runs
    import celeriac
    celeriac.__version__ = "9.9"
"""
THREAD = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


RECEIVER = """
from celeriac.signals import heartbeat_sent
heartbeat_sent.connect(lambda **_: None, weak=False)
"""


@pytest.mark.parametrize("how", ["zygote", "executor", "hooks"])
def test_a_worker_that_no_process_can_join_any_more_ends(how: str, tmp_path: Path):
    """What they say to each other is of one version. It must not look alive with nobody to run
    anything; what runs is finished first, and what waits is left to others, uncharged."""
    with site(tmp_path) as place:
        (place.folder / "sitecustomize.py").write_text(UPDATED)
        if how != "zygote":  # then each process is started as a new interpreter
            with (place.folder / "tasks.py").open("a") as file:
                file.write(THREAD + RECEIVER)
        worker = place.worker("-c", "2", PYTHONPATH=str(place.folder)).ready()
        eventually(lambda: len(worker.titled("celeriac: executor")) == 2, "two executors")
        if how == "hooks":
            eventually(lambda: worker.titled("celeriac: hooks"), "who calls the receiver")
        (runs,) = place.send("tasks.nap_on")
        (begun,) = place.wait_ledger("start", runs)
        (place.folder / "updated").touch()
        doomed = next(each for each in worker.titled(f"celeriac: {how}") if each.pid != begun.pid)
        os.kill(doomed.pid, signal.SIGKILL)
        worker.wait_for("Celeriac 9.9 has been installed while this worker runs as ")
        worker.wait_for("It stops: running tasks have 20 s to finish")
        (waits,) = place.send("tasks.add", 1, 2)
        (place.folder / f"end-{runs}").touch()
        assert worker.process.wait(60) == 1
        assert "could not import" not in worker.text()
        assert "Traceback" not in worker.text()
        assert worker.text().count("has been installed") == 1
        ended, left = place.record(runs), place.record(waits)
        assert (ended.state, ended.attempt, ended.crashes) == ("succeeded", 1, 0)
        assert (left.state, left.attempt, left.losses) == ("queued", 0, 0)
        # As a service manager would: the worker that is started again is of one version.
        mate = place.worker(PYTHONPATH=str(place.folder)).ready()
        assert place.ended([waits])[0].state == "succeeded"
        assert mate.stop() == 0
