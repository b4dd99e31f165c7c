"""`-A` finds the application where people put it, and says well why it does not."""

import sys
from textwrap import dedent

import pytest

from celeriac.app.loading import AppNotFound, describe_failure, find_app

APP = """
from celeriac import Celeriac
{name} = Celeriac({main!r}, broker="memory://loading")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory; what was imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder, path, text=None, name="app", main="found"):
    file = folder / path
    for parent in reversed(file.relative_to(folder).parents[:-1]):
        (folder / parent).mkdir(exist_ok=True)
        (folder / parent / "__init__.py").touch()
    file.write_text(APP.format(name=name, main=main) if text is None else dedent(text))


def refusal(spec):
    with pytest.raises(AppNotFound) as caught:
        find_app(spec)
    return caught.value


@pytest.mark.parametrize("spec", ["jobs", "jobs:app", "jobs.app", "jobs:"])
def test_a_module(folder, spec):
    write(folder, "jobs.py")
    assert find_app(spec).main == "found"


@pytest.mark.parametrize("name", ["app", "celery", "celeriac", "whatever"])
def test_usual_names_and_a_single_app_under_any_name(folder, name):
    write(folder, "jobs.py", name=name)
    assert find_app("jobs").main == "found"


def test_an_app_of_another_framework_is_passed_over(folder):
    write(folder, "jobs.py", "app = object()\n" + APP.format(name="celery", main="found"))
    assert find_app("jobs").main == "found"


@pytest.mark.parametrize("path", ["shop/__init__.py", "shop/celery.py", "shop/celeriac.py"])
def test_a_package(folder, path):
    write(folder, path)
    assert find_app("shop").main == "found"


@pytest.mark.parametrize("spec", ["shop.jobs", "shop.jobs:app", "shop.jobs.app"])
def test_a_module_in_a_package(folder, spec):
    write(folder, "shop/jobs.py")
    assert find_app(spec).main == "found"


def test_the_layout_of_django_projects(folder):
    write(folder, "site_/celery.py")
    (folder / "site_/__init__.py").write_text("from .celery import app as celery_app\n")
    assert find_app("site_").main == "found"


def test_a_dotted_attribute(folder):
    write(folder, "jobs.py", "class box: pass\n" + APP.format(name="box.inner", main="found"))
    assert find_app("jobs:box.inner").main == "found"


# -- refusals ----------------------------------------------------------------------------------


def test_no_such_module_names_near_ones_and_where_it_looked(folder):
    write(folder, "jobs.py")
    text = describe_failure(refusal("jops"))
    assert "There is no module named 'jops'. Did you mean jobs?" in text
    assert str(folder) in text
    assert "--workdir" in text
    assert "Traceback" not in text


def test_no_such_attribute_names_the_apps(folder):
    write(folder, "jobs.py", name="queue_app")
    text = str(refusal("jobs:queue_ap"))
    assert "has no attribute 'queue_ap'. Did you mean queue_app?" in text
    assert "Say which: -A jobs:queue_app." in text


def test_no_app_in_the_module(folder):
    write(folder, "jobs.py", "x = 1")
    text = str(refusal("jobs"))
    assert "holds no app" in text
    assert "app = Celeriac('jobs')" in text


def test_several_apps(folder):
    write(folder, "jobs.py", APP.format(name="a", main="1") + APP.format(name="b", main="2"))
    assert "Say which: -A jobs:a or -A jobs:b." in str(refusal("jobs"))


def test_something_else_at_the_place(folder):
    write(folder, "jobs.py", "thing = 3")
    assert "jobs:thing is not an app: it is of type int." in str(refusal("jobs:thing"))


def test_an_app_of_celery_whose_import_was_not_changed(folder):
    write(
        folder,
        "jobs.py",
        """
        class Celery: pass
        Celery.__module__ = "celery.app.base"
        app = Celery()
        """,
    )
    assert "change the import to `from celeriac import Celery`" in str(refusal("jobs"))


def test_a_module_that_raises_shows_the_users_own_traceback(folder):
    write(folder, "jobs.py", "def broken():\n    return 1 / 0\nbroken()\n")
    error = refusal("jobs")
    text = describe_failure(error)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert "return 1 / 0" in text
    assert "importlib" not in text
    assert "loading.py" not in text
    hint = text.strip().splitlines()[-1]
    assert hint.startswith(f"Importing 'jobs' for --app jobs failed ({folder}/jobs.py): ")
    assert hint.endswith("ZeroDivisionError: division by zero.")


def test_a_wrong_setting_is_told_once_with_the_line_that_sets_it(folder):
    write(
        folder,
        "jobs.py",
        """
        from celeriac import Celeriac
        app = Celeriac("jobs", set_as_current=False)
        app.conf.worker_concurrency = 0
        """,
    )
    text = describe_failure(refusal("jobs"))
    assert "app.conf.worker_concurrency = 0\n" in text
    assert "settings.py" not in text, "none of our own frames"
    assert text.count("worker_concurrency = 0: expected a whole number") == 1
    assert not text.rstrip().endswith("."), "the list ends as its last item does"


def test_only_an_app_is_offered_for_an_attribute_that_is_not_there(folder):
    write(
        folder,
        "jobs.py",
        """
        from celeriac import Celeriac
        app = Celeriac("jobs", set_as_current=False)
        apq = 1
        """,
    )
    text = str(refusal("jobs:ap"))
    assert "Did you mean app? Say which: -A jobs:app." in text


@pytest.mark.parametrize(
    ("raised", "ending"),
    [
        ("ValueError('no')", "ValueError: no."),
        ("ValueError('no.')", "ValueError: no."),
        ("ValueError('no?')", "ValueError: no?"),
        ("ValueError()", "ValueError."),
    ],
)
def test_the_error_of_a_module_ends_in_one_full_stop(folder, raised, ending):
    write(folder, "jobs.py", f"raise {raised}\n")
    assert str(refusal("jobs")).endswith(f": {ending}")


def test_a_missing_import_inside_is_not_taken_for_a_missing_app(folder):
    write(folder, "helper.py", "")
    write(folder, "jobs.py", "import helpr\n")
    text = describe_failure(refusal("jobs"))
    assert "import helpr" in text
    assert "Did you mean helper?" in text


def test_a_syntax_error_is_shown_with_its_line(folder):
    write(folder, "jobs.py", "def f(:\n    pass\n")
    assert "def f(:" in describe_failure(refusal("jobs"))


def test_modules_that_import_each_other(folder):
    write(folder, "jobs.py", "from other import thing\napp = 1\n")
    write(folder, "other.py", "from jobs import app\nthing = 1\n")
    assert "Two modules import each other" in str(refusal("jobs"))


def test_a_module_that_ends_the_program(folder):
    write(folder, "jobs.py", "import sys\nsys.exit(3)\n")
    assert '`if __name__ == "__main__":`' in str(refusal("jobs"))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("jobs.py", "write -A jobs instead"),
        ("src/jobs.py", "write -A jobs together with --workdir src"),
        ("2jobs", "is not the name of a module"),
        ("", "is not the name of a module"),
        ("celeriac", "names this library itself"),
    ],
)
def test_what_is_no_name_of_a_module(folder, spec, text):
    assert text in str(refusal(spec))
