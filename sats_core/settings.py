"""Every number of a step, in one place, with its source.

Torch-free: the HTTP service validates a task's settings with the same records that the core runs.
"""

from typing import Any, Literal, Self

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from sats_core.limits import DECODED_BYTES, MAX_INT32
from sats_core.method_settings import METHOD_SETTINGS, FrozenSettings
from sats_core.record import Record

MethodName = Literal[
    "finetune",
    "lwf",
    "ilt",
    "mib",
    "plop",
    "sats",
    "sats_plus",
    "frozen",
    "kfac",
    "residual",
    "joint",
]

OfferedMethod = Literal["finetune", "lwf", "ilt", "mib", "plop", "sats", "sats_plus", "frozen"]
"""What the service runs: all but `joint`, which needs the pictures of every step, and `kfac` and
`residual`, which are there to be compared with."""


KEPT_FEATURES = 4000
"""Pixels whose features a version keeps, unless it is told otherwise."""
LEAST_BATCH = 2
"""Fewer pictures than this have no statistics to normalise by."""


class Limits(Record):
    """Most that a data set may ask of the machine."""

    max_pixels: int = Field(50_000_000, gt=0, description="Pixels of one picture.")
    decoded_bytes: float | None = Field(
        DECODED_BYTES,
        gt=0,
        description="Bytes that decoding one picture may take, for each of `max_pixels`; None asks "
        "for nothing.",
    )
    max_entries: int = Field(200_000, gt=0, description="Entries of a zip.")
    max_unpacked_bytes: int = Field(8 * 2**30, gt=0, description="Unpacked bytes of a zip.")
    max_file_bytes: int = Field(256 * 2**20, gt=0, description="Unpacked bytes of one file.")
    max_annotation_bytes: int = Field(
        512 * 2**20,
        gt=0,
        description="Unpacked bytes of all .json files of COCO or Label Studio, or of CVAT's XML.",
    )

    def of_stored(self) -> Self:
        """Return the limits of pictures that were taken in before.

        They are judged by their pixels alone: an older version took pictures in without asking
        what their decoders take.
        """
        return self.model_copy(update={"decoded_bytes": None})


DESCENT = (
    "epochs",
    "batch_size",
    "accumulate",
    "checkpoint_activations",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "warmup",
    "gradient_clip",
)
"""Settings that gradient descent alone reads."""


RATES = {"adamw": (6e-4, 2e-4), "sgd": (0.01, 0.001)}
"""Peak learning rates of a base step and of later steps; sgd's as published (SATS, 4.1)."""


class StepSettings(Record):
    """How one step trains. Defaults fit a workstation."""

    method: MethodName = Field(
        "frozen",
        description="How the step fights forgetting. `frozen`, the default, solves the new "
        "classes' rows alone, with a few features that it learns for them, in one pass over the "
        "pictures: seconds, and the backbone never learns. The others train the whole model for "
        "all epochs; `sats_plus` is the one to ask for where a new class looks like nothing that "
        "the model knows. A base step trains whatever is said here.",
    )
    method_settings: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr] = Field(
        default_factory=dict,
        description="Weights and choices of the method that differ from the published ones.",
    )
    memory: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Training pictures kept with the version for the steps after it, balanced over "
        "its classes, and replayed as half of every batch of this step where the version before "
        "kept some. 0 keeps and replays none.",
    )
    features: int = Field(
        KEPT_FEATURES,
        ge=0,
        le=1_000_000,
        description="Pixels whose features, what the classifier sees there, are kept with the "
        "version, balanced over its classes: they tell the new classes of later steps what they "
        "are not. Vectors of numbers, no pictures; 0 keeps none.",
    )
    fusion: bool = Field(
        False, description="Average the weights of old and new model after the step (EWF)."
    )
    backbone: str = Field(
        "pvt_v2_b0",
        description="`pvt_v2_b0` to `b5`, SegFormer's own `mit_b0` to `b5`, or a SegFormer encoder "
        "by its hub id or its folder in the directory of backbones; read by a model's base "
        "step, later steps keep it.",
        max_length=100,
    )
    pretrained: bool = Field(
        True,
        description="Start a base step from pretrained weights where they can be had; "
        "where they cannot, the task and the version say so.",
    )
    size: int = Field(
        256,
        ge=32,
        le=2048,
        multiple_of=32,
        description="Side of a training crop and longest side in evaluation and serving, pixels; "
        "read by a model's base step, later steps keep it.",
    )
    epochs: int = Field(
        30,
        ge=1,
        le=1000,
        description="Passes over the training pictures; `frozen` makes one after a base step, "
        "whatever is said here, and reads no batch size, optimiser or learning rate either.",
    )
    batch_size: int = Field(16, ge=LEAST_BATCH, le=512, description="Pictures per optimiser step.")
    accumulate: int | None = Field(
        None,
        ge=1,
        le=512,
        description="Parts that a device computes its share of a batch in, one after another, the "
        "gradients summed: the same step in less memory, but for the batch norm of a base step, "
        "which sees a part. By default as few as fit into memory.",
    )
    checkpoint_activations: bool | None = Field(
        None,
        description="Whether activations are computed again in the backward pass instead of kept: "
        "the same step in less memory and about a third more time. By default where a batch does "
        "not fit otherwise.",
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw", description="`sgd` is the published one: momentum 0.9, Nesterov."
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Peak rate; by default 6e-4 (adamw) or 0.01 (sgd) for a base step "
        "and 2e-4 or 0.001 after it.",
    )
    weight_decay: float | None = Field(
        None, ge=0, le=1, description="By default 0.01 (adamw) or 1e-4 (sgd, as published)."
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of the steps the rate rises in.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest norm of all gradients together.")
    seed: int = Field(0, ge=0, le=MAX_INT32, description="Seed of start, order and augmentation.")

    def for_method(self) -> Any:
        """Return the method's own settings: one of `METHOD_SETTINGS`.

        Raises:
            pydantic.ValidationError: a name the method does not know, or a value out of range.
        """
        chosen = METHOD_SETTINGS[self.method].model_validate(self.method_settings)
        unsaid = "units" not in self.method_settings
        if self.fusion and unsaid and isinstance(chosen, FrozenSettings):
            return chosen.model_copy(update={"units": 0})
        return chosen

    def peak_rate(self, base: bool) -> float:
        """Return the learning rate that a step rises to: its own, or its optimiser's.

        Args:
            base: whether it is a base step.
        """
        return self.learning_rate or RATES[self.optimizer][0 if base else 1]

    def as_run(self, base: bool) -> dict[str, Any]:
        """Return what a step ran with, as JSON would have it; null where nothing was read.

        Args:
            base: whether it was a base step, which trains by gradient descent whatever the method.
        """
        unread = DESCENT if self.method == "frozen" and not base else ()
        return {**self.model_dump(mode="json"), **dict.fromkeys(unread)}

    def model_post_init(self, _context: object) -> None:
        """Refuse wrong method settings when the record is made, not when the step starts."""
        try:
            chosen = self.for_method()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"method_settings.{where}: {first['msg']}") from error
        if self.fusion and isinstance(chosen, FrozenSettings) and chosen.units:
            raise ValueError(
                "fusion averages the weights of two heads of one width, and method_settings.units "
                "makes the new one wider: leave one of them out"
            )
