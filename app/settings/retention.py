"""Settings of how long things are kept, and of what is collected, read like all the others."""

from pydantic import Field

from app.settings.base import MIB, SettingsBase

MOST_DAYS = 100_000
"""That anything may be kept for: so long ago there was a date. `never` is longer."""


class RetentionSettings(SettingsBase):
    """Settings of what a worker deletes, and of the room that is left on a disk."""

    keep_failed_hours: float = Field(
        72.0,
        ge=0,
        le=1_000_000,
        description="How long upload and checkpoints of a failed task are kept, so that it can be "
        "tried again.",
    )
    keep_versions_days: float | None = Field(
        None,
        ge=0,
        le=MOST_DAYS,
        description="Days after which a version that was not live since, and that no other one was "
        "learned from, is deleted; default: never.",
    )
    keep_held_out_days: float | None = Field(
        None,
        ge=0,
        le=MOST_DAYS,
        description="Days after which the held-out pictures of a version are deleted: later ones "
        "are not scored on its classes any more. Default: never.",
    )
    keep_events_days: float | None = Field(
        90.0,
        ge=0,
        le=MOST_DAYS,
        description="Days after its end for which a task's events and log are kept; `never`: "
        "they stay.",
    )
    keep_failed_days: float | None = Field(
        90.0,
        ge=0,
        le=MOST_DAYS,
        description="Days after which a failed task is deleted, once its upload is; `never`: it "
        "stays.",
    )
    keep_cancelled_days: float | None = Field(
        30.0,
        ge=0,
        le=MOST_DAYS,
        description="Days after which a cancelled task is deleted; `never`: it stays.",
    )
    keep_free_bytes: int = Field(
        512 * MIB,
        ge=0,
        description="Bytes that stay free where data_dir is: a task whose step would not fit "
        "beside them is refused, or fails before it begins, with 507 `disk-full`.",
    )
    gc_seconds: float = Field(
        3600.0, gt=0, description="How often a worker collects blobs that nothing refers to."
    )
    gc_grace_seconds: float = Field(
        3600.0,
        ge=60,
        description="Age at which a blob that nothing refers to, or a write that never ended, is "
        "garbage; longer than any upload takes to be checked.",
    )
