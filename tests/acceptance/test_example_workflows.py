"""The three workflows of examples/workflows, as its README has them run, on SQLite and Redis."""

import doctest
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import doc_blocks
import doc_scenes
import pytest
from servers import server
from source_tree import ROOT
from workers import eventually

EXAMPLE = ROOT / "examples" / "workflows"
README = "examples/workflows/README.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(params=["sqlite", "redis"])
def broker(request):
    if request.param == "sqlite":
        yield ""
        return
    with server("redis") as found:
        yield found.url


class Example:
    """A copy of the example with its web server and a worker."""

    def __init__(self, folder, broker):
        self.folder = shutil.copytree(EXAMPLE, folder / "workflows")
        kept = {name: text for name, text in os.environ.items() if not name.startswith("CELER")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        self.env = {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
        if broker:
            self.env["CELERIAC_BROKER_URL"] = broker
        self.started = []
        self.site = self._start("server.py", "0")
        said = eventually(lambda: self._said("server.py", "\n"), "the server tells its address")
        self.url = said.split()[-1]
        self.env["FILE_SERVER"] = self.url
        self._start("-m", "celeriac", "-A", "tasks", "worker", "-c", "2", "-l", "info")
        eventually(lambda: self._said("-m", "ready."), "the worker is ready")

    def _start(self, *arguments):
        with (self.folder / f"{arguments[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.folder, env=self.env, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.started.append(process)
        return process

    def _said(self, name, word):
        text = (self.folder / f"{name}.log").read_text("utf-8")
        return text if word in text else ""

    def run(self, script):
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self.folder, env=self.env, text=True, timeout=100,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"$ {script}\n{done.stdout}"
        return done.stdout

    def fetch(self, path):
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:
            return answer.read()

    def close(self):
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            process.wait(60)


@pytest.fixture
def example(tmp_path, broker):
    made = Example.__new__(Example)
    made.started = []
    try:
        made.__init__(tmp_path, broker)
        yield made
    finally:
        made.close()


def test_the_readme_is_what_happens(example):
    for block in doc_blocks.blocks(README, "console"):
        commands = doc_scenes.commands(block)
        script = "\n".join(each.text for each in commands)
        shown = "".join(each.shown for each in commands)
        said = example.run(script.replace("http://127.0.0.1:8000", example.url))
        assert doctest.OutputChecker().check_output(shown, said, FLAGS), f"$ {script}\n{said}"

    warmest = example.fetch("/uploads/warmest-measurements.csv").decode().splitlines()
    every = example.fetch("/measurements.csv").decode().splitlines()
    degrees = sorted((float(line.split(",")[1]) for line in every), reverse=True)
    assert [float(line.split(",")[1]) for line in warmest] == degrees[:10]
    assert set(warmest) <= set(every)
    for number in range(1, 9):
        image = example.fetch(f"/images/{number}.pgm")
        small = (example.folder / "work" / f"small-{number}.pgm").read_bytes()
        head, pixels = image.split(b"\n", 1)
        assert head == b"P5 64 48 255"
        rows = [pixels[start : start + 64 : 2] for start in range(0, 64 * 48, 128)]
        assert small == b"P5 32 24 255\n" + b"".join(rows)


def test_the_snippets_are_those_that_people_write():
    text = (EXAMPLE / "run.py").read_text("utf-8")
    for snippet in (
        "group(resize_image.s(url) for url in image_urls)",
        "download_file.s(url) | process_file.s() | upload_result.s()",
        "chord(analyze_data.s(chunk) for chunk in chunks)(callback)",
        "callback = generate_report.s()",
    ):
        assert snippet in text


def test_the_readmes_commands_that_stay_are_those_that_the_test_starts():
    [block] = doc_blocks.blocks(README, "sh")
    commands = [each.text for each in doc_scenes.commands(block)]
    assert commands == ["python server.py &", "celeriac -A tasks worker &"]
