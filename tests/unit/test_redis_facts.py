"""The traps of a server's set-up: each found once, with what to do."""

import pytest
from msgspec.structs import replace

from celeriac.stores.redis.facts import Readings, durability_of, facts_of, traps_of
from celeriac.stores.redis.link import Server
from celeriac.stores.redis.location import locate

GOOD = Readings(
    location=locate("redis://:hunter2@localhost"),
    server=Server("redis", (7, 0, 15)),
    info={
        "aof_enabled": "1",
        "aof_last_write_status": "ok",
        "rdb_last_bgsave_status": "ok",
        "role": "master",
        "maxmemory": "1000000",
        "maxmemory_policy": "noeviction",
        "used_memory": "100000",
        "connected_slaves": "0",
    },
    config={"appendfsync": "everysec", "save": "", "min-replicas-to-write": "0"},
    where="localhost:6379",
)


def but(**info):
    return replace(GOOD, info={**GOOD.info, **info})


def only(readings):
    (one,) = traps_of(readings)
    return one


def test_a_good_set_up_has_none():
    assert traps_of(GOOD) == []


def test_no_aof():
    trap = only(but(aof_enabled="0"))
    assert trap.code == "no_aof"
    assert "every task, as there are no snapshots either" in trap.what
    assert "CONFIG SET appendonly yes" in trap.advice
    with_snapshots = replace(but(aof_enabled="0"), config={**GOOD.config, "save": "3600 1"})
    assert "since its last snapshot" in only(with_snapshots).what


def test_appendfsync_no():
    assert only(replace(GOOD, config={**GOOD.config, "appendfsync": "no"})).code == "appendfsync"


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl"])
def test_eviction(policy):
    trap = only(but(maxmemory_policy=policy))
    assert (trap.code, trap.note) == ("eviction", False)
    assert f"maxmemory-policy is {policy}" in trap.what
    assert only(but(maxmemory_policy=policy, maxmemory="0")).note


def test_little_memory_left():
    trap = only(but(used_memory="810000"))
    assert trap.code == "memory"
    assert "81% of the memory of maxmemory are used" in trap.what
    no_limit = but(maxmemory="0", used_memory="900", total_system_memory="1000")
    assert "the kernel ends the server" in only(no_limit).what


def test_replicas_without_min_replicas():
    trap = only(but(connected_slaves="1"))
    assert trap.code == "replicas"
    assert "min-replicas-to-write 1" in trap.advice
    asked = replace(but(connected_slaves="1"), config={**GOOD.config, "min-replicas-to-write": "1"})
    assert traps_of(asked) == []


def test_a_replica():
    assert only(but(role="slave")).code == "replica"


def test_memory_that_is_full():
    full = only(but(used_memory="1100000"))
    assert full.what == "the memory of maxmemory is full (1.0 MiB of 977 KiB): enqueues are refused"


def test_the_oldest_version_that_is_supported_has_nothing_of_its_own():
    assert traps_of(replace(GOOD, server=Server("redis", (6, 2, 14)))) == []
    assert traps_of(replace(GOOD, server=Server("valkey", (9, 1, 2)))) == []


@pytest.mark.parametrize("skew", [30.0, -30.0])
def test_clocks_that_differ(skew):
    trap = only(replace(GOOD, skew=skew))
    assert trap.code == "clock"
    assert ("ahead of" if skew > 0 else "behind") in trap.what
    assert traps_of(replace(GOOD, skew=skew / 10)) == []


def test_a_disk_that_cannot_be_written():
    assert only(but(rdb_last_bgsave_status="err")).code == "disk"


def test_tls_that_verifies_nothing():
    here = locate("rediss://localhost?ssl_cert_reqs=none")
    assert only(replace(GOOD, location=here)).code == "tls"
    here = locate("rediss://localhost?ssl_check_hostname=false")
    assert "the host name" in only(replace(GOOD, location=here)).what


def test_plain_over_a_network_is_a_note():
    trap = only(replace(GOOD, location=locate("redis://:hunter2@cache")))
    assert (trap.code, trap.note) == ("plain", True)
    assert traps_of(replace(GOOD, location=locate("rediss://cache"))) == []


def test_what_may_not_be_read_is_said():
    nothing = replace(GOOD, info={}, config={}, denied=("INFO", "CONFIG"))
    trap = only(nothing)
    assert (trap.code, trap.note) == ("unread", True)
    assert "INFO and CONFIG may not be read" in trap.what
    assert durability_of(nothing) == "not known: INFO may not be read"


@pytest.mark.parametrize(
    ("aof", "config", "words"),
    [
        ("1", {"appendfsync": "always"}, "survives a power cut"),
        ("1", {"appendfsync": "everysec"}, "last second or two"),
        ("1", {"appendfsync": "no"}, "half a minute"),
        ("1", {}, "survives a restart of the server"),
        ("0", {"save": ""}, "nothing survives"),
        ("0", {"save": "60 1"}, "last snapshot"),
    ],
)
def test_the_line_about_durability(aof, config, words):
    assert words in durability_of(replace(but(aof_enabled=aof), config=config))


def test_facts_show_no_password():
    facts = facts_of(replace(GOOD, location=locate("redis://:hunter2@localhost/3")), "celeriac")
    assert facts["place"] == "localhost:6379/3"
    assert facts["store"] == "redis"
    assert "hunter2" not in repr(facts)
