"""What a worker tells of those that died."""

import logging

import pytest

from celeriac.records import Reaped
from celeriac.worker.duties.heart import report


@pytest.mark.parametrize(
    ("reaped", "lines"),
    [
        (None, []),
        (Reaped(expired=3, swept=5), []),
        (
            Reaped(owners=("a1", "b2"), workers=("worker x@h (pid 1)", "worker y@h (pid 2)"),
                   requeued=3, failed=2, dead=1),
            [("Worker x@h (pid 1), worker y@h (pid 2) died: 3 task(s) requeued, 2 failed, "
             "1 put aside as dead")],
        ),
        # A store that does not tell who they were.
        (
            Reaped(owners=("a1",)),
            ["Worker a1 died: 0 task(s) requeued, 0 failed, 0 put aside as dead"],
        ),
        (Reaped(joins=2), ["2 group(s) failed: their sender stopped half-way"]),
    ],
)  # fmt: skip
def test_report(caplog, reaped, lines):
    with caplog.at_level(logging.INFO, "celeriac.worker"):
        report(reaped)
    assert [each.getMessage() for each in caplog.records] == lines
