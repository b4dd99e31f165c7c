"""Compressed calls and results between clients and real workers, signed ones too."""

from pathlib import Path

import pytest
from workers import Site, site

from celeriac.bodies import unseal
from celeriac.message import decode

KEY = "a secret of this test, long enough"


@pytest.fixture
def place(tmp_path: Path):
    with site(tmp_path) as found:
        yield found


def send(place: Site, *calls: str) -> list[str]:
    """Run a client that makes these calls and prints their ids."""
    lines = "".join(f"print({call}.id)\n" for call in calls)
    return place.python(f"from tasks import *\nWORDS = 'words ' * 50_000\n{lines}").split()


@pytest.mark.parametrize("pool", ["prefork", "asyncio"])
def test_a_worker_runs_what_is_compressed_and_compresses_what_it_returns(
    place: Site, pool: str
) -> None:
    place.environment["CELERIAC_RESULT_COMPRESSION"] = "zstd"
    place.environment["CELERIAC_SECURITY_KEY"] = KEY
    place.worker("-P", pool, "-c", "1").ready()
    names = ["gzip", "bzip2", "lzma", "zstd"]
    calls = [f"traced.apply_async((WORDS,), compression={name!r})" for name in names]
    ids = send(place, *calls, "traced.delay('short')")
    found = place.ended(ids)
    assert [each.state for each in found] == ["succeeded"] * 5
    assert [decode(each.wire).header.compression for each in found] == [*names, ""]
    for record in found[:4]:
        assert len(record.wire) < 3000
        assert len(record.body) < 3000
        assert unseal(record.body, record.id, None).compression == "zstd"
    read = place.python(
        "from tasks import *\n"
        f"for id in {ids[:4]!r}:\n"
        "    result = app.AsyncResult(id)\n"
        "    print(result.get(timeout=60) == result.args[0] == 'words ' * 50_000)\n"
    )
    assert read.split() == ["True"] * 4


def test_the_setting_compresses_all_that_is_sent(place: Site) -> None:
    place.environment["CELERIAC_TASK_COMPRESSION"] = "gzip"
    place.worker("-c", "1").ready()
    ids = send(place, "traced.delay(WORDS)", "app.enqueue_many([traced.s(WORDS)])[0]")
    for record in place.ended(ids):
        assert record.state == "succeeded"
        assert decode(record.wire).header.compression == "gzip"


def test_a_worker_that_cannot_read_a_call_says_why_and_goes_on(place: Site) -> None:
    """What a newer client may send, or one with a package that is not here."""
    worker = place.worker("-c", "1").ready()
    odd = send(
        place,
        "(lambda made: app.client.send([made]) or made)(app.client.signed(__import__('msgspec')"
        ".structs.replace(app.client.message('tasks.traced', (1,), {}).header,"
        " compression='snappy'), b'x'))",
    )
    (good,) = place.send("tasks.traced", 2)
    failed, done = place.ended([*odd, good])
    assert (failed.state, done.state) == ("failed", "succeeded")
    assert "compressed as 'snappy'" in failed.reason
    assert failed.crashes == 0
    assert place.ledger("start", failed.id) == []
    assert "update whoever reads it" in worker.text()
