"""Every number of a step, in one place, with its source.

Torch-free: the HTTP service validates a task's settings with the same records that the core runs.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MethodName = Literal["finetune", "sats"]


class Record(BaseModel):
    """Base of all settings: frozen, and an unknown name is an error rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(Record):
    """Most that a data set may ask of the machine."""

    max_pixels: int = Field(50_000_000, gt=0, description="Pixels of one picture.")
    max_entries: int = Field(200_000, gt=0, description="Entries of a zip.")
    max_unpacked_bytes: int = Field(8 * 2**30, gt=0, description="Unpacked bytes of a zip.")
    max_file_bytes: int = Field(256 * 2**20, gt=0, description="Unpacked bytes of one file.")


class FinetuneSettings(Record):
    """Plain fine-tuning has nothing to set: cross-entropy on the step's labels."""


class SatsSettings(Record):
    """Weights of SATS (Qiu et al., Pattern Recognition 2023, section 4.1)."""

    distillation_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 20.0
    """Weight of the unbiased distillation of the outputs (MiB)."""
    attention_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 20.0
    """Weight of the self-attention transfer."""
    entropy_floor: Annotated[float, Field(ge=0, le=1)] = 0.001
    """Least threshold of a class's entropy, below which pseudo-labels are kept (PLOP)."""


METHOD_SETTINGS: dict[str, type[Record]] = {
    "finetune": FinetuneSettings,
    "sats": SatsSettings,
}


class StepSettings(Record):
    """How one step trains. Defaults fit a workstation; `published()` is the paper's schedule."""

    method: MethodName = Field("sats", description="How the step fights forgetting.")
    method_settings: dict[str, float] = Field(
        default_factory=dict,
        description="Weights of the method that differ from the published ones.",
    )
    backbone: str = Field(
        "pvt_v2_b0",
        description="timm backbone; read by a model's base step, later steps keep it.",
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
    epochs: int = Field(30, ge=1, le=1000, description="Passes over the training pictures.")
    batch_size: int = Field(16, ge=2, le=512, description="Pictures per optimiser step.")
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
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of start, order and augmentation.")

    def for_method(self) -> Any:
        """Return the method's own settings: a `FinetuneSettings` or `SatsSettings`.

        Raises:
            pydantic.ValidationError: a name the method does not know, or a value out of range.
        """
        return METHOD_SETTINGS[self.method].model_validate(self.method_settings)

    def model_post_init(self, _context: object) -> None:
        """Refuse wrong method settings when the record is made, not when the step starts."""
        try:
            self.for_method()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"method_settings.{where}: {first['msg']}") from error
