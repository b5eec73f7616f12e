"""What a version keeps of its training pictures, for replay in later steps."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.actor import Actor
from app.db.base import Base, JsonObject, UtcDateTime


class Place(StrEnum):
    """Where blobs lie."""

    BLOB_STORE = "blob store"
    MEMORY_FOLDER = "memory folder"  # replay pictures alone, where the settings name a folder


class Memory(Base):
    """Training pictures kept with a version. The row stays when the pictures are deleted."""

    __tablename__ = "memories"

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), unique=True)
    blob: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    place: Mapped[Place] = mapped_column(String(20))
    pictures: Mapped[int]
    classes: Mapped[JsonObject]  # class -> pictures that show it and are labelled for it
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    deleted_by: Mapped[Actor | None]
