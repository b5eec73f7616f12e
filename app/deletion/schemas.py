"""What a deletion answers."""

from pydantic import BaseModel, Field


class DeletionJson(BaseModel):
    """What was deleted, and what it brought."""

    deleted: list[str] = Field(
        description="What is gone; empty where it was gone already.",
        examples=[["version 2's 8 files", "its held-out pictures"]],
    )
    kept: list[str] = Field(
        description="What stays, and why.",
        examples=[["its record, which says when it was deleted"]],
    )
    freed_bytes: int = Field(
        description="Bytes that were given back; what somebody else needs too is not among them.",
        examples=[15728640],
    )
