"""What the service signs and gives out, and knows again when it comes back."""

import hashlib
import hmac
import re

_SIGNATURE = re.compile(r"(?<=\.)[0-9a-f]{64}(?![0-9a-f])")


def sign(secret: bytes, purpose: bytes, text: str) -> str:
    """Return the HMAC-SHA256 of a text, hex.

    Args:
        secret: under everything that is signed.
        purpose: has a key of its own, so that what is signed for it can be taken for nothing else,
            the digest of an API key among it.
        text: what is signed; it may come from outside.
    """
    own = hmac.new(secret, purpose, hashlib.sha256).digest()
    return hmac.new(own, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def is_signed(secret: bytes, purpose: bytes, text: str, signature: str) -> bool:
    """Return whether a signature is that of a text, in a time that tells nothing of it."""
    expected = sign(secret, purpose, text).encode()
    return hmac.compare_digest(expected, signature.encode("utf-8", "surrogatepass"))


def unsigned(path: str) -> str:
    """Return a path as logs and traces may hold it: of a signed token in it the signature is gone.

    What is left says which upload it was, and lets nobody in.
    """
    return _SIGNATURE.sub("-", path)
