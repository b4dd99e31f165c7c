"""Workers, clients and their store in one thread and in virtual time, from one seed.

Real are the dispatch, the incarnation, the courses of lanes, heart and relay, custody, rate limits,
what is known of revoked stamps, the bookkeeping of the prefork pool, the limits, and the store (in
memory; SQLite for some seeds). Simulated are time, processes and pipes, doorbells, the network
between a worker and its stores, and whoever sends, revokes, retries and reads.

``run.simulate`` plays one seed and returns what went wrong; ``world`` has time, ``network`` what
happens on the way, ``faults`` what is done to all of it, ``watch`` what is seen at the store's
door, ``oracle`` what must be true in the end, ``idle`` that nothing waits while somebody is free.

Each seed draws which of ``run.FEATURES`` it has: an operator's retries, revokes by stamp, doorbells
that wake one waiter for each ring (and may all be lost), bids, a second store with relays, reboots,
rate limits, pools that run several tasks in one process, purges and discards, names that some
workers do not know and that are parked, a server whose replica takes its place without the last
writes.

Not in here: the solo pool, threads within a supervisor, and whatever is written for one kind of
store (whom a real doorbell wakes, Lua). A worker's turn is written down once more in ``worker``; a
test holds it against the supervisor's.
"""
