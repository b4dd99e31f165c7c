"""A store in the middle of its life, as each schema so far has written it, is finished by the code
of today.

``golden/stores`` holds them as text, ``support/golden_stores.py`` says how they came about; the
fault matrix has them in row 49.
"""

import json
from pathlib import Path

import pytest
from golden_stores import FOLDER, restore, versions
from servers import server
from workers import eventually, site

from celeriac import Celeriac
from celeriac.result import GroupResult
from celeriac.stores.base import Entry

STORES = sorted(path.stem for path in FOLDER.glob("*.json"))
#: Each with what it is restored on.
PLACES = [
    (name, kind)
    for name in STORES
    for kind in (["sqlite"] if name.startswith("sqlite") else ["redis", "valkey", "redis-6.2"])
]

WITH_WORKFLOWS = [
    (name, kind) for name, kind in PLACES if "body-told" in (FOLDER / f"{name}.json").read_text()
]


@pytest.fixture
def place(name: str, kind: str, tmp_path: Path):
    if kind == "sqlite":
        restore(name, tmp_path / "celeriac.db")
        with site(tmp_path, "golden_tasks.py") as made:
            yield made
        return
    with server(kind) as store:
        with store.connect() as client:
            restore(name, client)
        with site(tmp_path, "golden_tasks.py", store.url) as made:
            yield made


def test_there_is_one_of_each_schema() -> None:
    """A schema is changed by adding to them, see the head of ``support/golden_stores.py``."""
    every = {f"{store}-{n}" for store, last in versions().items() for n in range(1, last + 1)}
    assert set(STORES) == every


@pytest.mark.parametrize(("name", "kind"), PLACES)
def test_a_worker_of_today_finishes_what_an_old_one_left(name: str, kind: str, place) -> None:
    expected = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    app = Celeriac("client", broker=place.broker, set_as_current=False)
    store = name.partition("-")[0]
    assert app.store.inspection.facts()["schema version"] == versions()[store]
    assert app.AsyncResult("succeeded").get(timeout=10) == [1, "zwei"]
    assert [each for each in app.store.inspection.get(list(expected)) if each is None] == []

    worker = place.worker("-Q", "celery,mail").ready()
    records = {each.id: each for each in place.ended(list(expected))}
    found = {
        id: {
            "state": records[id].state,
            "runs": len(place.ledger("start", id)),
            "value": app.AsyncResult(id).get(propagate=False, timeout=10)
            if records[id].state == "succeeded" and each["value"] is not None
            else None,
        }
        for id, each in expected.items()
    }
    assert found == expected
    assert records["called-off"].reason.startswith("TaskRevokedError")
    assert records["once"].reason.startswith("WorkerLostError")
    assert (records["leased"].losses, records["crashed"].crashes) == (1, 1)
    assert records["retried"].retries == 1
    with pytest.raises(ValueError, match="of old"):
        app.AsyncResult("failed").get(timeout=10)
    eventually(lambda: len(app.store.inspection.workers()) == 1, "the old worker is forgotten")
    app.send_task("tasks.traced", task_id="revoked-before-it-came")
    assert place.ended(["revoked-before-it-came"])[0].state == "revoked"
    if "joined" in expected:
        workflows_are_whole(app, records)
    assert app.store.inspection.retry(["dead"]) == ["dead"]
    assert app.AsyncResult("dead").get(timeout=30) == []
    assert worker.stop() == 0
    app.close()


@pytest.mark.parametrize(("name", "kind"), WITH_WORKFLOWS)
def test_what_was_revoked_in_an_old_store_waits_again_for_its_turn(name: str, kind: str, place):
    """Redis: edges that an earlier version packed do not say what an errback is behind."""
    app = Celeriac("client", broker=place.broker, set_as_current=False)
    app.store.queue.revoke(["body-told"])
    assert place.record("body-told").state == "revoked"
    assert place.record("body").state == "waiting"
    assert app.store.inspection.retry(["body-told"]) == ["body-told"]
    assert place.record("body-told").state == "waiting"
    app.close()


def workflows_are_whole(app: Celeriac, records) -> None:
    assert "header incomplete" in records["open-body"].reason
    assert records["lost-body"].cause == "lost-0"
    assert app.AsyncResult("lost-told").get(timeout=10).startswith("lost-body: ")
    assert records["dead-retried"].generation == 1
    kept = GroupResult.restore("kept", app)
    assert kept is not None
    assert kept.get(timeout=10) == [[0], [1]]
    assert app.AsyncResult("body").tree().state == "SUCCESS"
    assert app.store.schedules.load() == [Entry("each-hour", b"definition", 1234.5, True)]
