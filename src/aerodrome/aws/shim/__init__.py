"""The embedded cloud: the pinned ministack, behind our own gate and with our own durability.

Runs in the cloud's own virtual environment from a copy of this directory, so it imports nothing of `aerodrome`:
the standard library, `cryptography`, ministack and what ministack ships with.
"""
