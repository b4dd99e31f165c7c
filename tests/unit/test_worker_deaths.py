"""Deaths: real processes end in real ways, and the report says how."""

import os
import resource
import signal
import sys

import pytest

from celeriac.worker.deaths import Death, judge

MIB = 1 << 20


def ended(code: str) -> tuple[int, int, int]:
    """Run *code* in a process; returns its pid, wait status and peak memory in KiB."""
    pid = os.posix_spawn(sys.executable, [sys.executable, "-S", "-c", code], os.environ)
    _, status, usage = os.wait4(pid, 0)
    return pid, status, usage.ru_maxrss


@pytest.mark.parametrize("code", [0, 3, 255])
def test_an_exit_status_is_told(code: int):
    pid, status, peak = ended(f"import os; os._exit({code})")
    death = judge(pid, status, peak)
    assert (death.code, death.signal) == (code, None)
    assert death.clean is (code == 0)
    assert death.describe().startswith(f"executor {pid} exited with status {code}")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT])
def test_a_signal_is_told_by_number_and_name(number: signal.Signals):
    code = (
        "import os, resource\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        f"os.kill(os.getpid(), {int(number)})\n"
        "import time; time.sleep(60)"
    )
    death = judge(*ended(code))
    assert (death.code, death.signal) == (None, number)
    assert not death.clean
    assert f"died of signal {int(number)} ({number.name})" in death.describe()


def test_a_signal_without_a_name_is_told_by_its_number():
    nameless = signal.SIGRTMIN + 6
    death = judge(*ended(f"import os; os.kill(os.getpid(), {nameless})"))
    assert f"died of signal {nameless} (SIG{nameless})" in death.describe()


def test_the_peak_of_memory_is_told_in_bytes():
    death = judge(*ended(f"kept = b'x' * {100 * MIB}"))
    # A child's peak begins with what it inherited from this process at the fork.
    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 100 * MIB <= death.peak <= inherited + 400 * MIB
    assert f"its peak memory was {death.peak / MIB:.0f} MiB" in death.describe()


def test_what_the_worker_ordered_is_told_as_its_own_doing_and_never_clean():
    death = judge(1, 0, 1024, ordered="hard time limit of 3 s", oom=True)
    assert not death.clean
    assert not death.oom
    assert "was ended by its worker (hard time limit of 3 s)" in death.describe()
    assert "out of memory" not in death.describe()


@pytest.mark.parametrize(
    ("status", "told"), [(signal.SIGKILL, True), (signal.SIGSEGV, False), (0, False)]
)
def test_out_of_memory_is_suspected_only_of_a_kill_from_outside(status: int, told: bool):
    death = judge(1, status, 1024, oom=True)
    assert death.oom is told
    assert ("probably out of memory" in death.describe()) is told


def test_the_last_stack_is_kept_without_blank_lines_around_it():
    assert judge(1, signal.SIGSEGV, 0, stack="\nFatal: x\n\n").stack == "Fatal: x"


def test_a_death_is_plain_data():
    assert Death(1, None, 0, 0) == Death(1, None, 0, 0)
