"""Receipts of what was deleted: signed by the service, so that it knows its own again."""

import json

from app.retirement.records import Receipt
from app.signing import is_signed, sign

PURPOSE = b"receipt of a retirement"


def signed(secret: bytes, receipt: Receipt) -> Receipt:
    """Return a receipt with its signature."""
    return receipt.model_copy(update={"signature": sign(secret, PURPOSE, said(receipt))})


def is_genuine(secret: bytes, receipt: Receipt) -> bool:
    """Return whether a receipt was signed with this secret and says what it said then."""
    return receipt.signature is not None and is_signed(
        secret, PURPOSE, said(receipt), receipt.signature
    )


def said(receipt: Receipt) -> str:
    """Return what is signed: all but the signature, as JSON with sorted keys and without spaces."""
    told = receipt.model_dump(mode="json", exclude={"signature"})
    return json.dumps(told, sort_keys=True, separators=(",", ":"))
