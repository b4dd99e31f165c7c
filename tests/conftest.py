"""What holds for every test: how hypothesis searches, and the servers that are shared."""

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

# A busy machine must not fail a test, so there are no deadlines on single examples; the timeout
# of each test is the guard. CELERIAC_HYPOTHESIS=long searches ten times as far.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("long", settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("CELERIAC_HYPOTHESIS", "default"))


@pytest.fixture(scope="session")
def shared():
    """Real servers, one of each kind for all tests of this process (``support/servers.py``)."""
    from servers import Shared

    made = Shared()
    yield made
    made.close()


@pytest.fixture
def hosts():
    """Hosts on a network of their own (``support/networks.py``), or no test; `make test-faults`
    takes that for a failure."""
    from networks import Unavailable, network

    try:
        with network() as made:
            yield made
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With CELERIAC_NO_SKIPS a test that gives up has failed: the fault matrix counts on it."""
    report = yield
    if report.skipped and os.environ.get("CELERIAC_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {call.excinfo and call.excinfo.value}"
    return report


def pytest_terminal_summary(terminalreporter):
    """What the tests of faults counted and measured, for each store."""
    tallies, recoveries = {}, []
    for reports in terminalreporter.stats.values():
        for each in reports:
            if getattr(each, "when", "") != "call":
                continue
            for name, value in each.user_properties:
                if name == "workflows × faults":
                    for store, counts in value.items():
                        tallies.setdefault(store, Counter()).update(counts)
                elif name == "recovery":
                    recoveries.append(value)
    if tallies:
        from chaos_oracle import table

        terminalreporter.section("workflows × faults")
        for line in table(tallies):
            terminalreporter.write_line(line)
    if recoveries:
        from recoveries import table

        terminalreporter.section("seconds until work goes on")
        for line in table(recoveries):
            terminalreporter.write_line(line)
