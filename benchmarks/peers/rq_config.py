"""Where RQ's workers find their server; its command line reads it from here."""

import os

REDIS_URL = os.environ["BENCH_BROKER"]
