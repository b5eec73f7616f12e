"""Files on their way into the store together with the rows that refer to them."""

from collections.abc import Callable, Collection
from typing import TypeVar

from app.storage.blobs import StagedBlob
from app.storage.errors import SentInVainError

T = TypeVar("T")


def send(files: Collection[StagedBlob]) -> None:
    """Do what takes long of publishing them; in no transaction."""
    for one in files:
        one.send()


def enter_with(files: Collection[StagedBlob], enter: Callable[[], T]) -> T:
    """Enter rows and the files that were sent for them; send those once more that went meanwhile.

    Bytes that others stored before are not sent twice, and whoever had them may end and have them
    deleted before the transaction has begun.

    Args:
        files: what the rows refer to.
        enter: the transaction: it locks the files, confirms and publishes them.

    Raises:
        SentInVainError: they went a second time.
    """
    try:
        return enter()
    except SentInVainError:
        send(files)
        return enter()
