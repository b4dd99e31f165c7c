"""Finding the modules that hold an app's tasks: those it names, and those beside its packages.

Layer 4. Importing runs the user's code, so a worker does it in its zygote.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from typing import Any

from celeriac.exceptions import ImproperlyConfigured

__all__ = ["Packages", "discover", "import_named", "packages_of"]

Packages = Iterable[str] | Callable[[], Iterable[str]] | None


def import_named(names: Iterable[str]) -> None:
    """Import the modules that an app includes.

    Raises:
        ImproperlyConfigured: one is not there. What a module raises is raised as it is.
    """
    for name in dict.fromkeys(names):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name + ".").startswith(error.name + "."):
                raise
            raise ImproperlyConfigured(
                f"The app includes the module {name!r}, which is not there: {error}. Correct "
                "the name in include, or run where it can be imported."
            ) from error


def packages_of(given: Packages) -> list[str]:
    """Return the names of packages that ``autodiscover_tasks`` was given.

    None means those that Django has installed.

    Raises:
        ImproperlyConfigured: None, and this is no Django project.
        TypeError: something else than names.
    """
    found = given() if callable(given) else given
    if found is None:
        return _of_django()
    names = [found] if isinstance(found, str) else list(found)
    for each in names:
        if not isinstance(each, str):
            raise TypeError(f"autodiscover_tasks() takes names of packages, not {each!r}")
    return names


def _of_django() -> list[str]:
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        raise ImproperlyConfigured(
            "autodiscover_tasks() without packages looks into what Django has installed, and "
            "DJANGO_SETTINGS_MODULE is not set. Name the packages: "
            "app.autodiscover_tasks(['shop', 'mail'])."
        )
    apps: Any = importlib.import_module("django.apps").apps
    if not apps.ready:
        importlib.import_module("django").setup()
    return [config.name for config in apps.get_app_configs()]


def discover(packages: Iterable[str], related_name: str | None) -> None:
    """Import the module *related_name* of each package that has one; None: the packages alone.

    An entry such as ``polls.apps.PollsConfig``, as Django's settings hold them, stands for the
    package that the class names.

    Raises:
        ImproperlyConfigured: a package is not there. What a module raises is raised as it is.
    """
    for package in dict.fromkeys(packages):
        module = _import_package(package)
        if related_name:
            _import_if_there(f"{module}.{related_name}")


def _import_package(name: str) -> str:
    """Import a package; return its name, which for a class of Django's is another one."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise
        parent, dot, last = name.rpartition(".")
        if dot and error.name == name:
            config = getattr(importlib.import_module(parent), last, None)
            inner = getattr(config, "name", None)
            if isinstance(inner, str):
                return inner
        raise ImproperlyConfigured(
            f"autodiscover_tasks() names the package {name!r}, which is not there: {error}. "
            "Correct the name, or run where it can be imported."
        ) from error
    return name


def _import_if_there(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # it is there, and something that it imports is not
            raise
