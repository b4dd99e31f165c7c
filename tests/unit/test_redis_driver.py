"""Without the extra: what is said, and that nothing else needs it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("missing", ["redis", "hiredis"])
@pytest.mark.parametrize("url", ["redis://localhost", "sentinel://a?master_name=m"])
def test_a_missing_driver_is_answered_with_the_line_that_installs_it(missing, url):
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from celeriac.exceptions import ImproperlyConfigured\n"
        "from celeriac.stores import connect\n"
        "try:\n"
        f"    connect({url!r})\n"
        "except ImproperlyConfigured as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    scheme = url.partition(":")[0]
    assert done.stdout == (
        f"{scheme}:// needs the package {missing}, which is not installed: "
        'pip install "celeriac[redis]"\n'
    )


def test_the_driver_is_not_loaded_before_it_is_used():
    code = (
        "import sys, celeriac\n"
        "app = celeriac.Celeriac('shop', broker='redis://localhost')\n"
        "from celeriac.stores import check_url\n"
        "check_url('rediss://localhost')\n"
        "print([name for name in ('redis', 'hiredis', 'ssl', 'asyncio') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
