"""What a task may do inside a run, and its handlers, in every pool alike."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from workers import Site, eventually, site

from celeriac import Celeriac

POOLS = ["prefork", "threads", "asyncio", "solo"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, "pool_tasks.py") as made:
        yield made


@pytest.fixture
def app(place: Site) -> Celeriac:
    return Celeriac("client", broker=f"sqlite:///{place.db}", set_as_current=False)


def begin(place: Site, pool: str) -> None:
    place.worker("-P", pool, "-c", "1" if pool == "solo" else "2").ready()


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", ["progress", "aprogress"])
def test_progress_is_shown_while_it_runs_and_gone_afterwards(
    place: Site, app: Celeriac, pool: str, name: str
) -> None:
    begin(place, pool)
    gate = place.folder / "gate"
    (id,) = place.send(f"tasks.{name}", str(gate))
    place.wait_ledger("start", id)
    result = app.AsyncResult(id)
    eventually(lambda: result.info == {"done": 2}, "progress")
    assert result.state == "PROGRESS"
    gate.touch()
    assert result.get(timeout=30)[1] == f"tasks.{name}"
    assert result.state == "SUCCESS"
    assert [each.event for each in place.ledger(None, id)] == [
        "before_start:True", "start", "on_success:True", "after_return:SUCCESS:True",
    ]  # fmt: skip


@pytest.mark.parametrize("pool", POOLS)
def test_what_a_task_sets_in_its_context_is_not_met_by_the_next(
    place: Site, app: Celeriac, pool: str
) -> None:
    begin(place, pool)
    sent = [(place.send(f"tasks.{each}", "ours")) for each in ("whose", "awhose") * 3]
    for (id,) in sent:
        assert app.AsyncResult(id).get(timeout=30) == ["nobody", "ours"]


@pytest.mark.parametrize("pool", POOLS)
def test_ends_and_handlers(place: Site, app: Celeriac, pool: str) -> None:
    begin(place, pool)
    ids = [place.send(f"tasks.{name}")[0] for name in ("shaky", "ignored", "rejected")]
    place.ended(ids)
    assert [app.AsyncResult(id).state for id in ids] == ["FAILURE", "IGNORED", "REJECTED"]
    assert [each.event for each in place.ledger(None, ids[0])] == [
        "before_start:True", "on_retry:KeyError:True", "before_start:True",
        "on_failure:ValueError:True", "after_return:FAILURE:True",
    ]  # fmt: skip


@pytest.mark.parametrize("pool", ["prefork", "asyncio"])
def test_a_coroutine_that_is_terminated_is_told_as_revoked(place: Site, pool: str) -> None:
    begin(place, pool)
    (id,) = place.send("tasks.forever")
    place.wait_ledger("start", id)
    place.store.queue.revoke([id], "SIGTERM")
    (record,) = place.ended([id])
    assert record.state == "revoked"
    event = f"task_revoked:tasks.forever:True:{int(signal.SIGTERM)}:False"
    place.wait_ledger(event, id)
