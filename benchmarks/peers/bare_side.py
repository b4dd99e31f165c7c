"""redis-py alone: what a command to the server costs, one by one and in pipelines of a hundred."""

import json
import os
import uuid

from redis import Redis

connection = Redis.from_url(os.environ["BENCH_BROKER"])


def _value(name, arguments):
    return json.dumps({"task": name, "args": arguments}).encode()


def send(name, arguments, queue=None):
    """Set a small value under a key of its own."""
    connection.set(str(uuid.uuid4()), _value(name, arguments))


def send_many(name, many, queue=None):
    """The same, a hundred to a pipeline without a transaction."""
    many = list(many)
    for start in range(0, len(many), 100):
        pipeline = connection.pipeline(transaction=False)
        for arguments in many[start : start + 100]:
            pipeline.set(str(uuid.uuid4()), _value(name, arguments))
        pipeline.execute()
