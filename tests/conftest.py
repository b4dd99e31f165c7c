"""What holds for every test: how hypothesis searches, and the servers that are shared."""

import os

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
    """Hosts on a network of their own (``support/networks.py``). Who has not the rights has no
    test, which `make test-faults` takes for a failure; a command that is missing fails it."""
    from networks import Unavailable, network

    try:
        with network() as made:
            yield made
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few megabytes (``support/disks.py``). Who has not the rights has no test,
    which `make test-faults` takes for a failure."""
    from disks import Unavailable, disk

    try:
        with disk(tmp_path / "disk", 6 << 20) as made:
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


@pytest.fixture
def tally(request, record_property):
    """Wait until what was acknowledged has ended, and count for the table of its store what became
    of it, also where that is not what must be; and look at what is left over (``aftermath.py``).
    Returns the records.

    A function of the place, the ids, and named arguments of ``tallies.count``.
    """
    import aftermath
    import tallies

    def ended(place, ids, *, deadline=60.0, **more):
        try:
            records = place.ended(ids, deadline)
        finally:
            made = tallies.of(place, ids, **more)
            record_property("tally", (column(request, place), dict(made.counts)))
        problems = [*made.problems, *aftermath.problems(place)]
        assert not problems, "\n".join(problems)
        return records

    return ended


def column(request, place):
    """The column of the table that what happens at *place* belongs to."""
    from tallies import COLUMNS

    if place.broker.startswith("sqlite"):
        return "sqlite"
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    named = [each for each in parameters.values() if isinstance(each, str) and each in COLUMNS]
    return COLUMNS[named[0]] if named else "redis"


def pytest_terminal_summary(terminalreporter):
    """What the tests of faults counted and measured, for each store; FAULTS_JSON names a file that
    is to have it, too."""
    reports = [each for found in terminalreporter.stats.values() for each in found]
    keep = os.environ.get("FAULTS_JSON")
    if not keep and not any(getattr(each, "user_properties", ()) for each in reports):
        return
    import fault_page

    found = fault_page.gather(reports)
    for title, lines in fault_page.tables(found).items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
    if keep:
        fault_page.save(found, keep)
