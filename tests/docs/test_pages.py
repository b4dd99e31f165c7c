"""Every page is run from top to bottom, as a reader would who types what it shows."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import doc_blocks
import doc_scenes
import pytest
from source_tree import ROOT

#: Written by the program itself, and held against it by tests of their own.
PRINTED = {"docs/reference/cli.md", "docs/reference/settings.md"}
PAGES = [
    name
    for path in doc_blocks.PAGES
    if (name := path.relative_to(ROOT).as_posix()) not in PRINTED and doc_blocks.blocks(name)
]
RUN = [
    page
    for page in PAGES
    if {each.language for each in doc_blocks.blocks(page)} & {"python", "pycon", "console", "sh"}
]


class _Ahead:
    """Runs pages, two at a time: while one is waited for the next one runs already."""

    def __init__(self, pages: list[str], folder: Path) -> None:
        self._pages = pages
        self._folder = folder
        self._pool = ThreadPoolExecutor(2)
        self._runs: dict[str, Future[None]] = {}

    def wait(self, page: str) -> None:
        at = self._pages.index(page)
        for each in self._pages[at : at + 3]:
            if each not in self._runs:
                self._runs[each] = self._pool.submit(self._run, each)
        self._runs[page].result()

    def _run(self, page: str) -> None:
        folder = self._folder / page.removesuffix(".md").replace("/", "-")
        folder.mkdir()
        doc_scenes.Scene(page, folder).run()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def ahead(request, tmp_path_factory):
    name = test_the_page_runs.__name__
    chosen = [each for each in request.session.items if each.originalname == name]
    pages = _Ahead(
        [each.callspec.params["page"] for each in chosen], tmp_path_factory.mktemp("pages")
    )
    yield pages
    pages.close()


@pytest.mark.parametrize("page", RUN)
def test_the_page_runs(page, ahead):
    ahead.wait(page)


def _commands() -> list[tuple[str, str]]:
    return [
        (page, command.text)
        for page in PAGES
        for block in doc_blocks.blocks(page)
        if block.language in {"sh", "console"}
        for command in doc_scenes.commands(block)
    ]


def test_what_is_installed_is_what_the_tests_install():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    known = {re.split(r"[\[<>=;]", each)[0].lower() for group in extras.values() for each in group}
    for page, command in _commands():
        found = re.match(r"pip install (.*)", command)
        for package in re.findall(r"[\w-]+(?:\[[\w,]+\])?", found[1] if found else ""):
            name, _, wanted = package.partition("[")
            assert name == project["name"] or name in known, f"{page}: {package}"
            assert set(filter(None, wanted.rstrip("]").split(","))) <= set(extras), package


def test_targets_of_make_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for page, command in _commands():
        if found := re.match(r"make (\w+)", command):
            assert re.search(rf"^{found[1]}:", makefile, re.MULTILINE), f"{page}: {command}"


def test_each_exception_is_needed():
    """What is listed as not run or only read occurs on some page."""
    written = [command for _, command in _commands()]
    for what in doc_scenes.NOT_RUN:
        assert any(re.match(what, each) for each in written), what
    languages = {each.language for page in PAGES for each in doc_blocks.blocks(page)}
    assert set(doc_scenes.READ_ONLY) <= languages


def _service_commands() -> list[tuple[str, str]]:
    """The commands of celeriac in units of systemd, Dockerfiles and crontabs, which are not run."""
    found = []
    for page in PAGES:
        for block in doc_blocks.blocks(page):
            if block.language == "ini":
                unit = doc_scenes.unit(block.text)
                started = unit.get("Service", "ExecStart", fallback="")
                found.append((page, started.rpartition("/bin/")[2]))
            elif block.language == "dockerfile":
                lines = re.findall(r"CMD (\[.*\])", block.text)
                found += [(page, " ".join(json.loads(each))) for each in lines]
            elif block.language == "text":  # a line of a crontab
                lines = re.findall(r"^[\d*].*(celeriac -A .*)", block.text, re.MULTILINE)
                found += [(page, each) for each in lines]
    return [(page, command) for page, command in found if command]


@pytest.mark.parametrize(("page", "command"), _service_commands())
def test_commands_of_services_exist(page, command):
    words = shlex.split(command)
    assert words[:2] == ["celeriac", "-A"], page
    run = subprocess.run(
        [sys.executable, "-m", "celeriac", words[3], "--help"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    for option in (each.partition("=")[0] for each in words[4:] if each.startswith("-")):
        assert option in run.stdout, f"{page}: {words[3]} has no {option}"
