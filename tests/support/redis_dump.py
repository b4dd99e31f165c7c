"""All that a namespace keeps on a Redis server, to compare what two ways of doing a thing leave."""

READ = {
    b"string": ("GET",),
    b"list": ("LRANGE", 0, -1),
    b"hash": ("HGETALL",),
    b"set": ("SMEMBERS",),
    b"zset": ("ZRANGE", 0, -1, "WITHSCORES"),
}


def kept(place, namespace):
    """Key → value, keys without their prefix."""
    prefix = f"{{{namespace}}}:"
    with place.connect() as client, client.pipeline(transaction=False) as pipe:
        keys = client.keys(f"{prefix}*")
        for key in keys:
            pipe.type(key)
        commands = [READ[kind] for kind in pipe.execute()]
        for key, (command, *more) in zip(keys, commands, strict=True):
            pipe.execute_command(command, key, *more)
        values = pipe.execute()
    return {
        key.decode().removeprefix(prefix): sorted(map(str, value))
        if command == "SMEMBERS"
        else value
        for key, (command, *_), value in zip(keys, commands, values, strict=True)
    }
