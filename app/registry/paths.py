"""What endpoints' paths name: a model, and one of its versions."""

from typing import Annotated

from fastapi import Path

from app.http.parameters import Digits
from app.registry.schemas import MAX_NUMBER, MODEL_PATTERN

ModelName = Annotated[str, Path(pattern=MODEL_PATTERN, description="The model's name.")]
Number = Annotated[int, Path(ge=1, le=MAX_NUMBER, description="The version's number."), Digits]
