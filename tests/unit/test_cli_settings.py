"""`celeriac settings`, and options that an application adds to the command line."""

import json
import sys

import pytest
from click.testing import CliRunner

from celeriac.cli.root import root
from celeriac.conf import SETTINGS

SECRET = "correct-horse-battery-staple-2026"

SHOP = f"""
from celeriac import Celery
app = Celery("shop", broker="sqlite:///shop.db", security_key={SECRET!r})
app.config_from_object("shopconf")
app.conf.update(task_time_limit=30)
"""
CONF = "grace = 9\nlease = 30\nworker_prefetch_multiplier = 1\nredis_password = 'hunter2'\n"

OPTIONS = """
import click
from celeriac import Celery, signals
app = Celery("opts", broker="sqlite:///opts.db")
app.user_options["preload"].add(
    click.Option(("-Z", "--template"), default="plain", help="Which template."))
app.user_options["worker"].add(click.Option(("--fancy",), is_flag=True, help="Be fancy."))
heard = []
@signals.user_preload_options.connect
def hear(sender, app, options, **kwargs):
    print("preload", sender, app.main, options)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "shopconf.py").write_text(CONF)
    (tmp_path / "opts.py").write_text(OPTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(*args, **environment):
        return CliRunner().invoke(root, args, env=environment)

    yield run
    for name in ("shop", "shopconf", "opts"):
        sys.modules.pop(name, None)


def rows(done):
    assert done.exit_code == 0, done.stderr
    return {line.split("  ")[0]: line for line in done.stdout.splitlines()[1:]}


def test_what_something_sets_and_where(run, tmp_path):
    told = rows(run("-A", "shop", "settings", CELERIAC_LEASE="60"))
    assert " 9.0 seconds " in told["grace"]
    assert told["grace"].endswith(f" module shopconf ({tmp_path / 'shopconf.py'})")
    assert told["lease"].endswith("environment variable CELERIAC_LEASE")
    assert told["task_time_limit"].endswith(f"code ({tmp_path / 'shop.py'}:5)")
    assert told["namespace"].endswith("default")
    assert "heartbeat" not in told


def test_secrets_are_hidden_in_every_form(run):
    for options in ([], ["--all"], ["--changed"], ["--json"], ["security_key"]):
        done = run("-A", "shop", "settings", *options)
        assert SECRET not in done.output
        assert "hunter2" not in done.output
        assert "(hidden)" in done.stdout


def test_passwords_in_urls_are_masked(run, tmp_path):
    (tmp_path / "shopconf.py").write_text(
        "broker_url = 'sqlite:///x.db?password=hunter2'\nresult_backend = None\n"
    )
    (tmp_path / "shop.py").write_text(
        "from celeriac import Celery\napp = Celery()\napp.config_from_object('shopconf')\n"
    )
    done = run("-A", "shop", "settings", "--json")
    assert "hunter2" not in done.output


def test_all_and_changed(run):
    every = rows(run("-A", "shop", "settings", "--all"))
    assert list(every) == list(SETTINGS)
    changed = rows(run("-A", "shop", "settings", "--changed"))
    assert set(changed) == {"broker_url", "security_key", "task_time_limit", "grace", "lease"}


def test_json_holds_values_units_and_origins(run, tmp_path):
    told = json.loads(run("-A", "shop", "settings", "--changed", "--json").stdout)
    by_name = {each["name"]: each for each in told["settings"]}
    assert by_name["grace"] == {
        "name": "grace",
        "value": 9.0,
        "unit": "seconds",
        "from": f"module shopconf ({tmp_path / 'shopconf.py'})",
        "layer": "object",
        "meaning_of_none": "",
    }
    moot = {each["name"]: each for each in told["without_meaning"]}
    assert set(moot) == {"worker_prefetch_multiplier", "redis_password"}
    assert moot["worker_prefetch_multiplier"]["from"] == by_name["grace"]["from"]


def test_what_changes_nothing_is_told_with_its_reason(run):
    done = run("-A", "shop", "settings")
    assert "worker_prefetch_multiplier changes nothing: how much is fetched" in done.stderr


def test_single_settings_and_names_that_are_none(run):
    assert list(rows(run("-A", "shop", "settings", "lease", "timezone"))) == ["lease", "timezone"]
    done = run("-A", "shop", "settings", "leese", "beat_schedule")
    assert done.exit_code == 2
    assert "leese is not a setting; did you mean lease?" in done.stderr
    assert "beat_schedule is not in this version" in done.stderr
    assert run("-A", "shop", "settings", "lease", "--all").exit_code == 2


def test_settings_that_are_wrong_are_an_error_that_names_their_module(run, tmp_path):
    (tmp_path / "shopconf.py").write_text("lease = 'soon'\ntask_time_limit = 'x'\n")
    done = run("-A", "shop", "settings")
    assert done.exit_code == 2
    assert f"module shopconf ({tmp_path / 'shopconf.py'}) is wrong:" in done.stderr
    assert "lease = 'soon'" in done.stderr
    assert "task_time_limit = 'x'" in done.stderr


def test_an_application_with_a_typing_error_in_its_name(run):
    done = run("-A", "shpo", "settings")
    assert done.exit_code == 2
    assert "Did you mean shop?" in done.stderr


# -- options of the application ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "value"), [((), "plain"), (("--template", "big"), "big"), (("-Z", "x"), "x")]
)
def test_preload_options_are_read_by_every_command(run, args, value):
    done = run("-A", "opts", "settings", *args)
    assert done.exit_code == 0, done.output
    assert f"preload settings opts {{'template': '{value}'}}" in done.stdout


def test_the_application_may_be_named_after_the_command(run):
    assert "{'template': 'y'}" in run("settings", "--template", "y", "-A", "opts").stdout


def test_an_option_that_neither_knows(run):
    for command in ("settings", "worker"):
        done = run("-A", "opts", command, "--tamplate", "y")
        assert done.exit_code == 2
        assert "No such option" in done.stderr
    done = run("-A", "opts", "settings", "--fancy")
    assert done.exit_code == 2
    assert "--fancy" in done.stderr


def test_the_help_lists_them_once_an_application_is_named(run):
    assert "--template" not in run("worker", "--help").stdout
    told = run("-A", "opts", "worker", "--help").stdout
    assert "Options of the application:" in told
    assert "--fancy" in told
    assert "-Z, --template TEXT  Which template." in told
    assert "Options of the application are not shown" in run("-A", "nope", "worker", "-h").stdout


def test_what_is_no_option_is_refused(run, tmp_path):
    (tmp_path / "opts.py").write_text(
        "from celeriac import Celery\napp = Celery()\napp.user_options['preload'].add('--x')\n"
    )
    done = run("-A", "opts", "settings", "--x")
    assert isinstance(done.exception, TypeError)
    assert "takes options of click" in str(done.exception)
