"""Run a page of the documentation from top to bottom, as a reader would, in a folder of its own.

What each kind of block means:

- ``python`` whose first line is a comment with a path (``# shop/tasks.py``): a file. It is written
  and imported, unless pytest or Django will do that (``test_*.py``, ``settings.py``).
- other ``python``: run in one interpreter, so the blocks of a page share their names until a file
  is written. A ``text`` block right after it is what it prints.
- ``pycon``: a session in that interpreter, its answers compared.
- ``console``, ``sh``: commands, in ``console`` after ``$`` with what they print. They run in bash
  and have to succeed. One that stays (a worker, a server) goes on in the background until the page
  ends; a worker ends the one before it unless it has a name (``-n``).
- ``ini``, ``dockerfile``: read by a parser.

``...`` in what is printed stands for anything. Remarks that a reader does not see:
``<!-- worker: OPTIONS -->`` starts a worker, ``<!-- exit: N -->`` is the exit code of the block
that follows.

What cannot be run is listed here, in NOT_RUN and READ_ONLY, with its reason.
"""

from __future__ import annotations

import configparser
import contextlib
import doctest
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import doc_blocks
from doc_blocks import Block
from servers import free_ports

#: Commands that change the machine and not a folder, and why each is left out.
NOT_RUN = {
    r"(sudo )?(systemctl|journalctl|install|useradd)\b": "needs systemd and root",
    r"pip install\b": "packages are named, and looked up in pyproject.toml by a test",
    r"source \.venv|python -m venv": "the tests run in an environment already",
    r"(gunicorn|uvicorn)\b": "its application is called by the page itself",
    r"make\b": "a target of the Makefile; a test sees that it is there",
}

#: Languages that are drawings, other people's programs or only parsed, and why.
READ_ONLY = {
    "": "a drawing",
    "text": "what something prints, or a drawing",
    "diff": "a change from Celery's import to ours",
    "ini": "a unit of systemd: parsed, its commands are checked",
    "dockerfile": "needs a container engine: its instructions are checked",
}

#: What stays, and the words it says once it is ready.
_STAYS = {
    r"celeriac\b.* worker(?= |$)(?!.*(--burst|--detach| -D\b|--help|\|))": "ready.",
    r"celeriac\b.* dev(?= |$)(?!.*--help)": "ready",
    r"flask\b.* run\b": "Running on",
    r"python -m aiosmtpd\b": "",
    r"redis-server\b": "Ready to accept connections",
}
#: Ports that the pages name; others are free for sure.
_PORT = re.compile(r"\b(?:8025|5000|8000|9808|6379)\b")
_NAME = re.compile(r"^# ((?:[\w-]+/)*[\w-]+\.\w+)\n")
_REMARK = re.compile(r"<!-- (worker|exit): ?(.*?) -->")
_READY_SECONDS = 60.0
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_CHECKER = doctest.OutputChecker()
_INSTRUCTIONS = {"FROM", "RUN", "COPY", "WORKDIR", "ENV", "USER", "CMD", "ENTRYPOINT", "EXPOSE",
                 "STOPSIGNAL", "HEALTHCHECK", "VOLUME", "ARG"}  # fmt: skip

_ANSWER = "\0"
#: Warnings are errors, but for settings of Celery's that change nothing, which a page shows.
_MEANT = "default:code ("
_DRIVER = """
import contextlib, doctest, importlib, io, json, sys, traceback
sys.path.insert(0, "")
names = {"__name__": "__main__"}
flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
for line in sys.stdin:
    job, out, error = json.loads(line), io.StringIO(), ""
    with contextlib.redirect_stdout(out):
        try:
            if "module" in job:
                importlib.import_module(job["module"])
            elif job["session"]:
                test = doctest.DocTestParser().get_doctest(
                    job["code"], names, job["name"], job["name"], job["line"])
                test.globs = names  # a DocTest works on a copy
                runner = doctest.DocTestRunner(optionflags=flags, verbose=False)
                if runner.run(test, out=out.write, clear_globs=False).failed:
                    error = "see above"
            else:
                code = "\\n" * job["line"] + job["code"]
                exec(compile(code, job["name"], "exec"), names)
        except BaseException:
            error = traceback.format_exc()
    answer = json.dumps({"out": out.getvalue(), "error": error})
    print("\\0" + answer, file=sys.__stdout__, flush=True)
"""


@dataclass
class Command:
    """One command of a block, and what the page says it prints."""

    text: str
    shown: str
    line: int


def commands(block: Block) -> list[Command]:
    """The commands of a ``console`` or ``sh`` block."""
    found: list[Command] = []
    goes_on = False
    for number, text in enumerate(block.text.splitlines(), block.line + 1):
        if goes_on:
            found[-1].text += "\n" + text.removeprefix("> ")
        elif block.language == "sh" and text.strip() and not text.startswith("#"):
            found.append(Command(text, "", number))
        elif text.startswith("$ "):
            found.append(Command(text[2:], "", number))
        elif block.language == "console":
            assert found, f"line {number}: output before the first command"
            found[-1].shown += text + "\n"
        goes_on = text.endswith("\\") and bool(found)
    return found


def left_out(command: str) -> str:
    """Why *command* is not run; "" if it is."""
    return next((why for what, why in NOT_RUN.items() if re.match(what, command)), "")


def path_of(block: Block) -> str:
    """The file that a block is, "" if it is none."""
    found = _NAME.match(block.text)
    return found[1] if found else ""


class Background:
    """A process that stays: a worker or a server."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str], log: Path) -> None:
        self.command = command
        self.folder = folder
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def text(self) -> str:
        """What it has said, its own log file (``-f``) included."""
        files = [self.log]
        if found := re.search(r" (?:-f|--logfile)[ =](\S+)", self.command):
            files.append(self.folder / found[1])
        return "".join(each.read_text("utf-8", "replace") for each in files if each.exists())

    def wait_for(self, word: str) -> None:
        end = time.monotonic() + _READY_SECONDS
        while word not in self.text():
            assert self.process.poll() is None, f"{self.command} ended:\n{self.text()}"
            assert time.monotonic() < end, f"{self.command} does not say {word!r}:\n{self.text()}"
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask it to end; then its whole session has to."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(15)


class Scene:
    """A page while it is run."""

    def __init__(self, page: str, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.background: list[Background] = []
        self._ports: dict[str, str] = {}
        self._driver: subprocess.Popen[str] | None = None
        kept = {name: text for name, text in os.environ.items() if not name.startswith("CELER")}
        scripts = sysconfig.get_path("scripts")
        self.environment = {
            **kept,
            "PATH": f"{scripts}{os.pathsep}{kept['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
            "COLUMNS": "100",
        }
        self._logs = folder.parent / f"{folder.name}-logs"
        self._logs.mkdir()

    def run(self) -> None:
        """Run the whole page."""
        try:
            self._run_all()
        finally:
            self.close()

    def _run_all(self) -> None:
        text = doc_blocks.text_of(self.page)
        blocks = [self._with_ports(each) for each in doc_blocks.blocks(self.page)]
        for number, (block, remarks) in enumerate(_remarked(text, blocks)):
            after = blocks[number + 1] if number + 1 < len(blocks) else None
            shown = after.text if after and _adjoins(text, block, after) else None
            if "worker" in remarks:
                self._stay(f"celeriac {remarks['worker']}", "ready.")
            try:
                self._run(block, shown, int(remarks.get("exit", "0")))
            except AssertionError as error:
                logs = "\n".join(f"-- {each.command}\n{each.text()}" for each in self.background)
                raise AssertionError(f"{self.page}:{block.line}: {error}\n{logs}") from None

    def _with_ports(self, block: Block) -> Block:
        """*block* with ports that are free here in place of those that the page names."""
        return replace(block, text=_PORT.sub(lambda found: self._port(found[0]), block.text))

    def _port(self, written: str) -> str:
        if written not in self._ports:
            self._ports[written] = str(*free_ports(1))
        return self._ports[written]

    def _run(self, block: Block, shown: str | None, code: int) -> None:
        path = path_of(block)
        if block.language in {"console", "sh"}:
            for command in commands(block):
                self._command(command, code)
        elif block.language == "pycon":
            self._ask(block, session=True)
        elif block.language == "python":
            if path:
                self._write(path, block.text)
                self._import(path)
            else:
                printed = self._ask(block, session=False)
                if shown is not None:
                    assert _CHECKER.check_output(shown, printed, _FLAGS), f"it prints\n{printed}"
        else:
            if block.language.startswith("{"):
                return  # a directive of Sphinx: `make docs` judges it
            assert block.language in READ_ONLY, f"no rule for ```{block.language}"
            check_read_only(block)
            if path:
                self._write(path, block.text)

    def _write(self, path: str, text: str) -> None:
        self._end_driver()  # it may have imported what was there before
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        if path.endswith(".py"):
            compile(text, f"{self.page}: {path}", "exec")

    def _import(self, path: str) -> None:
        name = Path(path).name
        if name.startswith(("test_", "conftest", "settings", "models", "manage")):
            return
        module = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        self._tell({"module": module})

    # -- the interpreter -----------------------------------------------------------------------

    def _ask(self, block: Block, *, session: bool) -> str:
        return self._tell(
            {"code": block.text, "session": session, "line": block.line, "name": self.page}
        )

    def _tell(self, job: dict[str, object]) -> str:
        if self._driver is None:
            self._driver = subprocess.Popen(
                [sys.executable, "-W", "error", "-W", _MEANT, "-c", _DRIVER],
                cwd=self.folder, env=self.environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._driver.stdin.write(json.dumps(job) + "\n")
        self._driver.stdin.flush()
        said = ""
        for line in self._driver.stdout:  # what comes before is what was written to standard error
            if line.startswith(_ANSWER):
                break
            said += line
        else:
            raise AssertionError(f"the interpreter ended:\n{said}")
        answer = json.loads(line.removeprefix(_ANSWER))
        assert not answer["error"], f"{answer['error']}\n{answer['out']}"
        return answer["out"]

    def _end_driver(self) -> None:
        if self._driver is not None:
            self._driver.communicate()
            self._driver = None

    # -- commands ------------------------------------------------------------------------------

    def _command(self, command: Command, code: int) -> None:
        if left_out(command.text):
            return
        for pattern, word in _STAYS.items():
            if re.search(pattern, command.text):
                self._stay(command.text.removesuffix(" &"), word)
                self._compare_log(command)
                return
        try:
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command.text],
                cwd=self.folder, env=self.environment, text=True, timeout=60,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"line {command.line}: $ {command.text} {error}") from None
        where = f"line {command.line}: $ {command.text}\n{done.stdout}"
        assert done.returncode == code, f"{where}exit code {done.returncode}"
        if command.shown.strip():
            assert _CHECKER.check_output(command.shown, done.stdout, _FLAGS), where

    def _stay(self, command: str, word: str) -> None:
        if re.search(r" (worker|dev)\b", command) and not re.search(r" (-n|--hostname)\b", command):
            for each in [one for one in self.background if re.search(" (worker|dev)", one.command)]:
                each.stop()
                self.background.remove(each)
        log = self._logs / f"{len(list(self._logs.iterdir()))}.log"
        process = Background(command, self.folder, self.environment, log)
        self.background.append(process)
        process.wait_for(word)

    def _compare_log(self, command: Command) -> None:
        if not command.shown.strip():
            return
        printed = self.background[-1].text()
        assert _CHECKER.check_output(command.shown, printed, _FLAGS), (
            f"line {command.line}: $ {command.text}\n{printed}"
        )

    def close(self) -> None:
        """End everything that the page began."""
        self._end_driver()
        for each in reversed(self.background):
            each.stop()
        for file in self.folder.glob("*.pid"):  # a worker that was detached, on a page that failed
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text("utf-8")), signal.SIGTERM)


def _remarked(text: str, blocks: list[Block]) -> Iterator[tuple[Block, dict[str, str]]]:
    """Each block with the remarks between it and the one before."""
    lines = text.splitlines()
    start = 0
    for block in blocks:
        between = "\n".join(lines[start : block.line - 1])
        yield block, dict(_REMARK.findall(between))
        start = block.line + block.text.count("\n")


def _adjoins(text: str, block: Block, after: Block) -> bool:
    """Whether *after* is what *block* prints: text, with nothing between."""
    end = block.line + block.text.count("\n") + 1
    return after.language == "text" and not "".join(text.splitlines()[end : after.line - 1]).strip()


def check_read_only(block: Block) -> None:
    """Read a block that is not run with the parser of its language."""
    checks: dict[str, Callable[[str], object]] = {
        "ini": unit,
        "dockerfile": dockerfile,
    }
    if block.language in checks:
        checks[block.language](block.text)


def unit(text: str) -> configparser.ConfigParser:
    """Read a unit of systemd; keys may come twice there."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters="=")
    parser.optionxform = str
    parser.read_string(text)
    return parser


def dockerfile(text: str) -> list[list[str]]:
    """Return the instructions of a Dockerfile, as words."""
    joined = re.sub(r"\\\n", " ", text)
    found = [shlex.split(line, comments=True) for line in joined.splitlines()]
    found = [words for words in found if words]
    assert {words[0] for words in found} <= _INSTRUCTIONS, found
    return found
