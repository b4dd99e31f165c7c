"""The three workflows of examples/workflows, as its README has them run, on SQLite and Redis."""

import doctest
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    """A copy of the example with its web server and, usually, a worker."""

    def __init__(self, folder, broker="", url="", *, worker=True):
        self.folder = shutil.copytree(EXAMPLE, folder / "workflows")
        kept = {name: text for name, text in os.environ.items() if not name.startswith("CELER")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        self.env = {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
        if broker:
            self.env["CELERIAC_BROKER_URL"] = broker
        self.url = url or self._serve()
        self.env["FILE_SERVER"] = self.url
        if worker:
            self._start_worker()

    def _start_worker(self):
        self._start("-m", "celeriac", "-A", "tasks", "worker", "-c", "2", "-l", "info")
        eventually(lambda: self._said("-m", "ready."), "the worker is ready")

    def _serve(self):
        self._start("server.py", "0")
        said = eventually(lambda: self._said("server.py", "\n"), "the server tells its address")
        return said.split()[-1]

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


@contextmanager
def running(*arguments, **more):
    """An Example whose processes end with the block, also if it could not be started whole."""
    made = Example.__new__(Example)
    made.started = []
    try:
        made.__init__(*arguments, **more)
        yield made
    finally:
        made.close()


@pytest.fixture
def example(tmp_path, broker):
    with running(tmp_path, broker) as made:
        yield made


@pytest.fixture
def gate():
    """A web server that gives half of a file, and the rest when the event it has is set."""
    opened = threading.Event()

    class Half(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "8000")
            self.end_headers()
            self.wfile.write(b"x" * 4096)
            opened.wait(100)
            self.wfile.write(b"x" * (8000 - 4096))

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Half) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        made.opened = opened
        yield made
        opened.set()
        made.shutdown()
        thread.join()


def test_one_sees_how_far_the_download_is(tmp_path, gate):
    url = f"http://127.0.0.1:{gate.server_port}"
    with running(tmp_path, url=url) as example:
        sent = f"celeriac -A tasks call tasks.download_file --args '[\"{url}/half.csv\"]'"
        id = example.run(sent).strip()
        follow = subprocess.Popen(
            [sys.executable, "-m", "celeriac", "-A", "tasks", "result", id, "--follow"],
            cwd=example.folder, env=example.env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        example.started.append(follow)
        with follow.stdout as lines:
            said = []
            for line in lines:
                said.append(line)
                if "4,096 of 8,000 (51 %)" in line:
                    gate.opened.set()
    assert gate.opened.is_set(), said
    assert said[-2].startswith("SUCCESS 8,000 of 8,000 (100 %): half.csv")
    assert said[-1] == "half.csv\n"


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


def test_the_same_runs_eagerly_without_a_worker(tmp_path):
    [program, _] = doc_blocks.blocks(README, "console")
    [command] = doc_scenes.commands(program)
    with running(tmp_path, worker=False) as example:
        example.env["CELERIAC_TASK_ALWAYS_EAGER"] = "true"
        said = example.run(command.text)
        assert doctest.OutputChecker().check_output(command.shown, said, FLAGS), said
        assert len(example.fetch("/uploads/warmest-measurements.csv").splitlines()) == 10
        assert not list(example.folder.glob("*.db*"))


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
