"""What a request asks of its answer, beside the form that `Accept` names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Request
from pydantic import BaseModel, Field, ValidationError

from app.errors import ErrorDetail, InvalidProblem
from app.errors.codes import Code
from app.errors.fields import MOST_ERRORS, invalid_fields
from app.http.parameters import Digits
from app.http.strays import refuse_strays
from app.inference.cutting import Cut
from app.registry.schemas import MAX_NUMBER, MODEL_PATTERN
from app.segmentation.negotiation import Representation
from app.segmentation.polygons import MOST_SHOWN, MOST_TRACED
from sats_core.classes import Catalogue

LARGEST_TOLERANCE = 100
SMALLEST = 32
"""Pixels: a model sees nothing in less."""
REPEATABLE = ("classes",)
"""Query parameters that may come more than once."""
_WITH_SCORES = (Representation.CONFIDENCE, Representation.ARRAYS)


@dataclass(frozen=True)
class Asked:
    """What an answer shows.

    Attributes:
        classes: names of the classes that are shown, alone or with commas between; None: all.
        min_score: pixels with a lower score are background.
        tolerance: of polygons, pixels; None: no polygons.
        legend: whether an overlay says which colour is which class.
        size: at how many pixels of its longer side a picture is seen; None: as the version was
            scored.
    """

    classes: tuple[str, ...] | None = None
    min_score: float = 0.0
    tolerance: float | None = None
    legend: bool = False
    size: int | None = None

    def cut(self, catalogue: Catalogue, representation: Representation) -> Cut:
        """Return how masks are cut for it.

        Raises:
            InvalidProblem: the version does not know a class; each such one is named.
        """
        return Cut(
            None if self.classes is None else _indices(self.classes, catalogue),
            self.min_score,
            mean_scores=representation is Representation.JSON,
            keep_scores=representation in _WITH_SCORES,
        )


class SegmentQuery(BaseModel):
    """The query parameters of a request to `/segment`."""

    model: str = Field("default", pattern=MODEL_PATTERN, description="The model that is to answer.")
    version: Annotated[int | None, Digits] = Field(
        None,
        ge=1,
        le=MAX_NUMBER,
        description="Number of its version; by default the live one.",
    )
    classes: list[str] | None = Field(
        None,
        description="Names of the classes to show; what the others cover is background. By "
        "default all. May be given again and again; a value that is no class's name is names "
        "with commas between them.",
        examples=[["sheep", "cow"], ["sheep,cow"]],
    )
    min_score: float = Field(
        0.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Pixels to whose class the model gives a lower probability are background.",
    )
    polygons: bool = Field(
        False,
        description="Whether JSON has each class's outlines as polygons too: at most "
        f"{MOST_SHOWN} points in an answer, of {MOST_TRACED} before they are simplified; of "
        "more it is 413.",
    )
    tolerance: float = Field(
        1.0,
        ge=0,
        le=LARGEST_TOLERANCE,
        allow_inf_nan=False,
        description="How far a polygon may lie from the mask's outline, pixels.",
    )
    legend: bool = Field(
        False, description="Whether an overlay has a strip below it that names its colours."
    )
    size: Annotated[int | None, Digits] = Field(
        None,
        ge=SMALLEST,
        description="At how many pixels of its longer side the model sees a picture; by "
        "default as it was trained and scored. More shows it small things, and things larger "
        "than it has learned them. Beyond `SATS_SERVE_WINDOW` it sees windows that overlap; "
        "beyond `SATS_SERVE_MAX_SIZE` it is 422, and so it is beyond eight times the picture's own "
        "longer side and what is the default.",
    )

    def asked(self, largest: int) -> Asked:
        """Return what is asked of the answer.

        Args:
            largest: most that `size` may be.

        Raises:
            InvalidProblem: it is more.
        """
        if self.size is not None and self.size > largest:
            fault = ErrorDetail(f"more than {largest}", field="query.size", code=Code.TOO_LARGE)
            raise InvalidProblem(f"query.size: {fault.message}", [fault])
        names = None if self.classes is None else tuple(self.classes)
        tolerance = self.tolerance if self.polygons else None
        return Asked(names, self.min_score, tolerance, self.legend, self.size)


def read_query(request: Request) -> SegmentQuery:
    """Read the query parameters.

    Raises:
        InvalidProblem: one is not known, not valid, or comes twice and may not; each is named.
    """
    if not request.scope["query_string"]:  # as with most requests
        return SegmentQuery()
    refuse_strays(request, SegmentQuery.model_fields, REPEATABLE)
    given = request.query_params
    values = {name: given.getlist(name) if name in REPEATABLE else given[name] for name in given}
    try:
        return SegmentQuery.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise invalid_fields(found, "query") from error


def _indices(values: Sequence[str], catalogue: Catalogue) -> frozenset[int]:
    names = [name for value in values for name in _names(value, catalogue)]
    unknown = [name for name in dict.fromkeys(names) if name not in catalogue]
    if unknown:
        raise InvalidProblem(
            f"the version has no class {', '.join(map(repr, unknown[:MOST_ERRORS]))}; it knows "
            + ", ".join(catalogue.names),
            [
                ErrorDetail("no such class", None, "query.classes", name, Code.UNKNOWN)
                for name in unknown[:MOST_ERRORS]
            ],
        )
    return frozenset(catalogue.classes[catalogue.channel(name)].index for name in names)


def _names(value: str, catalogue: Catalogue) -> list[str]:
    """Return the name that a value is, else those between its commas: a name may have some."""
    return [value] if value in catalogue else [name.strip() for name in value.split(",")]
