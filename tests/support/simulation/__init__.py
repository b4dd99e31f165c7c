"""Workers, clients and their store in one thread and in virtual time, from one seed.

Real are the dispatch, the incarnation, the courses of lanes and heart, custody, the bookkeeping of
the prefork pool, the limits, and the store (in memory; SQLite for some seeds). Simulated are time,
processes and pipes, the network between a worker and its store, and whoever sends, revokes and
reads. ``run.simulate`` plays one seed and returns what went wrong; ``world`` has time, ``network``
what happens on the way, ``faults`` what is done to all of it, ``watch`` what is seen at the store's
door, ``oracle`` what must be true in the end.

Not in here: doorbells (they ring at random; a lost ring would not be seen), bids, rate limits,
pools that run several tasks in one process, two stores, an operator's retry, and whatever is
written for one kind of store.
"""
