"""What all settings and all records between processes are made of; torch-free."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of all settings: frozen, and an unknown name is an error rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")
