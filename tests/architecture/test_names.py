"""Public names: `__all__` says what a module holds, and the root's names are where it says."""

import ast
import importlib
import importlib.util

import architecture_rules as rules
import layers
import pytest
from source_tree import PACKAGE, Module, SourceTree

import celeriac
from celeriac.exceptions import NotInThisVersion

TREE = SourceTree.of_package()


def is_public(name: str) -> bool:
    """Whether users import from it: not a file inside a package, except where Celery has it so."""
    return (name.count(".") == 1 and rules.layer_of(name) in layers.PUBLIC_LAYERS) or name in {
        f"{PACKAGE}.stores",
        f"{PACKAGE}.stores.base",
        f"{PACKAGE}.app.task",
    }


def has_list(module: Module) -> bool:
    return any(
        isinstance(node, ast.Assign)
        and any(isinstance(each, ast.Name) and each.id == "__all__" for each in node.targets)
        for node in module.tree.body
    )


LISTED = [name for name, module in TREE.modules.items() if is_public(name) or has_list(module)]


def defined(tree: ast.Module) -> set[str]:
    """Public functions and classes that a module defines at its top level."""
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
    }


@pytest.mark.parametrize("name", LISTED)
def test_all_says_what_the_module_holds(name):
    module = importlib.import_module(name)
    assert hasattr(module, "__all__"), f"{name} is public and has no __all__"
    listed = module.__all__
    assert len(set(listed)) == len(listed), "a name is listed twice"
    assert [each for each in listed if not hasattr(module, each)] == [], "names that are not there"
    assert defined(TREE.modules[name].tree) - set(listed) == set(), "public, but not listed"


def test_every_public_name_has_a_home():
    assert set(celeriac.__all__) - {"__version__"} == set(celeriac._HOMES)
    assert set(celeriac.__all__) <= set(dir(celeriac))


@pytest.mark.parametrize("name", [each for each in celeriac.__all__ if each in celeriac._HOMES])
def test_the_root_gives_what_the_home_holds(name):
    home, attribute = celeriac._HOMES[name]
    module = importlib.import_module(home)
    expected = module if attribute is None else getattr(module, attribute)
    assert getattr(celeriac, name) is expected


def test_type_checkers_see_every_public_name():
    (guard,) = [node for node in TREE.modules[PACKAGE].tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname or alias.name
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if not (alias.asname or "").startswith("_")
    }
    assert seen == set(celeriac._HOMES)


def test_another_name_is_refused_as_python_does():
    with pytest.raises(AttributeError, match="module 'celeriac' has no attribute 'celery'"):
        _ = celeriac.celery


@pytest.mark.parametrize("name", ["version_info", "SERIES", "maybe_patch_concurrency"])
def test_a_name_of_celerys_that_is_not_built_is_refused_by_name(name):
    with pytest.raises(NotInThisVersion, match=f"celeriac.{name} is not in this version. "):
        getattr(celeriac, name)
    with pytest.raises(NotInThisVersion):
        exec(f"from celeriac import {name}")
