"""Background duties of the supervisor: one file each.

Layer 5.
"""
