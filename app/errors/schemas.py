"""How a problem looks as JSON. Web-free, as a failed task's `error` is one too."""

from pydantic import BaseModel, Field

from app.errors import TYPE_PREFIX
from app.errors.codes import Code


class ErrorDetailJson(BaseModel):
    """One thing at fault."""

    code: str = Field(
        Code.INVALID,
        description="What is wrong, one word for programs: "
        + ", ".join(f"`{code}`" for code in Code)
        + ". Words may be added.",
        examples=[Code.MISSING.value],
    )
    message: str = Field(description="What is wrong, one sentence.")
    file: str | None = Field(
        None, description="File of the posted data set or request, or of a version."
    )
    field: str | None = Field(
        None, description="Field, parameter or header of the request; dots between levels."
    )
    class_: str | None = Field(None, alias="class", description="Class at fault.")


class ProblemJson(BaseModel):
    """A refusal, as RFC 9457 spells it."""

    type: str = Field(
        description="Stable name of the kind of problem, a URN.",
        examples=[TYPE_PREFIX + "invalid-dataset"],
    )
    title: str = Field(
        description="The kind of problem in words.", examples=["The data set cannot be used"]
    )
    status: int = Field(description="HTTP status.", examples=[422])
    detail: str = Field(
        description="What is wrong this time.", examples=["the zip has no class list"]
    )
    instance: str | None = Field(
        None, description="Path of the request; not in a task's `error`.", examples=["/tasks"]
    )
    request_id: str | None = Field(
        None,
        description="The answer's `Request-Id`, under which the log tells more; not in a task's "
        "`error`.",
        examples=["1617fb62f23444f68097c8d3d3dcd3b8"],
    )
    errors: list[ErrorDetailJson] = Field(
        default_factory=list, description="Every file, field or class at fault, where known."
    )
