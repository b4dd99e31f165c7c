"""What is wrong with settings taken together, though each alone is right.

Layer L1. Read it through `celeriac.conf`.
"""

from collections.abc import Callable, Iterator
from typing import Any

from .table import SETTINGS
from .typed import Typed
from .values import retry_waits
from .words import shown

__all__ = ["contradictions"]


class _Told(Typed):
    """The settings, and how to say one with its value and where it comes from."""

    def __init__(self, conf: Typed, origin: Callable[[str], str]) -> None:
        self._conf = conf
        self._origin = origin

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conf, name)

    def say(self, *names: str) -> str:
        values = ((name, shown(SETTINGS[name], getattr(self, name))) for name in names)
        return ", ".join(f"{name} = {text} ({self._origin(name)})" for name, text in values)


def contradictions(conf: Typed, origin: Callable[[str], str]) -> Iterator[str]:
    """Yield what is wrong with the settings taken together; *origin* says where one comes from."""
    told = _Told(conf, origin)
    yield from _of_leases(told)
    yield from _of_limits(told)
    yield from _of_content(told)
    yield from _of_times(told)


def _of_leases(conf: _Told) -> Iterator[str]:
    if conf.heartbeat * 3 > conf.lease - conf.lease_margin:
        yield (
            f"{conf.say('heartbeat', 'lease', 'lease_margin')}: three heartbeats must fit into "
            "lease less lease_margin, or one late beat loses all tasks of a worker (seconds)"
        )
    if conf.tombstone_expires < conf.lease + conf.publish_timeout:
        yield (
            f"{conf.say('tombstone_expires', 'lease', 'publish_timeout')}: a call sent twice is "
            "known by its tombstone, which must outlast lease and publish_timeout together "
            "(seconds)"
        )


def _of_limits(conf: _Told) -> Iterator[str]:
    soft, hard = conf.task_soft_time_limit, conf.task_time_limit
    if soft is not None and hard is not None and soft >= hard:
        yield (
            f"{conf.say('task_soft_time_limit', 'task_time_limit')}: the soft limit must be "
            "shorter than the hard one, or it is never reached (seconds)"
        )
    if conf.memory_limit_fraction > conf.memory_kill_fraction:
        yield (
            f"{conf.say('memory_limit_fraction', 'memory_kill_fraction')}: executors would be "
            "killed before they reach their limit; the first must not be above the second"
        )


def _of_content(conf: _Told) -> Iterator[str]:
    for serializer, accepted in (
        ("task_serializer", "accept_content"),
        ("result_serializer", "result_accept_content"),
    ):
        # None in result_accept_content: as accept_content.
        listed = accepted if getattr(conf, accepted) is not None else "accept_content"
        if getattr(conf, serializer) not in getattr(conf, listed):
            told = conf.say(serializer, listed)
            yield f"{told}: what is written must be accepted; add it to {listed}"


def _of_times(conf: _Told) -> Iterator[str]:
    if not conf.enable_utc and conf.timezone == "UTC":
        yield (
            f"{conf.say('enable_utc', 'timezone')}: local time needs its zone by name, such as "
            "timezone = 'Europe/Berlin', because the machines of one system may differ"
        )
    waits = retry_waits(conf.task_publish_retry_policy, conf.publish_timeout)
    if conf.task_publish_retry and waits > conf.publish_timeout:
        yield (
            f"{conf.say('task_publish_retry_policy', 'publish_timeout')}: the waits of the "
            "policy are longer than sending may take (seconds); lower max_retries, set it to "
            "None, or raise publish_timeout"
        )
    if conf.join_seal_timeout < conf.publish_timeout:
        yield (
            f"{conf.say('join_seal_timeout', 'publish_timeout')}: a group would fail while its "
            "sender still tries; join_seal_timeout must not be shorter (seconds)"
        )
