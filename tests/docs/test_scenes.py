"""What runs the pages sees it when a page is wrong."""

from __future__ import annotations

import doc_scenes
import pytest

RIGHT = """
```python
# sums.py
def add(x, y):
    return x + y
```

```pycon
>>> from sums import add
>>> add(1, 2)
3
```

```python
print(add(2, 2))
```

```text
4
```

<!-- exit: 3 -->

```console
$ python -c "print('one'); print('two'); raise SystemExit(3)"
one
...
```
"""


def _run(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text, "utf-8")
    folder = tmp_path / "page"
    folder.mkdir()
    doc_scenes.Scene(str(page), folder).run()


def test_a_right_page_runs(tmp_path):
    _run(RIGHT, tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param("x + y", "x + z", id="a module that fails"),
        pytest.param("\n3\n", "\n5\n", id="another answer"),
        pytest.param("\n4\n", "\n5\n", id="another output"),
        pytest.param("exit: 3", "exit: 0", id="another exit code"),
        pytest.param("\none\n", "\nthree\n", id="another output of a command"),
        pytest.param("```pycon", "```rust", id="a language without a rule"),
        pytest.param("print(add", "import warnings; warnings.warn('x'); print(add", id="a warning"),
    ],
)
def test_a_wrong_page_fails(right, wrong, tmp_path):
    assert right in RIGHT
    with pytest.raises(AssertionError, match=r"page\.md:"):
        _run(RIGHT.replace(right, wrong), tmp_path)


def test_commands_of_a_console_go_on_after_a_backslash():
    block = doc_scenes.Block("console", "$ echo a \\\n> b\na b\n$ true\n", 1)
    first, second = doc_scenes.commands(block)
    assert (first.text, first.shown, second.text) == ("echo a \\\nb", "a b\n", "true")


def test_what_is_only_read_is_read():
    unit = "[Service]\nEnvironment=A=1\nEnvironment=B=2\nExecStart=/bin/true --x\n"
    assert doc_scenes.unit(unit)["Service"]["ExecStart"] == "/bin/true --x"
    with pytest.raises(Exception, match="no section"):
        doc_scenes.unit("ExecStart=/bin/true\n")
    assert doc_scenes.dockerfile('FROM a\nCMD ["x"]\n')[0] == ["FROM", "a"]
    with pytest.raises(AssertionError):
        doc_scenes.dockerfile("FORM a\n")
