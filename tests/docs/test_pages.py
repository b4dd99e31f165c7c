"""Every page is run from top to bottom, as a reader would who types what it shows."""

from __future__ import annotations

import re
import tomllib
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


@pytest.mark.parametrize("page", RUN)
def test_the_page_runs(page, tmp_path):
    folder = tmp_path / Path(page).stem
    folder.mkdir()
    doc_scenes.Scene(page, folder).run()


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
