"""Kinship: orphans come to the sub-reaper, children end with the process they are armed against."""

import os
import select
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's own")

ORPHAN = """
import os
from celeriac.worker.kinship import become_subreaper
assert become_subreaper()
reader, writer = os.pipe()
between = os.fork()
if between == 0:
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)  # until told
        os._exit(7 if os.getppid() == int(os.environ["PARENT"]) else 8)
    os._exit(0)
"""
# The pid the orphan compares with is known only to the process itself.
ORPHAN = (
    "import os\nos.environ['PARENT'] = str(os.getpid())\n"
    + ORPHAN
    + """
os.waitpid(between, 0)
os.write(writer, b"!")
_, status = os.wait()
print(os.waitstatus_to_exitcode(status))
"""
)

ARMED = """
import os, signal, time
from celeriac.worker.kinship import die_with
parent = os.getpid()
if os.fork() == 0:
    {between}
    die_with(parent)
    print(os.getpid(), flush=True)
    while True:
        signal.pause()
while True:
    signal.pause()
"""

ABANDONED = """
import os
from celeriac.worker.kinship import die_with
die_with(os.getppid() + 1, timeout=0.05)
print("still here")
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_an_orphan_becomes_a_child_of_the_subreaper_which_can_wait_for_it():
    done = run(ORPHAN)
    assert (done.stdout, done.stderr) == ("7\n", "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_at_once_with_the_parent_it_is_armed_against(number: signal.Signals):
    process = subprocess.Popen(
        [sys.executable, "-c", ARMED.format(between="")], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    pidfd = os.pidfd_open(int(process.stdout.readline()))
    try:
        ears = select.poll()
        ears.register(pidfd, select.POLLIN)
        assert ears.poll(0) == []
        process.send_signal(number)
        process.wait(60)
        assert ears.poll(60_000), "the child outlived its parent"
    finally:
        os.close(pidfd)
        process.stdout.close()


def test_a_double_forked_child_waits_until_it_has_come_to_its_parent_and_is_then_armed():
    code = "from celeriac.worker.kinship import become_subreaper\nbecome_subreaper()\n"
    code += ARMED.format(between="time.sleep(0)\n    if os.fork() != 0:\n        os._exit(0)")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    pidfd = os.pidfd_open(int(process.stdout.readline()))
    try:
        process.kill()
        process.wait(60)
        ears = select.poll()
        ears.register(pidfd, select.POLLIN)
        assert ears.poll(60_000), "the child outlived its parent"
    finally:
        os.close(pidfd)
        process.stdout.close()


def test_a_process_whose_parent_is_another_ends_instead_of_living_on_unarmed():
    done = run(ABANDONED)
    assert (done.returncode, done.stdout) == (1, "")


def test_parent_zero_means_nobody_to_end_with():
    done = run("from celeriac.worker.kinship import die_with\ndie_with(0)\nprint('here')")
    assert (done.returncode, done.stdout) == (0, "here\n")
