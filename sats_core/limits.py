"""Bounds that do not come from the method."""

MAX_INT32 = 2**31 - 1
"""Largest number of 32 bits with a sign: what a database's integer column and an int32 hold."""

DECODED_BYTES = 6.25
"""Most that decoding may take, for each pixel of as many as a picture may have: of 50 million
300 MiB."""

MAX_HEAD_WIDTH = 4096
"""Most features that a head gives: more are not read from a checkpoint, nor learned."""
