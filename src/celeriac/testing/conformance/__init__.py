"""The conformance suite: every rule of the protocol a store can be asked, as a test.

Layer 6, open to third parties. Needs pytest. A store is tested like this::

    from celeriac.testing.conformance import StoreSuite

    class TestMyStore(StoreSuite):
        @pytest.fixture
        def open_store(self, tmp_path):
            return lambda options: my_store.open_store(f"my://{tmp_path}", options)

The fixture gives a function that opens a store, empty and in a place of its own, with the options
it is given. They carry a clock that stands still until the test moves it: the store must take all
time from ``options.clock`` and all jitter from ``options.random``.
"""

from __future__ import annotations

import pytest

# Before the modules are imported: so that what an assertion saw is shown when it fails.
for _module in (
    "acts",
    "acts_of_others",
    "acts_of_queues",
    "crashes",
    "deaths",
    "dynamic",
    "errbacks",
    "flows",
    "kit",
    "leases",
    "lost_answers",
    "mirroring",
    "operators",
    "others",
    "plans",
    "queue",
    "releases",
    "results",
    "stamps",
    "workflows",
):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from celeriac.testing.conformance.crashes import CrashpointSuite  # noqa: E402
from celeriac.testing.conformance.deaths import ClockSuite, DeathSuite, RevokeSuite  # noqa: E402
from celeriac.testing.conformance.dynamic import (  # noqa: E402
    GrowSuite,
    NeverSentSuite,
    ReplaceSuite,
)
from celeriac.testing.conformance.errbacks import ErrbackSuite  # noqa: E402
from celeriac.testing.conformance.flows import FlowSuite  # noqa: E402
from celeriac.testing.conformance.kit import Kit, OpenStore, Suite, Worker, message  # noqa: E402
from celeriac.testing.conformance.leases import (  # noqa: E402
    ExchangeSuite,
    FenceSuite,
    ReleaseSuite,
    RepeatSuite,
)
from celeriac.testing.conformance.lost_answers import LostAnswerSuite  # noqa: E402
from celeriac.testing.conformance.mirroring import MirrorSuite  # noqa: E402
from celeriac.testing.conformance.operators import OperatorSuite  # noqa: E402
from celeriac.testing.conformance.others import (  # noqa: E402
    BusSuite,
    CoordinatorSuite,
    InspectionSuite,
    SchedulesSuite,
)
from celeriac.testing.conformance.plans import PlanSuite, RevokedBeforeSuite  # noqa: E402
from celeriac.testing.conformance.queue import (  # noqa: E402
    AlikeSuite,
    EnqueueSuite,
    OrderSuite,
    ParkingSuite,
    WantSuite,
)
from celeriac.testing.conformance.releases import PartTimesSuite  # noqa: E402
from celeriac.testing.conformance.results import (  # noqa: E402
    ResultsSuite,
    RetentionSuite,
    WaitSuite,
)
from celeriac.testing.conformance.stamps import StampSuite  # noqa: E402
from celeriac.testing.conformance.workflows import (  # noqa: E402
    EdgeSuite,
    JoinSuite,
    ReferenceSuite,
)


class QueueSuite(EnqueueSuite, AlikeSuite, OrderSuite, ParkingSuite, WantSuite, WaitSuite):
    """Sending and taking."""


class LeaseSuite(
    ExchangeSuite,
    FenceSuite,
    RepeatSuite,
    ReleaseSuite,
    DeathSuite,
    ClockSuite,
    RevokeSuite,
    StampSuite,
):
    """Holding and letting go."""


class WorkflowSuite(
    EdgeSuite,
    ErrbackSuite,
    ReferenceSuite,
    JoinSuite,
    PlanSuite,
    RevokedBeforeSuite,
    ReplaceSuite,
    GrowSuite,
    NeverSentSuite,
    FlowSuite,
    PartTimesSuite,
    OperatorSuite,
):
    """What follows from the end of a record."""


class StoreSuite(
    QueueSuite,
    LeaseSuite,
    WorkflowSuite,
    ResultsSuite,
    RetentionSuite,
    MirrorSuite,
    CoordinatorSuite,
    SchedulesSuite,
    InspectionSuite,
    BusSuite,
    CrashpointSuite,
    LostAnswerSuite,
):
    """All of it."""


__all__ = [
    "AlikeSuite",
    "BusSuite",
    "ClockSuite",
    "CoordinatorSuite",
    "CrashpointSuite",
    "DeathSuite",
    "EdgeSuite",
    "EnqueueSuite",
    "ErrbackSuite",
    "ExchangeSuite",
    "FenceSuite",
    "FlowSuite",
    "GrowSuite",
    "InspectionSuite",
    "JoinSuite",
    "Kit",
    "LeaseSuite",
    "LostAnswerSuite",
    "MirrorSuite",
    "NeverSentSuite",
    "OpenStore",
    "OperatorSuite",
    "OrderSuite",
    "ParkingSuite",
    "PartTimesSuite",
    "PlanSuite",
    "QueueSuite",
    "ReferenceSuite",
    "ReleaseSuite",
    "RepeatSuite",
    "ReplaceSuite",
    "ResultsSuite",
    "RetentionSuite",
    "RevokeSuite",
    "RevokedBeforeSuite",
    "SchedulesSuite",
    "StampSuite",
    "StoreSuite",
    "Suite",
    "WaitSuite",
    "WantSuite",
    "Worker",
    "WorkflowSuite",
    "message",
]
