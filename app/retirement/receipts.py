"""Receipts of what was deleted: signed by the service, so that it knows its own again."""

import json
from collections.abc import Sequence
from typing import Any

from app.db.base import JsonObject
from app.keys.signing import is_signed, sign
from app.retirement.records import Receipt

PURPOSE = b"receipt of a retirement"


def signed(secret: bytes, receipt: Receipt) -> Receipt:
    """Return a receipt with its signature."""
    told = receipt.model_dump(mode="json", exclude={"signature"})
    return receipt.model_copy(update={"signature": sign(secret, PURPOSE, _said(told))})


def read_receipt(text: str) -> JsonObject:
    """Return the receipt in JSON that is one, or a version's record with one.

    Raises:
        ValueError: it is neither, says something twice, or a version that the receipt is not of.
    """
    try:
        told = json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(told, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - of the file, not the type
    if told.keys() == Receipt.model_fields.keys():
        return told
    retirement = told.get("retirement")
    if not isinstance(retirement, dict):
        raise ValueError("neither a receipt nor a version with one")  # noqa: TRY004
    receipt = retirement.get("receipt")
    if not isinstance(receipt, dict) or receipt.keys() != Receipt.model_fields.keys():
        raise ValueError("a version without a receipt")
    _check_same(told, retirement, receipt)
    return receipt


def is_genuine(secret: bytes, receipt: JsonObject) -> bool:
    """Return whether a receipt was signed with this secret and says what it said then.

    It is judged as it stands: a number that became a text is another receipt.
    """
    signature = receipt.get("signature")
    rest = {name: value for name, value in receipt.items() if name != "signature"}
    return isinstance(signature, str) and is_signed(secret, PURPOSE, _said(rest), signature)


def _check_same(version: JsonObject, retirement: JsonObject, receipt: JsonObject) -> None:
    classes = receipt["classes"]
    names = [one.get("name") for one in classes] if isinstance(classes, list) else None
    around = (version.get("model"), version.get("number"), retirement.get("retired"))
    if around != (receipt["model"], receipt["version"], names):
        raise ValueError("the receipt is of another version than the record around it")


def _once(pairs: Sequence[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("something is said twice")
    return found


def _said(told: JsonObject) -> str:
    """Return what is signed: all but the signature, as JSON with sorted keys and without spaces."""
    return json.dumps(told, sort_keys=True, separators=(",", ":"))
