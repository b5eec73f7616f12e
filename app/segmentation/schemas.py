"""What `/segment` answers with."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Polygon = list[list[Point]]

EXAMPLE: dict[str, Any] = {
    "model": "default",
    "version": 2,
    "pictures": [
        {
            "name": "meadow.jpg",
            "width": 4,
            "height": 2,
            "classes": [
                {
                    "index": 0,
                    "name": "background",
                    "color": "#000000",
                    "pixels": 6,
                    "share": 0.75,
                    "score": 0.97,
                    "box": [0, 0, 4, 2],
                    "rle": None,
                    "polygons": None,
                },
                {
                    "index": 5,
                    "name": "sheep",
                    "color": "#800080",
                    "pixels": 2,
                    "share": 0.25,
                    "score": 0.91,
                    "box": [1, 0, 1, 2],
                    "rle": {"size": [2, 4], "counts": "222"},
                    "polygons": None,
                },
            ],
        }
    ],
}
PICTURES_EXAMPLE: dict[str, Any] = {
    "image": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4"
    "nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
}


class PicturesJson(BaseModel):
    """Pictures in base64: one, or several."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [PICTURES_EXAMPLE]})

    image: str | None = Field(
        None, description="A picture's file in base64; a `data:` URL's prefix may stand before it."
    )
    images: list[str] | None = Field(
        None, description="Several pictures, answered in their order, in place of `image`."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.image is None) == (self.images is None):
            raise ValueError("give `image` or `images`")
        return self


class RunLengthsJson(BaseModel):
    """A class's pixels as COCO's compressed run lengths; `pycocotools.mask.decode` reads them."""

    size: tuple[int, int] = Field(description="Height and width of the mask, pixels.")
    counts: str = Field(description="The runs, column by column, packed as COCO does.")


class ShownClassJson(BaseModel):
    """A class that a picture shows."""

    index: int = Field(description="The class's value in masks; 0 is background.")
    name: str = Field(description="The class's name.")
    color: str = Field(description="Its colour in PNG and overlay, `#rrggbb`.")
    pixels: int = Field(description="How many pixels show it.")
    share: float = Field(description="Those pixels as a share of the picture, 0 to 1.")
    score: float | None = Field(
        description="Mean probability that the model gives to the class over those pixels, 0 to 1. "
        "Of background: over those that the model itself calls so; null where there are none."
    )
    box: tuple[int, int, int, int] = Field(
        description="The smallest box around those pixels: x and y of its upper left corner, width "
        "and height, pixels, as COCO has it."
    )
    rle: RunLengthsJson | None = Field(
        None,
        description="Its pixels; null for background, which is whatever no other class covers.",
    )
    polygons: list[Polygon] | None = Field(
        None,
        description="Its outlines, with `polygons=true`: polygons, each a list of closed rings, "
        "the outer one first, then its holes; a ring is a list of [x, y] in pixels from the "
        "picture's upper left corner, its last point the first one. Exact to half a pixel and the "
        "`tolerance`; where the box has more than 4,194,304 pixels they are traced on fewer of "
        "them, and parts smaller than what was left out may be missing. Null for background.",
    )


class SegmentedPictureJson(BaseModel):
    """One picture, in the order they were posted."""

    name: str = Field(description="Name of the posted file; `picture` where it has none.")
    width: int = Field(description="Width after EXIF orientation is applied, pixels.")
    height: int = Field(description="Height after EXIF orientation is applied, pixels.")
    classes: list[ShownClassJson] = Field(
        description="Every class that the picture shows, background among them, by index."
    )


class SegmentationJson(BaseModel):
    """What the pictures show, and which version says so."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    model: str = Field(description="The model that answered.")
    version: int = Field(description="Number of its version that answered.")
    pictures: list[SegmentedPictureJson] = Field(description="One entry for each posted picture.")
