"""``kill -9`` of every kind of process, 200 times at random: nothing acknowledged is lost."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from servers import server
from tallies import Onlooker
from workers import EVERY_STORE, HERE, Site, Worker, site

KILLS = 200
#: At least so many tasks are to be sent meanwhile; a slow machine takes more kills for it.
TASKS = 300
#: How many of the last tasks are looked at after each kill.
SEEN = 100


class Scene:
    """Two workers and a client; whoever is killed is replaced."""

    def __init__(self, place: Site) -> None:
        self.place = place
        self.workers = [place.worker("-l", "WARNING") for _ in range(2)]
        self.stop_file = place.folder / "stop"
        self.acknowledged = place.folder / "acknowledged"
        self.acknowledged.touch()
        (place.folder / "client.py").write_text((HERE / "kill_client.py").read_text())
        self.client = self.start_client()
        self.kills: Counter[str] = Counter()

    def start_client(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "client.py", str(self.acknowledged), str(self.stop_file)],
            cwd=self.place.folder,
            env=self.place.environment,
        )

    def strike(self, rng: random.Random) -> None:
        """Kill one process of a random kind and see that there is a replacement."""
        self.replace_the_ended()
        kind = rng.choices(["executor", "supervisor", "zygote", "client"], [12, 3, 3, 2])[0]
        index = rng.randrange(2)
        worker = self.workers[index]
        if kind == "client":
            self.client.kill()
            self.client.wait()
            self.client = self.start_client()
        elif kind == "supervisor":
            worker.kill()
            self.workers[index] = self.place.worker("-l", "WARNING")
        elif not self.kill_child(worker, kind, rng):
            return
        self.kills[kind] += 1

    def replace_the_ended(self) -> None:
        """A worker whose first zygote is killed before it has imported the application ends, and
        says so; a service manager would start another."""
        for index, worker in enumerate(self.workers):
            if worker.process.poll() is not None:
                assert "before the import was done" in worker.text(), worker.text()
                self.workers[index] = self.place.worker("-l", "WARNING")

    @staticmethod
    def kill_child(worker: Worker, kind: str, rng: random.Random) -> bool:
        found = worker.titled(kind)
        if not found:
            return False
        try:
            rng.choice(found).kill()
        except psutil.NoSuchProcess:
            return False
        return True

    def ids(self) -> list[str]:
        # A client killed inside write() may leave half a line: that id was not acknowledged.
        text = self.acknowledged.read_text()
        return [line for line in text.splitlines() if len(line) == 36]


@pytest.fixture(params=EVERY_STORE)
def broker(request):
    if request.param == "sqlite":
        yield ""
        return
    with server(request.param, appendonly="yes") as found:
        yield found.url


# Kills for 400 s at most, and then what is left has to end.
@pytest.mark.timeout(600)
def test_200_kills_lose_nothing(tmp_path: Path, broker: str, tally) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with site(tmp_path, "kill_tasks.py", broker, noting=True) as place:
        scene, onlooker = Scene(place), Onlooker()
        try:
            deadline = time.monotonic() + 400
            while sum(scene.kills.values()) < KILLS or len(scene.ids()) <= TASKS:
                assert time.monotonic() < deadline, f"too slow: {scene.kills}"
                time.sleep(rng.expovariate(1 / 0.1))  # the moment of a kill has to be random
                scene.strike(rng)
                onlooker.see(place.store.inspection.get(scene.ids()[-SEEN:]))
        finally:
            scene.stop_file.touch()
            scene.client.wait(60)
        ids = scene.ids()
        assert len(ids) > TASKS
        # The last kills may have met both workers while they were starting.
        place.worker("-l", "WARNING")
        assert len(set(ids)) == len(ids)
        faults = sum(scene.kills.values())
        records = tally(place, ids, deadline=90, faults=faults, onlooker=onlooker)
        assert Counter(record.state for record in records) == {"succeeded": len(ids)}
        starts = Counter(line.id for line in place.ledger("start") if line.id in set(ids))
        print(
            f"kills {dict(scene.kills)}, {len(ids)} tasks, "
            f"{sum(starts.values()) - len(ids)} repeated starts"
        )
