"""The pytest plugin, in test suites as people write them."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points

import pytest
from source_tree import ROOT

pytest_plugins = ("pytester",)

SHOP = """
from celeriac import Celeriac

app = Celeriac("shop", broker="sqlite:///shop.db")
charged = []

@app.task(bind=True, autoretry_for=(ConnectionError,), retry_backoff=30, retry_jitter=False)
def charge(self, customer, cents):
    if self.request.retries < 2:
        raise ConnectionError("the bank is away")
    charged.append((customer, cents))

@app.task(queue="mail")
def thank(customer):
    pass

def buy(customer, cents):
    charge.delay(customer, cents)
    thank.apply_async((customer,), countdown=3600)
"""


def run(pytester, *options):
    """Run pytest on what the test has written, with warnings as errors, in a process of its own."""
    return pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-W", "error", "--strict-markers", *options, timeout=110
    )


def test_an_application_of_ones_own(pytester):
    pytester.makepyfile(shop=SHOP)
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture
        def celeriac_app():
            from shop import app
            return app
        """
    )
    pytester.makepyfile(
        test_shop="""
        import os
        import pytest
        import shop

        def test_what_is_enqueued(celeriac_harness):
            shop.buy("anna", 500)
            celeriac_harness.assert_enqueued(shop.charge, args=("anna", 500), queue="celery")
            celeriac_harness.assert_enqueued(shop.thank, args=("anna",), queue="mail",
                                             countdown=3600)

        def test_the_store_is_fresh(celeriac_harness):
            assert celeriac_harness.enqueued() == []

        def test_time_passes(celeriac_harness, celeriac_clock):
            shop.charged.clear()
            shop.buy("anna", 500)
            assert [each.state for each in celeriac_harness.run_pending()] == ["RETRY"]
            celeriac_clock.advance(30)
            assert [each.state for each in celeriac_harness.run_pending()] == ["RETRY"]
            celeriac_clock.advance(60)
            assert [each.state for each in celeriac_harness.run_pending()] == ["SUCCESS"]
            assert shop.charged == [("anna", 500)]
            assert [each.task for each in celeriac_harness.run_for(3600)] == ["shop.thank"]

        def test_a_worker(celeriac_worker, celeriac_clock):
            result = shop.thank.delay("anna")
            assert result.get(timeout=60) is None

        def test_nothing_was_written():
            assert not os.path.exists("shop.db")

        @pytest.mark.xfail(strict=True, raises=ConnectionError)
        def test_a_failure_is_not_swallowed(celeriac_harness):
            shop.charge.apply_async(("anna", 1), retry=True)
            celeriac_harness.run_all()
            shop.charge.max_retries = 0
            try:
                shop.charge.delay("anna", 1)
                celeriac_harness.run_pending()
            finally:
                shop.charge.max_retries = 3
        """
    )
    run(pytester).assert_outcomes(passed=5, xfailed=1)


def test_the_marker_names_the_app_and_needs_no_fixture(pytester):
    pytester.makepyfile(shop=SHOP)
    pytester.makepyfile(
        test_shop="""
        import os
        import unittest
        import pytest
        import shop

        pytestmark = pytest.mark.celeriac(app="shop:app")

        def test_sending_writes_nothing():
            shop.buy("anna", 500)
            assert not os.path.exists("shop.db")

        class TestShop:
            @pytest.mark.parametrize("n", [1, 2])
            def test_it_is_fresh_each_time(self, n, celeriac_harness):
                assert celeriac_harness.enqueued() == []
                assert celeriac_harness.app is shop.app
                shop.thank.delay("anna")

        class CaseOfShop(unittest.TestCase):
            def test_in_a_class_of_unittest(self):
                shop.buy("anna", 500)
                assert not os.path.exists("shop.db")

        @pytest.mark.celeriac(app=shop.app)
        def test_the_app_itself(celeriac_app):
            assert celeriac_app is shop.app
        """
    )
    run(pytester).assert_outcomes(passed=5)


def test_an_app_of_the_plugins_own(pytester):
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from celeriac import current_app, shared_task

        @shared_task
        def add(x, y):
            return x + y

        @pytest.fixture
        def celeriac_settings():
            return {"task_default_queue": "tests"}

        def test_its_modules_are_imported_as_they_were_written(celeriac_harness):
            import celeriac.testing.harness as module

            assert "pytest" not in type(module.__loader__).__module__

        def test_tasks_that_every_app_has(celeriac_harness):
            result = add.delay(1, 2)
            celeriac_harness.assert_enqueued(add, args=(1, 2), queue="tests")
            celeriac_harness.run_pending()
            assert result.get() == 3

        @pytest.mark.celeriac(task_default_priority=7)
        def test_settings(celeriac_app, celeriac_harness):
            assert celeriac_app.conf.task_default_priority == 7
            assert celeriac_app.conf.task_default_queue == "tests"

        def test_a_worker_and_tasks_declared_in_the_test(celeriac_app, celeriac_worker):
            @celeriac_app.task
            async def late():
                await asyncio.sleep(0)
                return 1

            assert late.delay().get(timeout=60) == 1

        def test_the_app_is_current_and_then_no_more(celeriac_app):
            assert current_app.main == "tests"

        def test_afterwards():
            with pytest.raises(Exception, match="There is no app in this process"):
                current_app.main

        @pytest.mark.xfail(strict=True, raises=TypeError)
        @pytest.mark.celeriac("shop:app")
        def test_a_marker_with_a_position():
            pass
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=6, xfailed=1)


def test_an_app_with_settings_of_its_own_takes_none_from_the_marker(pytester):
    pytester.makepyfile(shop=SHOP)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.celeriac(app="shop:app", task_default_queue="x")
        def test_it():
            pass

        @pytest.mark.celeriac(app="shop:ap")
        def test_a_typing_error():
            pass
        """
    )
    result = run(pytester)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*brings its own settings*"])
    result.stdout.fnmatch_lines(["*Module shop*has no attribute 'ap'*"])


def test_a_marker_that_a_fixture_goes_over_is_refused(pytester):
    pytester.makepyfile(shop=SHOP)
    pytester.makepyfile(
        """
        import pytest
        import shop

        @pytest.fixture
        def celeriac_app():
            return shop.app

        @pytest.mark.celeriac(app="shop:app")
        def test_the_same_app():
            assert shop.thank.delay("anna").state == "PENDING"

        @pytest.mark.celeriac(task_default_queue="x")
        def test_settings():
            pass
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*leave one of the two away*"])


def test_in_several_processes_at_once(pytester):
    pytester.makepyfile(shop=SHOP)
    pytester.makepyfile(
        """
        import pytest
        import shop

        @pytest.mark.celeriac(app="shop:app")
        @pytest.mark.parametrize("n", range(8))
        def test_it(n, celeriac_harness, worker_id):
            assert worker_id in {"gw0", "gw1"}
            assert celeriac_harness.enqueued() == []
            for _ in range(20):
                shop.thank.delay(n)
            assert {tuple(each.args) for each in celeriac_harness.run_pending()} == {(n,)}

        @pytest.mark.parametrize("n", range(4))
        def test_a_worker(n, celeriac_app, celeriac_worker):
            @celeriac_app.task
            def same():
                return n

            assert same.delay().get(timeout=30) == n
        """
    )
    run(pytester, "-n", "2").assert_outcomes(passed=12)


# -- those who do not use it -----------------------------------------------------------------------


def test_pytest_finds_it_by_itself():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert declared["entry-points"]["pytest11"] == {"celeriac": "celeriac.testing.plugin"}
    found = {each.value for each in entry_points(group="pytest11", name="celeriac")}
    assert found == {"celeriac.testing.plugin"}, "installed before there was a plugin: once more"


def test_a_project_that_does_not_use_it_loads_next_to_nothing(pytester):
    pytester.makepyfile(
        """
        import json
        import sys

        def test_it():
            ours = sorted(name for name in sys.modules if name.startswith("celeriac"))
            heavy = {"msgspec", "apsw", "click", "asyncio", "psutil"} & set(sys.modules)
            with open("loaded.json", "w") as file:
                json.dump([ours, sorted(heavy)], file)
        """
    )
    for used in (("-p", "no:hypothesispytest", "-p", "no:celeriac"), ("-p", "no:hypothesispytest")):
        run(pytester, *used, "-p", "no:xdist").assert_outcomes(passed=1)
    ours, heavy = json.loads((pytester.path / "loaded.json").read_text())
    assert ours == ["celeriac", "celeriac.testing", "celeriac.testing.plugin"]
    assert "hypothesis" not in heavy
    assert set(heavy) <= {"asyncio"}  # other plugins may load it


def test_the_plugin_by_itself_imports_neither_app_nor_store():
    program = (
        "import json, pytest, sys; before = set(sys.modules); import celeriac.testing.plugin; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    text = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    assert set(json.loads(text)) <= {
        "celeriac", "celeriac.testing", "celeriac.testing.plugin",
    }  # fmt: skip


def test_marker_and_fixtures_explain_themselves(pytester):
    pytester.makepyfile("def test_it(): pass")
    markers = run(pytester, "--markers")
    markers.stdout.fnmatch_lines(["@pytest.mark.celeriac(app=None, [*][*]settings)*"])
    fixtures = run(pytester, "--fixtures")
    fixtures.stdout.fnmatch_lines(["celeriac_harness*"])


def test_what_is_in_the_package():
    import celeriac.testing

    for name in celeriac.testing.__all__:
        assert getattr(celeriac.testing, name).__name__ == name
    with pytest.raises(
        AttributeError, match=r"module 'celeriac\.testing' has no attribute 'harnes'"
    ):
        _ = celeriac.testing.harnes
