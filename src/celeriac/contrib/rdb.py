"""A debugger reached over a socket: not in this version; importing it says what to do.

Layer 7.
"""

from celeriac.contrib import refusal

raise refusal(__name__)
