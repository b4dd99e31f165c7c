"""Where the application of ``retry_tasks.py`` runs, and programs that use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servers import server
from workers import Site, site


@contextmanager
def retry_site(folder: Path, store: str) -> Iterator[Site]:
    """The application in *folder*, on a ``sqlite`` file or on a ``redis`` server of its own."""
    if store == "sqlite":
        with site(folder, "retry_tasks.py") as made:
            yield made
        return
    with server(store) as found, site(folder, "retry_tasks.py", broker=found.url) as made:
        yield made


def run(place: Site, code: str) -> list[Any]:
    """What *code* says of itself with ``say(…)``."""
    head = (
        "import json\n"
        "from celeriac import chain, chord, group\n"
        "from tasks import *\n"
        "def say(value): print(json.dumps(value))\n"
        "def ids(result):\n"
        "    found = []\n"
        "    while result is not None:\n"
        "        found = [result.id, *found]; result = result.parent\n"
        "    return found\n"
        "def failed(result):\n"
        "    try: result.get(timeout=50)\n"
        "    except Exception as error: return type(error).__name__\n"
    )
    return [json.loads(line) for line in place.python(head + code).splitlines()]
