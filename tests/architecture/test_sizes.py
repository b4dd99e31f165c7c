"""Files, functions and constructors against the rules of thumb; a report is printed at the end."""

import architecture_rules as rules
import layers
import pytest
from source_tree import SourceTree

TREE = SourceTree.of_package()

LIMITS = [
    (rules.too_long_files, layers.LONG_FILES),
    (rules.too_long_functions, layers.LONG_FUNCTIONS),
    (rules.too_wide_constructors, layers.WIDE_CONSTRUCTORS),
]


@pytest.mark.parametrize(
    ("measure", "granted"), LIMITS, ids=lambda each: getattr(each, "__name__", "")
)
def test_limit(measure, granted):
    too_large = measure(TREE)
    assert [text for name, text in too_large.items() if name not in granted] == []
    assert [name for name in granted if name not in too_large] == [], "exceptions no longer needed"


@pytest.mark.parametrize("granted", [granted for _, granted in LIMITS])
def test_every_exception_has_a_reason(granted):
    assert all(len(reason) > 20 for reason in granted.values())


def test_a_long_file_is_found():
    assert rules.too_long_files(SourceTree.of_files({"ids.py": "\n" * 501})) == {
        "ids": "celeriac.ids has 501 lines"
    }


def test_a_long_function_is_found_and_its_docstring_does_not_count():
    body = "    x = 1\n" * 60
    long = f"class A:\n  def f(self):\n{body}"
    documented = 'def g():\n    """A\n\n    B"""\n' + "    x = 1\n" * 59
    tree = SourceTree.of_files({"ids.py": long, "clock.py": documented})
    assert list(rules.too_long_functions(tree)) == ["ids:A.f"]


def test_a_wide_constructor_is_found():
    nine = ", ".join(f"a{i}" for i in range(9))
    eight = ", ".join(f"a{i}" for i in range(7)) + ", *, b"
    text = (
        f"class A:\n  def __init__(self, {nine}): ...\nclass B:\n  def __init__(self, {eight}): ..."
    )
    assert list(rules.too_wide_constructors(SourceTree.of_files({"ids.py": text}))) == ["ids:A"]
