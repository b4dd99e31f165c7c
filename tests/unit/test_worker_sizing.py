"""How many tasks a worker runs at once: command line, settings, defaults, and what is refused."""

import pytest

from celeriac.conf import Settings
from celeriac.exceptions import ImproperlyConfigured
from celeriac.worker.sizing import MOST, Size, resolve
from celeriac.worker.spec import WorkerOptions, WorkerSpec

SPEC = WorkerSpec(app="jobs")


def size(pool: str, cores: int = 4, settings: Settings | None = None, **options: object) -> Size:
    return resolve(WorkerOptions(SPEC, **options), settings or Settings(), pool, cores)


@pytest.mark.parametrize(
    ("pool", "cores", "most"),
    [
        ("prefork", 4, 4),
        ("threads", 4, 8),
        ("threads", 64, 32),
        ("asyncio", 4, 100),
        ("solo", 4, 1),
    ],
)
def test_where_nobody_says_it_is_what_fits_the_pool(pool: str, cores: int, most: int) -> None:
    assert size(pool, cores) == Size(most)


def test_the_command_line_wins_over_the_setting_and_autoscaling_over_both() -> None:
    settings = Settings(worker_concurrency=5)
    assert size("threads", settings=settings) == Size(5)
    assert size("threads", settings=settings, concurrency=7) == Size(7)
    assert size("threads", settings=settings, autoscale=(9, 2)) == Size(9, 2)


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_more_than_a_pool_can_hold_is_refused(pool: str) -> None:
    assert size(pool, concurrency=MOST[pool]).most == MOST[pool]
    for options in ({"concurrency": MOST[pool] + 1}, {"autoscale": (MOST[pool] + 1, 1)}):
        with pytest.raises(ImproperlyConfigured, match=f"the pool {pool} can hold.*start several"):
            size(pool, **options)


def test_solo_runs_one_and_does_not_scale() -> None:
    assert size("solo", concurrency=4) == Size(1)
    with pytest.raises(ImproperlyConfigured, match="solo contradict each other"):
        size("solo", autoscale=(4, 1))
