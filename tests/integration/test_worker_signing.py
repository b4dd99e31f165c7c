"""A worker with ``security_key`` runs what is signed with it, and nothing else."""

from pathlib import Path

import pytest
from workers import site

KEY = "a secret of this test, long enough"
OTHER = "another secret, just as long as it"


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_only_messages_signed_with_the_key_are_run(tmp_path: Path, pool: str) -> None:
    with site(tmp_path) as place:
        (unsigned,) = place.send("tasks.traced", 1)
        place.environment["CELERIAC_SECURITY_KEY"] = OTHER
        (foreign,) = place.send("tasks.traced", 2)
        place.environment["CELERIAC_SECURITY_KEY"] = KEY
        (signed,) = place.send("tasks.traced", 3)
        worker = place.worker("-P", pool).ready()
        refused, stranger, good = place.ended([unsigned, foreign, signed])
        assert good.state == "succeeded"
        for record in (refused, stranger):
            assert record.state == "failed"
            assert record.reason.startswith("SecurityError")
            assert place.ledger("start", record.id) == []
        assert f"Task {unsigned} refused, it will not run" in worker.text()
        assert KEY not in worker.text()
        out = place.python(
            f"import tasks\nprint(tasks.app.AsyncResult({signed!r}).get(timeout=60))"
        )
        assert out.strip() == "3"
