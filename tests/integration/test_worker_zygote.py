"""The zygote dies at the worst moment: together with the executors it would have replaced."""

import os
import signal
from pathlib import Path

from workers import eventually, site


def test_a_worker_survives_the_death_of_its_zygote_and_all_its_executors_at_once(tmp_path: Path):
    with site(tmp_path) as place:
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
