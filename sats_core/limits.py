"""Bounds that do not come from the method."""

MAX_INT32 = 2**31 - 1
"""Largest number of 32 bits with a sign: what a database's integer column and an int32 hold."""
