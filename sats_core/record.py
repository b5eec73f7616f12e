"""What all settings and all records between processes are made of; torch-free."""

from typing import Final

from pydantic import AliasChoices, BaseModel, ConfigDict

CLASS: Final = "class"
"""What a field `class_name` is called over HTTP; Python keeps that word for itself."""

CLASS_STORED: Final = AliasChoices(CLASS, "class_name")
"""Names that such a field is read by. Records are stored by their fields' own."""


class Record(BaseModel):
    """Base of all settings: frozen, and an unknown name is an error rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")
