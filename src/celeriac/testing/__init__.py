"""Tools for tests: of stores (``conformance``, ``faults``, ``ledger``, ``model``).

Layer 6. Nothing in Celeriac imports this package. ``conformance`` needs pytest, which the ``test``
extra brings; the others need nothing.
"""
