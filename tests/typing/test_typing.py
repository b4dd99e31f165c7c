"""What type checkers say of programs that use the public names."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MARK = "# error"


def marked(name):
    """The lines that are marked as wrong."""
    lines = (HERE / name).read_text("utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith(MARK)}


def run(*command):
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False, cwd=ROOT
    )


def mypy(name):
    """Line -> message, as mypy finds them."""
    done = run(
        "mypy", "--strict", "--no-error-summary", "--hide-error-context", "--no-color-output",
        "--config-file", "", "--cache-dir", ".mypy_cache/typing", str(HERE / name),
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found = {}
    for line in done.stdout.splitlines():
        match = re.match(r".*?([^/]+\.py):(\d+): error: (.*)", line)
        if match:
            assert match[1] == name, f"an error in the package itself: {line}"
            found[int(match[2])] = match[3]
    return found


def pyright(name):
    """Line -> message, as pyright finds them."""
    done = run("pyright", "--outputjson", "--pythonpath", sys.executable, str(HERE / name))
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    return {
        each["range"]["start"]["line"] + 1: each["message"]
        for each in json.loads(done.stdout)["generalDiagnostics"]
        if each["severity"] == "error"
    }


@pytest.mark.slow
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_a_right_program_has_no_errors(checker):
    assert checker("good.py") == {}


@pytest.mark.slow
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_every_mistake_is_found_and_nothing_else(checker):
    found = checker("bad.py")
    expected = marked("bad.py")
    assert len(expected) >= 15
    assert {line: text for line, text in found.items() if line not in expected} == {}
    assert expected - set(found) == set()
