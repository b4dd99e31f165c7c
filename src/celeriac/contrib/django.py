"""Sending when a transaction in Django is through: not in this version; it says what to do.

Layer 7.
"""

from celeriac.contrib import refusal

raise refusal(__name__)
