"""The README: what it shows is in the repository, and it stays short. `test_pages` runs it."""

from __future__ import annotations

import doc_blocks
from source_tree import ROOT

README = "README.md"


def test_the_module_is_the_example_in_the_repository():
    module = doc_blocks.blocks(README, "python")[0].text
    assert module == (ROOT / "examples/quickstart/tasks.py").read_text("utf-8")


def test_code_comes_early_and_the_page_stays_short():
    assert doc_blocks.blocks(README, "python")[0].line < 25
    assert doc_blocks.text_of(README).count("\n") < 120
