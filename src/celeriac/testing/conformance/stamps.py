"""Conformance: stamps that calls were revoked by.

Layer 6; see the package. A store keeps them and tells that there are any; whom they concern is for
workers to see.
"""

# The name of a test states the rule; a docstring would only repeat it.
# ruff: noqa: D102

from __future__ import annotations

from celeriac import states
from celeriac.testing.conformance.kit import Kit, Suite


def _kept(kit: Kit, after: int = 0) -> list[tuple[str, str | None]]:
    """The revoked stamps and how what runs is ended, in the order of their numbers."""
    return [(each.stamp, each.terminate) for each in kit.store.queue.revoked_stamps(after)]


class StampSuite(Suite):
    """Kept, told, lapsed."""

    def test_there_are_none_and_a_beat_says_so(self, kit: Kit) -> None:
        kit.worker()
        assert kit.store.queue.beat("w1").stamps == 0
        assert _kept(kit) == []

    def test_revoked_stamps_are_kept_and_a_beat_tells_that_there_are_new_ones(
        self, kit: Kit
    ) -> None:
        queue = kit.store.queue
        kit.worker()
        queue.revoke_stamps(["a=1", "b=x=y"])
        first = queue.beat("w1").stamps
        assert _kept(kit) == [("a=1", None), ("b=x=y", None)]
        assert first == queue.revoked_stamps()[-1].number > 0
        queue.revoke_stamps(["c=ключ"], "SIGKILL")
        assert queue.beat("w1").stamps > first
        assert _kept(kit, first) == [("c=ключ", "SIGKILL")]
        assert queue.beat("w1").stamps == queue.beat("w1").stamps, "it changes with a revoke only"

    def test_a_worker_that_comes_later_is_told_too(self, kit: Kit) -> None:
        kit.store.queue.revoke_stamps(["a=1"])
        kit.worker("w2")
        assert kit.store.queue.beat("w2").stamps == kit.store.queue.revoked_stamps()[0].number

    def test_one_that_is_revoked_again_is_new_and_terminate_stays(self, kit: Kit) -> None:
        queue = kit.store.queue
        queue.revoke_stamps(["a=1"])
        queue.revoke_stamps(["b=1"])
        (before, last) = queue.revoked_stamps()
        queue.revoke_stamps(["a=1"], "SIGTERM")
        assert _kept(kit, last.number) == [("a=1", "SIGTERM")]
        assert _kept(kit) == [("b=1", None), ("a=1", "SIGTERM")]
        queue.revoke_stamps(["a=1"])
        assert _kept(kit, before.number)[-1] == ("a=1", "SIGTERM")

    def test_they_lapse_and_the_store_is_as_before(self, kit: Kit) -> None:
        kit.configure(revoke_expires=20.0)
        queue = kit.store.queue
        worker = kit.worker()
        queue.revoke_stamps(["a=1"])
        kit.tick(10, alive=[worker])
        queue.revoke_stamps(["b=1"])
        assert [each.until for each in queue.revoked_stamps()] == [kit.now() + 10, kit.now() + 20]
        kit.tick(10, alive=[worker])
        assert _kept(kit) == [("b=1", None)]
        kit.tick(12, alive=[worker])
        assert _kept(kit) == []
        assert queue.beat("w1").stamps == 0

    def test_again_is_another_time(self, kit: Kit) -> None:
        kit.configure(revoke_expires=20.0)
        kit.store.queue.revoke_stamps(["a=1"])
        kit.tick(10)
        kit.store.queue.revoke_stamps(["a=1"])
        kit.tick(15)
        assert _kept(kit) == [("a=1", None)]

    def test_nothing_ends_by_that_alone(self, kit: Kit) -> None:
        kit.send("a", stamps={"a": [1]})
        kit.store.queue.revoke_stamps(["a=1"])
        assert kit.state("a") == states.QUEUED
        assert kit.worker().take().id == "a"

    def test_many(self, kit: Kit) -> None:
        many = [f"a={number}" for number in range(1200)]
        kit.store.queue.revoke_stamps(many)
        assert [stamp for stamp, _ in _kept(kit)] == many


__all__ = ["StampSuite"]
