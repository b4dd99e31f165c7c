"""A client that sends for ever and writes down each id once ``apply_async`` has returned for it."""

import os
import random
import sys
from pathlib import Path

import tasks

acknowledged = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
while True:
    result = tasks.work.delay(random.choice([0, 0.001, 0.02, 0.1]))
    os.write(acknowledged, f"{result.id}\n".encode())
    if Path(sys.argv[2]).exists():
        break
    import time

    time.sleep(0.01)
