"""The README's first example runs as it stands: its module, its worker, its call."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import doc_blocks
import pytest
from source_tree import ROOT

README = "README.md"
READY_SECONDS = 60


def _example() -> tuple[str, list[str], str]:
    """The module, the worker's command line, and the program that calls it."""
    module, caller = (block.text for block in doc_blocks.blocks(README, "python"))
    worker = doc_blocks.blocks(README, "sh")[0].text
    return module, shlex.split(worker), caller


def _installed(command: str) -> str:
    """The command as pip installed it beside this interpreter."""
    found = Path(sysconfig.get_path("scripts")) / command
    assert found.exists(), f"{command} is not installed: pip install -e ."
    return str(found)


@pytest.fixture
def worker(tmp_path):
    """The README's worker, ready, in a folder that holds the README's module."""
    module, command, _ = _example()
    (tmp_path / "tasks.py").write_text(module, "utf-8")
    process = subprocess.Popen(
        [_installed(command[0]), *command[1:]],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(),
    )
    output: list[str] = []
    ready = threading.Event()

    def read() -> None:
        for line in process.stdout:
            output.append(line)
            if "ready." in line:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert ready.wait(READY_SECONDS), "".join(output)
        assert process.poll() is None, "".join(output)
        yield process, output, reader
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()


def _environment() -> dict[str, str]:
    """Ours without settings, and such that what a task prints is not kept back."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("CELER")}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def test_the_example_runs(worker, tmp_path):
    process, output, reader = worker
    _, _, caller = _example()
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", caller],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env=_environment(),
    )
    assert run.returncode == 0, f"{run.stderr}\n{''.join(output)}"
    first, second = run.stdout.split()
    assert first in {"True", "False"}
    assert second == "sent"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, "".join(output)
    reader.join(10)
    text = "".join(output)
    assert "To: user@example.com\n" in text
    assert "tasks.send_email[" in text
    assert "succeeded in" in text


def test_the_module_is_the_example_in_the_repository():
    assert _example()[0] == (ROOT / "examples/quickstart/tasks.py").read_text("utf-8")


def test_code_comes_early_and_the_page_stays_short():
    assert doc_blocks.blocks(README, "python")[0].line < 25
    assert doc_blocks.text_of(README).count("\n") < 120
