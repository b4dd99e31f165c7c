"""A worker in a container with little memory: a real control group, a real OOM killer."""

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from workers import REDIS_LATER, Site, eventually, site_on

LIMIT = 400 << 20
#: MiB that a task takes at once before it grows.
FIRST = 220
ROOT = Path("/sys/fs/cgroup")


def make_group() -> Path:
    """A control group of LIMIT bytes, version 1 or 2."""
    version_1 = ROOT / "memory"
    base = version_1 if version_1.is_dir() else ROOT
    group = base / f"celeriac-test-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    name = "memory.limit_in_bytes" if base == version_1 else "memory.max"
    (group / name).write_text(str(LIMIT))
    return group


@pytest.fixture(params=REDIS_LATER)
def place(tmp_path: Path, request, shared) -> Iterator[Site]:
    """A site whose workers live in a group of their own."""
    try:
        group = make_group()
    except OSError as error:
        pytest.skip(f"control groups cannot be made here (run as root on Linux): {error}")
    with site_on(request.param, tmp_path, shared) as found:
        found.environment["CGROUP"] = str(group)
        yield found
    eventually(lambda: not (group / "cgroup.procs").read_text(), "everybody has left the group")
    group.rmdir()


def enter_group(place: Site) -> None:
    """Have the zygote-to-be and all below start inside the group."""
    # The worker imports tasks.py in the zygote only; the whole tree has to be in the group, so
    # the site's interpreter hook puts the process there before anything else happens.
    (place.folder / "sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('CGROUP'):\n"
        "    with open(os.environ['CGROUP'] + '/cgroup.procs', 'w') as file:\n"
        "        file.write(str(os.getpid()))\n"
    )
    path = os.environ.get("PYTHONPATH", "")
    place.environment["PYTHONPATH"] = f"{place.folder}{os.pathsep}{path}"


def peak(reason: str) -> int:
    """The peak memory that a reason tells, in MiB."""
    found = re.search(r"its peak memory was (\d+) MiB", reason)
    assert found is not None, reason
    return int(found[1])


def test_the_largest_executor_is_ended_before_the_kernel_kills_all(place: Site) -> None:
    enter_group(place)
    worker = place.worker("-c", "2").ready()
    place.environment.pop("CGROUP")  # clients stay outside
    (innocent,) = place.send("tasks.nap_on")
    (greedy,) = place.send("tasks.grow", FIRST, 0.25)
    place.wait_ledger("start", innocent)
    eventually(lambda: place.record(greedy).crashes >= 1, "a crash is charged")
    record = place.record(greedy)
    assert "memory: the container uses" in record.reason
    assert FIRST < peak(record.reason) < 2 * LIMIT >> 20
    place.store.queue.revoke([greedy], terminate="SIGKILL")
    (place.folder / f"end-{innocent}").touch()
    records = place.ended([innocent, greedy])
    assert (records[0].state, records[0].crashes) == ("succeeded", 0)
    assert len(place.ledger("start", innocent)) == 1
    assert records[1].state in {"revoked", "dead"}
    assert "has grown to" in worker.text()


def test_a_death_by_the_oom_killer_is_told_as_such(place: Site) -> None:
    enter_group(place)
    place.worker("-c", "1").ready()
    place.environment.pop("CGROUP")
    for _ in range(10):
        (greedy,) = place.send("tasks.hold_memory", 800)
        (record,) = place.ended([greedy])
        assert record.state == "dead"
        assert record.crashes == 3
        if "SIGKILL" in record.reason:
            break
        # The worker looked just when the memory was nearly full, and was quicker than the kernel.
        assert "memory: the container uses" in record.reason
    assert "probably out of memory" in record.reason
    assert FIRST < peak(record.reason) < 2 * LIMIT >> 20
    (after,) = place.send("tasks.add", 1, 2)
    assert place.ended([after])[0].state == "succeeded"
