"""The Redis store: the whole seam on a Redis or Valkey server.

Layer 2; imported by ``stores.connect`` when such a URL is first used. Reading order:
``location.py`` (what a URL says), ``tls.py``, ``link.py`` (one connection), ``nodes.py`` (to which
server), ``connection.py`` (calls within a budget), ``troubles.py`` (what can go wrong, in words).
"""
