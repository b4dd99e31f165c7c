"""Imports point down, and the other rules of who may know whom."""

import tomllib

import architecture_rules as rules
import layers
import pytest
from source_tree import ROOT, SourceTree

TREE = SourceTree.of_package()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIREMENTS = [
    *PROJECT["dependencies"],
    *(each for extra in PROJECT["optional-dependencies"].values() for each in extra),
]

RULES = [
    rules.without_layer,
    rules.upward,
    rules.circular,
    rules.eager_root,
    rules.concrete_stores,
    rules.siblings,
    rules.web_sees_control_only,
    rules.third_parties,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule):
    assert rule(TREE) == []


def test_what_is_imported_is_declared():
    assert rules.undeclared(TREE, REQUIREMENTS) == []


def test_the_tree_was_read():
    """Guards the guards: an empty tree breaks no rule."""
    assert {"celeriac", "celeriac.ids", "celeriac.stores"} <= set(TREE.modules)
    assert any(each.target == "celeriac.exceptions" for each in TREE.internal())


def test_every_exception_is_needed():
    unused = [
        (importer, target)
        for importer, target in layers.IMPORT_EXCEPTIONS
        if not any(
            rules.within(rules.short(each.importer), importer)
            and rules.within(rules.short(each.target), target)
            for each in TREE.internal()
        )
    ]
    assert unused == []


# Made-up trees that break one rule each: (rule, files, words of the finding).
BROKEN = [
    (rules.without_layer, {"novelty.py": ""}, "celeriac.novelty has no layer"),
    (rules.upward, {"ids.py": "from .message import Message", "message.py": ""}, "layer 0"),
    (rules.upward, {"ids.py": "def f():\n    import celeriac.app", "app.py": ""}, "layer 4"),
    (
        rules.upward,
        {
            "stores/__init__.py": "",
            "stores/base.py": "if TYPE_CHECKING:\n    from ..app.task import Task",
            "app/__init__.py": "",
            "app/task.py": "",
        },
        "layer 2 imports from layer 4",
    ),
    (
        rules.upward,
        {"ids.py": 'importlib.import_module("celeriac.worker")', "worker/__init__.py": ""},
        "layer 5",
    ),
    (rules.upward, {"app.py": "from celeriac import Celeriac", "__init__.py": ""}, "root"),
    (
        rules.circular,
        {
            "message.py": "from . import outcome",
            "outcome.py": "def f():\n    from . import message",
        },
        "celeriac.message, celeriac.outcome",
    ),
    (rules.eager_root, {"__init__.py": "from .app import Celeriac", "app.py": ""}, "celeriac.app"),
    (
        rules.concrete_stores,
        {"app.py": "from .stores.sqlite import open_store", "stores/sqlite.py": ""},
        "names a concrete store",
    ),
    (
        rules.concrete_stores,
        {"stores/sqlite.py": "from . import memory", "stores/memory.py": ""},
        "names a concrete store",
    ),
    (rules.siblings, {"worker.py": "import celeriac.beat", "beat.py": ""}, "sibling"),
    (
        rules.siblings,
        {"contrib/flask.py": "from .django import x", "contrib/django.py": ""},
        "sibling",
    ),
    (
        rules.web_sees_control_only,
        {"web/__init__.py": "from ..stores import connect", "stores/__init__.py": ""},
        "not control",
    ),
    (rules.third_parties, {"ids.py": "import msgspec"}, "may be imported in: nowhere"),
    (rules.third_parties, {"message.py": "import apsw"}, "stores.sqlite"),
    (rules.third_parties, {"message.py": "import numpy"}, "nowhere"),
]


@pytest.mark.parametrize(("rule", "files", "words"), BROKEN)
def test_the_rule_bites(rule, files, words):
    findings = rule(SourceTree.of_files(files))
    assert len(findings) == 1
    assert words in findings[0]


ALLOWED = [
    (rules.upward, {"ids.py": "from celeriac import __version__", "__init__.py": ""}),
    (rules.upward, {"message.py": "from .ids import new_nonce", "ids.py": ""}),
    (rules.upward, {"app.py": "def f():\n    from .cli import main", "cli.py": ""}),
    (rules.circular, {"app.py": "from . import client", "client.py": "from . import app"}),
    (rules.concrete_stores, {"stores/__init__.py": "from . import sqlite", "stores/sqlite.py": ""}),
    (rules.web_sees_control_only, {"web.py": "from .control import x", "control.py": ""}),
    (rules.third_parties, {"message.py": "import msgspec", "stores/sqlite.py": "import apsw"}),
    (rules.eager_root, {"__init__.py": "if TYPE_CHECKING:\n    from . import ids", "ids.py": ""}),
]


@pytest.mark.parametrize(("rule", "files"), ALLOWED)
def test_the_rule_lets_pass(rule, files):
    assert rule(SourceTree.of_files(files)) == []


def test_an_undeclared_package_is_found():
    tree = SourceTree.of_files({"cli.py": "import click, numpy"})
    (finding,) = rules.undeclared(tree, ["click>=8"])
    assert "numpy" in finding
