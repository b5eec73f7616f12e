"""What a posted task asks for beyond a stored one, which is read by the rules of its day."""

from typing import Any

from pydantic import Field

from app.records.posted import PostedNumbers, check_numbers
from app.registry.schemas import NAME_PATTERN, PostedName
from app.tasks.schemas import TaskSpec
from sats_core.classes import MAX_CLASSES
from sats_core.method_settings import METHOD_SETTINGS

POSTED_NAMES: dict[str, Any] = {
    "properties": {
        "name": {"pattern": NAME_PATTERN},
        "classes": {"items": {"pattern": NAME_PATTERN}},
    }
}
"""What a `PostedTask` asks for beside what a `TaskSpec` does, as a JSON schema."""


class PostedTask(PostedNumbers, TaskSpec):
    """What is posted: as it is stored, but that names are judged and numbers are numbers."""

    name: PostedName = Field(description=TaskSpec.model_fields["name"].description)
    classes: list[PostedName] | None = Field(
        None,
        min_length=1,
        max_length=MAX_CLASSES,
        description=TaskSpec.model_fields["classes"].description,
    )

    def model_post_init(self, _context: object) -> None:
        """Refuse a method's settings that are no numbers before they are taken for some.

        What they are then is stored: 1 and 1.0 are one weight, so they are one request.
        """
        try:
            check_numbers(METHOD_SETTINGS[self.method], self.method_settings)
        except ValueError as error:
            raise ValueError(f"method_settings.{error}") from error
        super().model_post_init(_context)
        read = self.for_method()
        said = {name: getattr(read, name) for name in self.method_settings}
        object.__setattr__(self, "method_settings", said)
