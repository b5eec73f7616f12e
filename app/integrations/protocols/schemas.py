"""Requests and answers of the Open Inference Protocol, version 2."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sats_core.limits import MAX_INT32

LONGEST_SIDE = MAX_INT32
LONGEST_ID = 1000

Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE, strict=True)]
ANY = -1
"""A side of any length."""

REQUEST_EXAMPLE: dict[str, Any] = {
    "inputs": [
        {"name": "image", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [255, 0, 0]},
    ],
    "outputs": [{"name": "mask"}],
}
ANSWER_EXAMPLE: dict[str, Any] = {
    "model_name": "default",
    "model_version": "2",
    "id": None,
    "outputs": [{"name": "mask", "datatype": "UINT8", "shape": [1, 1, 1], "data": [5]}],
}


class RefusalJson(BaseModel):
    """A refusal, as the protocol spells it."""

    error: str = Field(description="What is wrong, for people.")


class ServerJson(BaseModel):
    """The server and what of the protocol it speaks."""

    name: str = Field(description="Always `sats`.")
    version: str = Field(description="Version of the service.")
    extensions: list[str] = Field(description="`binary_tensor_data`.")


class LiveJson(BaseModel):
    """The process is alive."""

    live: bool = Field(True, description="Always true; otherwise there is no answer.")


class ServerReadyJson(BaseModel):
    """The service can work."""

    ready: bool = Field(True, description="Always true; otherwise it is a refusal.")


class ModelReadyJson(BaseModel):
    """A version is loaded."""

    name: str = Field(description="The model.")
    ready: bool = Field(True, description="Always true; otherwise it is a refusal.")


class TensorMetadataJson(BaseModel):
    """A tensor that a model takes or gives."""

    name: str = Field(description="Its name.")
    datatype: str = Field(description="Type of its elements.")
    shape: list[int] = Field(description="Its sides; -1 is any length.")


class ModelMetadataJson(BaseModel):
    """A model, its versions and tensors."""

    name: str = Field(description="The model.")
    versions: list[str] = Field(description="Numbers of its versions that are not deleted.")
    platform: str = Field(description="Always `sats`.")
    inputs: list[TensorMetadataJson] = Field(
        description="`image`, pictures of one size as RGB, and `encoded`, pictures' files. A "
        "request brings one of both."
    )
    outputs: list[TensorMetadataJson] = Field(
        description="`mask`, class indices, and `score`, the probability of each pixel's best "
        "class. Without `outputs` a request is answered with `mask`."
    )


INPUTS = [
    TensorMetadataJson(name="image", datatype="UINT8", shape=[ANY, ANY, ANY, 3]),
    TensorMetadataJson(name="encoded", datatype="BYTES", shape=[ANY]),
]
OUTPUTS = [
    TensorMetadataJson(name="mask", datatype="UINT8", shape=[ANY, ANY, ANY]),
    TensorMetadataJson(name="score", datatype="FP32", shape=[ANY, ANY, ANY]),
]


class InputParametersJson(BaseModel):
    """Parameters of an input; others are passed over."""

    binary_data_size: Annotated[int, Field(ge=0, strict=True)] | None = Field(
        None, description="Bytes of it that follow the JSON, in place of `data`."
    )
    shared_memory_region: Any = Field(None, description="Not there: refused.")


class InputJson(BaseModel):
    """The pictures."""

    name: Literal["image", "encoded"] = Field(description="Which of the model's inputs it is.")
    datatype: Literal["UINT8", "BYTES"] = Field(description="`UINT8` for image, else `BYTES`.")
    shape: list[Side] = Field(
        min_length=1,
        max_length=4,
        description="`image`: [N, H, W, 3], or [H, W, 3] for one; `encoded`: [N] or [N, 1].",
    )
    parameters: InputParametersJson = Field(
        default_factory=InputParametersJson, description="How it comes."
    )
    data: Any = Field(
        None,
        description="Its elements row by row, nested or not: numbers 0 to 255, or base64.",
    )

    @model_validator(mode="after")
    def _comes_once(self) -> Self:
        if self.datatype != ("UINT8" if self.name == "image" else "BYTES"):
            raise ValueError("`image` is UINT8, `encoded` is BYTES")
        if self.parameters.shared_memory_region is not None:
            raise ValueError("there is no shared memory: send the tensor itself")
        if (self.data is None) == (self.parameters.binary_data_size is None):
            raise ValueError("give `data` or `binary_data_size`")
        return self


class OutputParametersJson(BaseModel):
    """Parameters of an output; others are passed over."""

    binary_data: bool | None = Field(
        None, description="Whether it follows the JSON as bytes; else as `binary_data_output` says."
    )
    classification: Any = Field(None, description="Not there: refused.")
    shared_memory_region: Any = Field(None, description="Not there: refused.")

    @model_validator(mode="after")
    def _is_there(self) -> Self:
        if self.classification is not None or self.shared_memory_region is not None:
            raise ValueError("neither `classification` nor shared memory is there")
        return self


class OutputWishJson(BaseModel):
    """An output that is asked for."""

    name: Literal["mask", "score"] = Field(description="Which of the model's outputs it is.")
    parameters: OutputParametersJson = Field(
        default_factory=OutputParametersJson, description="How it is given."
    )


class RequestParametersJson(BaseModel):
    """Parameters of a request; others are passed over."""

    binary_data_output: bool = Field(
        False, description="Whether outputs follow the JSON as bytes where they do not say."
    )


class InferRequestJson(BaseModel):
    """Pictures to segment."""

    model_config = ConfigDict(json_schema_extra={"examples": [REQUEST_EXAMPLE]})

    id: str | None = Field(None, max_length=LONGEST_ID, description="Comes back as it is.")
    parameters: RequestParametersJson = Field(
        default_factory=RequestParametersJson, description="How it is answered."
    )
    inputs: list[InputJson] = Field(
        min_length=1, max_length=1, description="One: `image`, or `encoded`."
    )
    outputs: list[OutputWishJson] = Field(
        default_factory=list, max_length=2, description="What is asked for; by default `mask`."
    )

    @property
    def wanted(self) -> dict[str, bool]:
        """Which outputs are asked for, and whether as bytes."""
        binary = self.parameters.binary_data_output
        asked: dict[str, bool] = {
            one.name: binary if one.parameters.binary_data is None else one.parameters.binary_data
            for one in self.outputs
        }
        return asked or {"mask": binary}


class OutputJson(BaseModel):
    """An output."""

    name: str = Field(description="Its name.")
    datatype: str = Field(description="Type of its elements.")
    shape: list[int] = Field(description="[N, H, W].")
    data: list[float] | None = Field(None, description="Its elements, row by row.")
    parameters: dict[str, int] | None = Field(
        None, description="`binary_data_size`: bytes of it that follow the JSON, in place of data."
    )


class InferAnswerJson(BaseModel):
    """What the pictures show, and which version says so."""

    model_config = ConfigDict(json_schema_extra={"examples": [ANSWER_EXAMPLE]})

    model_name: str = Field(description="The model that answered.")
    model_version: str = Field(description="Number of its version that answered.")
    id: str | None = Field(None, description="The request's.")
    outputs: list[OutputJson] = Field(description="What was asked for.")
