"""Tokens that stand for an upload: what was stored, who may use it, and until when.

A row keeps the bytes until then, or until a task of them does (`app.uploads.large`); where its key
has neither, the token stands for nothing. What nobody has made a task of is the collector's
afterwards.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from app.errors import ErrorDetail, InvalidProblem
from app.errors.codes import Code
from app.idempotency.service import reused
from app.keys.signing import is_signed, sign
from app.storage import Blob

LONGEST_SECONDS = 1800
_PURPOSE = b"token of an upload"
_FORM = re.compile(r"(?P<key>[0-9a-f]{64})\.(?P<size>\d{1,15})\.(?P<ends>\d{1,15})\.[0-9a-f]{64}")


class UploadGoneProblem(InvalidProblem):
    """An upload is kept for half an hour; after that its token stands for nothing."""

    slug = "upload-gone"
    title = "The upload is not there"


@dataclass(frozen=True)
class Upload:
    """Stored bytes that no task has yet.

    Attributes:
        blob: the bytes.
        ends: until when they can be used, in seconds since 1970.
    """

    blob: Blob
    ends: int


def lifetime(grace_seconds: float) -> int:
    """Return for how many seconds a token is good where garbage is collected after so many."""
    return int(min(LONGEST_SECONDS, grace_seconds / 2))


def make_token(secret: bytes, upload: Upload, key_id: int | None) -> str:
    """Return the token of an upload, good for the key that sent it; None: for calls without one."""
    told = f"{upload.blob.key}.{upload.blob.size}.{upload.ends}"
    return f"{told}.{sign(secret, _PURPOSE, _said(told, key_id))}"


def read_token(secret: bytes, token: str, key_id: int | None, now: datetime) -> Upload:
    """Return what a token stands for.

    Args:
        secret: it is signed with.
        token: the text.
        key_id: whose it is to be; None: a caller's without a key.
        now: by the database's clock, as the row says until when it keeps the bytes.

    Raises:
        UploadGoneProblem: it has ended, is another key's, or was never given out.
    """
    form = _FORM.fullmatch(token)
    told, _, signature = token.rpartition(".")
    if form is None or not is_signed(secret, _PURPOSE, _said(told, key_id), signature):
        raise gone("there is no such upload of this key")
    if int(form["ends"]) < now.timestamp():
        raise gone("the upload was kept until its end and is gone")
    return Upload(Blob(form["key"], int(form["size"])), int(form["ends"]))


def same_end(made: str, now: datetime) -> int:
    """Return until when an upload can be used that the same request stored before.

    Its token is made again of that time; none is stored.

    Raises:
        IdempotencyKeyReusedProblem: that time is over.
    """
    ends = int(made)
    if ends < now.timestamp():
        raise reused("the upload of this request was kept until its end: take another key for it")
    return ends


def gone(why: str) -> UploadGoneProblem:
    """Return the refusal of an upload that cannot be used."""
    fault = ErrorDetail(f"{why}: send it again", field="upload", code=Code.MISSING)
    return UploadGoneProblem(f"{why}: POST /uploads takes it again", [fault])


def _said(told: str, key_id: int | None) -> str:
    return f"{told} {'' if key_id is None else key_id}"
