"""What was found out about a task's labels before anything was trained; torch-free."""

from typing import Literal

from pydantic import Field

from sats_core.record import CLASS, CLASS_STORED, Record

LabelFault = Literal[
    "few_pictures",
    "covers_everything",
    "outlines",
    "known_class",
    "duplicates",
    "held_out_duplicates",
]


class LabelWarning(Record):
    """Something about the labels that a person should look at."""

    fault: LabelFault = Field(
        description="`few_pictures`; `covers_everything`: a class is nearly all of its pictures; "
        "`outlines`: its outlines follow the pictures no better than those of other pictures; "
        "`known_class`: it looks like an old class; `duplicates` within the training pictures; "
        "`held_out_duplicates`: many, of pictures that score."
    )
    class_name: str | None = Field(
        None,
        validation_alias=CLASS_STORED,
        serialization_alias=CLASS,
        description="The class; null: not of one class.",
    )
    serious: bool = Field(
        description="Whether it holds the version back where the model's gate says "
        "`hold_on_warnings`."
    )
    message: str = Field(description="The same in words, with figures; also in `warnings`.")


class ClassLabels(Record):
    """How one new class is labelled in the training pictures."""

    class_name: str = Field(
        validation_alias=CLASS_STORED, serialization_alias=CLASS, description="The class."
    )
    pictures: int = Field(description="Training pictures that show it.")
    share: float = Field(description="Its share of all labelled training pixels, 0..1.")
    share_where_shown: float = Field(
        description="Its share of a picture that shows it, mean over those, 0..1."
    )
    outline_fit: float | None = Field(
        description="How much better its outlines lie on edges of their pictures than outlines of "
        "other pictures would: a difference of mean ranks, 0: no better. Careful outlines have "
        "0.1 to 0.4. Null: too few outlines to tell."
    )
    called: str | None = Field(
        description="The old class that the version before calls its pixels most often; null: a "
        "base step, or none."
    )
    called_share: float | None = Field(
        description="How much of the class that is, mean over at most 32 pictures, 0..1."
    )
    told_apart: float | None = Field(
        description="How well the version's features tell it from kept pictures of `called`: the "
        "area under the ROC curve, 0.5: not at all. Null: not looked at, since `called_share` is "
        "small or too few pictures were kept."
    )


class LabelReport(Record):
    """What the labels of a task look like, and what is suspect about them."""

    pictures: int = Field(description="Training pictures.")
    classes: tuple[ClassLabels, ...] = Field(description="Every new class.")
    duplicates: int = Field(
        description="Training pictures that look the same as another training picture."
    )
    held_out_duplicates: int = Field(
        description="Training pictures that look the same as a held-out one, of this task or of "
        "those before: of tasks that the same key posted, and where an admin's key posted this "
        "one, of all."
    )
    warnings: tuple[LabelWarning, ...] = Field(description="What is suspect.")

    @property
    def serious(self) -> tuple[str, ...]:
        """The messages of the serious warnings."""
        return tuple(warning.message for warning in self.warnings if warning.serious)
