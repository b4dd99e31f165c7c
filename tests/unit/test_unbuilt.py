"""Modules of Celery's that are not in this version: refused by name, with what to do instead."""

import importlib
import importlib.util
import sys

import pytest

import celeriac
from celeriac.exceptions import NotInThisVersion
from celeriac.unbuilt import MODULES


@pytest.mark.parametrize("name", MODULES)
def test_importing_it_says_what_to_do_instead(name):
    with pytest.raises(NotInThisVersion) as caught:
        importlib.import_module(name)
    assert name in str(caught.value)
    assert MODULES[name] in str(caught.value)
    assert name not in sys.modules


@pytest.mark.parametrize("name", ["backends.base", "bin.celery", "apps.worker", "loaders.default"])
def test_what_lies_below_it_goes_with_it(name):
    with pytest.raises(NotInThisVersion):
        importlib.import_module(f"celeriac.{name}")


def test_the_other_form_of_import_says_the_same():
    with pytest.raises(NotInThisVersion, match="signals, user_options"):
        from celeriac import bootsteps  # noqa: F401
    with pytest.raises(NotInThisVersion, match="task_prerun"):
        from celeriac.app import trace  # noqa: F401


@pytest.mark.parametrize("name", ["celeriac.zebra", "celeriac.app.zebra", "zebra_of_nobody"])
def test_any_other_name_is_not_found_as_ever(name):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)


def test_no_name_of_the_table_hides_a_module_that_exists():
    for name in MODULES:
        parent, _, last = name.rpartition(".")
        places = list(importlib.import_module(parent).__path__)
        assert importlib.machinery.PathFinder.find_spec(name, places) is None, last


def test_the_finder_answers_for_its_table_alone():
    finder = celeriac._Unbuilt
    assert finder in sys.meta_path
    assert finder.find_spec("celeriac.bootsteps") is not None
    assert finder.find_spec("celeriac.zebra") is None
    assert finder.find_spec("bootsteps") is None


@pytest.mark.parametrize("name", ["VERSION", "version_info", "SERIES", "maybe_patch_concurrency"])
def test_names_of_the_package_are_refused_by_name(name):
    with pytest.raises(NotInThisVersion, match=name):
        getattr(celeriac, name)
    assert celeriac.VERSION_BANNER.startswith(celeriac.__version__)
