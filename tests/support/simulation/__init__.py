"""Workers, clients and their store in one thread and in virtual time, from one seed.

What is real: the dispatch, the incarnation, the courses of lanes and heart, custody, the prefork
pool's bookkeeping, the limits, and the store. What is simulated: time, processes, pipes, the network
between a worker and its store, and whoever sends, revokes and reads. ``run.simulate`` plays one seed
and returns what went wrong; ``world`` has time, ``network`` what happens on the way, ``watch`` what
is seen at the store's door, ``oracle`` what must be true in the end.
"""
